/** How fresh the panel is, and how much it holds. */
import { useEffect, useState } from "preact/hooks";
import * as f from "../lib/format";
import type { Store } from "./store";

export function Footer({ store }: { store: Store }) {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const { total, updated_at } = store.state.value;
  if (total === 0) return null;
  const heard = store.heardAt.value;
  const selected = store.charts().training_ids.length;
  const link = store.link.value;
  const state = updated_at > 0 ? `State of ${f.clock(updated_at)}, ` : "";
  const age =
    link === "gone"
      ? `${state}not connected`
      : heard === null
        ? `${state}${link === "silent" ? "no answer from the kernel yet" : "asking the kernel…"}`
        : `Updated ${f.ago(Math.max(0, now - heard) / 1000)}${link === "silent" ? ", no answer since" : ""}`;
  return (
    <div class="ft">
      <span>{age.replace(/^./, (letter) => letter.toUpperCase())}</span>
      <span class="t3">·</span>
      <span>{`${f.plural(total, "training")}, ${f.count(selected)} selected`}</span>
      <div class="sp" />
      <span class="hw t3">? shows the keys</span>
    </div>
  );
}
