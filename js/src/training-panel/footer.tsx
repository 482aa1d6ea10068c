/** How fresh the panel is, and how much it holds. */
import * as f from "../lib/format";
import { useAge } from "../lib/notes";
import type { Store } from "./store";

export function Footer({ store }: { store: Store }) {
  const age = useAge(store);
  const { total, jobs } = store.state.value;
  if (total === 0) return null;
  const selected = store.charts().training_ids.length;
  return (
    <div class="ft">
      <span>{age}</span>
      <span class="t3">·</span>
      <span>
        {f.plural(total, "training")}
        {jobs < total && ` in ${f.plural(jobs, "job")}`}
        {`, ${f.count(selected)} selected`}
      </span>
      <div class="sp" />
      <span class="hw t3">? shows the keys</span>
    </div>
  );
}
