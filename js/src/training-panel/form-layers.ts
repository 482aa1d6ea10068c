/** Several layers in one form: what is typed, and what differs between the trainings that it starts. Pure functions. */
import type { Over } from "../lib/wire";

const MOST = 256; // as many as a group has at most
const HOOK_NAME = /^blocks\.(\d+)\.(.+)$/;

/** "4, 6, 8" and "0-3" as numbers, in the order given; null where it is something else. */
export function parseLayers(text: string): number[] | null {
  const parts = text
    .replace(/\s*[-–]\s*/g, "-")
    .split(/[,;\s]+/)
    .filter(Boolean);
  const layers: number[] = [];
  for (const part of parts) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    if (!match) return null;
    const first = Number(match[1]);
    const last = match[2] === undefined ? first : Number(match[2]);
    if (last < first || layers.length + last - first >= MOST) return null;
    for (let layer = first; layer <= last; layer++) layers.push(layer);
  }
  return layers.length ? layers : null;
}

/** Hook names that are separated by commas or blanks. */
export const hookList = (text: string): string[] => text.split(/[,;\s]+/).filter(Boolean);

interface Several {
  over: Over | null;
  /** What each reconstructs, in the order of the hook names; none for what is no transcoder. */
  outputs: string[];
  error?: { field: "hook_name" | "hook_name_out"; text: string };
}

/**
 * What differs between the trainings of these hook names. A transcoder's one output moves with the layer that is read;
 * several are taken in their order.
 */
export function overOf(hooks: readonly string[], outputs: readonly string[]): Several {
  if (hooks.length < 2) return { over: null, outputs: [...outputs] };
  const twice = hooks.find((hook, i) => hooks.indexOf(hook) !== i);
  if (twice !== undefined) {
    return { over: null, outputs: [], error: { field: "hook_name", text: `${twice} is there twice. Name it once.` } };
  }
  if (outputs.length === 0) return { over: { hook_name: [...hooks] }, outputs: [] };
  if (outputs.length > 1 && outputs.length !== hooks.length) {
    const text = `${outputs.length} places for ${hooks.length} hook names. Name one, which moves with the layer, or one each.`;
    return { over: null, outputs: [], error: { field: "hook_name_out", text } };
  }
  const each = outputs.length > 1 ? [...outputs] : moved(outputs[0] ?? "", hooks);
  return {
    over: { "hook_name, hook_name_out": hooks.map((hook, i) => [hook, each[i] ?? ""]) },
    outputs: each,
  };
}

/** The output for each hook name: as many layers away from it as the one that is given is from the first. */
function moved(output: string, hooks: readonly string[]): string[] {
  const layerOf = (name: string) => Number(HOOK_NAME.exec(name)?.[1] ?? Number.NaN);
  const site = HOOK_NAME.exec(output)?.[2];
  const away = layerOf(output) - layerOf(hooks[0] ?? "");
  return hooks.map((hook) => {
    const layer = layerOf(hook) + away;
    return site === undefined || Number.isNaN(layer) ? output : `blocks.${layer}.${site}`;
  });
}
