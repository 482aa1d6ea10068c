/** A synced trait as a signal. */
import { type Signal, signal } from "@preact/signals";
import type { Model } from "./rpc";

/** The trait `state` or the answer to `refresh`; null when it is something else. What is missing is as in `empty`. */
export function stateOf<S extends { revision: number }>(value: unknown, empty: S): S | null {
  const isState = typeof value === "object" && value !== null && typeof (value as S).revision === "number";
  return isState ? { ...empty, ...(value as Partial<S>) } : null;
}

/** Follows the trait `name` until `stop` aborts. `parse` turns foreign data into T, or null to keep the last good one. */
export function traitSignal<T>(
  model: Model,
  name: string,
  parse: (value: unknown) => T | null,
  initial: T,
  stop: AbortSignal,
): Signal<T> {
  const value = signal(parse(model.get(name)) ?? initial);
  const follow = () => {
    const next = parse(model.get(name));
    if (next !== null) value.value = next;
  };
  model.on(`change:${name}`, follow);
  stop.addEventListener("abort", () => model.off(`change:${name}`, follow));
  return value;
}
