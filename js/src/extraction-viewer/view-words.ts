/** Small words and comparisons of the store, apart so that it stays readable. */
import type { Step, ViewerView } from "../lib/wire";

export { anythingRuns, statusChanges } from "./words";

/** The fields of a view that are other ones than before. */
export function changedIn(before: ViewerView, after: ViewerView): Partial<ViewerView> {
  const names = Object.keys(after) as (keyof ViewerView)[];
  const changed = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  return Object.fromEntries(changed.map((name) => [name, after[name]]));
}

export const NOWHERE: Record<Exclude<Step, "here">, string> = {
  previous: "This is the first feature of the list.",
  next: "This is the last feature of the list.",
  random: "No feature matches.",
  next_live: "No live feature follows.",
};

/** "1,204 labels"; without a noun the number alone. */
export const words = (n: number | undefined, noun: string): string => {
  const count = (n ?? 0).toLocaleString("en-US");
  return noun ? `${count} ${noun}${n === 1 ? "" : "s"}` : count;
};
