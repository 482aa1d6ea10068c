/** A synced trait as a signal. */
import { type Signal, signal } from "@preact/signals";
import type { Model } from "./rpc";

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
