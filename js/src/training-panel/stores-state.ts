/** What the form takes from a store of activations. Pure functions. */
import * as f from "../lib/format";
import type { StoreRow } from "../lib/protocol-runs";
import { HOOK, HOOK_OUT, type Values } from "./form-state";

/**
 * The values of the form when a training reads `hook` of this store: what the store decides, another of its hook points
 * for what is reconstructed where the form names one that the store does not hold, and no more tokens than there are.
 */
export function takenFrom(row: StoreRow, hook: string, values: Values, transcoder: boolean): Record<string, unknown> {
  const taken: Record<string, unknown> = { ...row.values, [HOOK]: hook };
  const out = String(values[HOOK_OUT] ?? "");
  if (transcoder && (out === hook || !row.hook_names.includes(out))) {
    taken[HOOK_OUT] = row.hook_names.find((name) => name !== hook) ?? null;
  }
  const tokens = f.parseInteger(String(values.tokens ?? ""));
  if (tokens !== null && tokens > row.tokens) taken.tokens = row.tokens;
  return taken;
}
