/** How fresh the panel is, and how much it holds. */
import { useEffect, useState } from "preact/hooks";
import * as f from "../lib/format";
import { ageWords } from "../lib/notes";
import type { Store } from "./store";

export function Footer({ store }: { store: Store }) {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const { total, jobs, updated_at } = store.state.value;
  if (total === 0) return null;
  const selected = store.charts().training_ids.length;
  const age = ageWords({ link: store.link.value, heardAt: store.heardAt.value, updatedAt: updated_at }, now);
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
