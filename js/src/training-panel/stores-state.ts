/** What the form takes from a store of activations. Pure functions. */
import * as f from "../lib/format";
import type { StoreRow } from "../lib/wire";
import { HOOK, HOOK_OUT, type Values } from "./form-state";

/** Does the dataset of the form name a store of activations? Then no language model runs. */
export const isStore = (corpus: unknown): boolean =>
  typeof corpus === "string"
    ? /^acts_[0-9A-Z]{26}$/.test(corpus.trim())
    : (corpus as { kind?: unknown } | null | undefined)?.kind === "activations";

const wholeOf = (hook: string): string => hook.replace(/(\.hook_z)\.\d+$/, "$1");

/** The hook points of a store to choose from: a head that the form names is in the rows of all heads. */
export const hooksOf = (row: StoreRow, now: string): readonly string[] =>
  !row.hook_names.includes(now) && row.hook_names.includes(wholeOf(now)) ? [...row.hook_names, now] : row.hook_names;

/**
 * The values of the form when a training reads `hook` of this store: what the store decides, another of its hook points
 * for what is reconstructed where the form names one that the store does not hold, and no more tokens than there are.
 */
export function takenFrom(row: StoreRow, hook: string, values: Values, transcoder: boolean): Record<string, unknown> {
  const taken: Record<string, unknown> = { ...row.values, [HOOK]: hook };
  const out = String(values[HOOK_OUT] ?? "");
  if (transcoder && (out === hook || !hooksOf(row, out).includes(out))) {
    taken[HOOK_OUT] = row.hook_names.find((name) => name !== hook) ?? null;
  }
  const tokens = f.parseInteger(String(values.tokens ?? ""));
  if (tokens !== null && tokens > row.tokens) taken.tokens = row.tokens;
  return taken;
}
