/** Numbers and words of the steering widget, and where a strength stands on its slider. */
import * as f from "../lib/format";
import type { Mode, SteeringRow, SteeringRun, SteeringSettings, SteeringTexts } from "../lib/wire";

export const MODES: Record<Mode, string> = {
  add_max: "Add × max",
  add: "Add",
  clamp: "Clamp to",
  conditional_clamp: "Clamp where active",
  scale: "Scale by",
  ablate: "Ablate",
};

const UNKNOWN = 200; // end of a slider in activations where the largest one is not known

/** A strength in its box: at least one decimal, all that were typed. */
export function strengthText(value: number): string {
  const rounded = Number(value.toPrecision(6));
  return f.withMinus(Number.isInteger(rounded * 10) ? rounded.toFixed(1) : String(rounded));
}

/** The same in a list: "−4", "0", "0.5". */
export const shortStrength = (value: number): string => f.withMinus(String(Number(value.toPrecision(6))));

/** "2", "−1.5", "+0.1", "1e2" → a number; null when it is none. */
export function parseStrength(text: string): number | null {
  const value = f.parseNumber(text.trim().replace(/^[−–]/, "-"));
  return value !== null && Math.abs(value) <= 1e6 ? value : null;
}

/** "−4 −2 0 2 4", also with commas or semicolons → numbers; null when one of them is none. */
export function parseStrengths(text: string): number[] | null {
  const parts = text.split(/[\s,;]+/).filter(Boolean);
  const values = parts.map(parseStrength);
  if (values.length === 0 || values.length > 12 || values.includes(null)) return null;
  return values as number[];
}

export const strengthsText = (values: readonly number[]): string => values.map(shortStrength).join(" ");

/** Activations: three significant digits, one decimal at least. */
function activation(value: number): string {
  const size = Math.abs(value);
  const text = size !== 0 && size < 0.1 ? String(Number(value.toPrecision(2))) : value.toFixed(size < 1 ? 2 : 1);
  return f.withMinus(text);
}

const ROUND = [1, 2, 3, 4, 6, 8, 10];
const MODERATE = 4; // times the strength to begin with: there text breaks

function roundUp(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(value));
  const found = ROUND.find((one) => one * unit >= value * (1 - 1e-9)) ?? 10;
  return Number((found * unit).toPrecision(2));
}

/** The end of a slider: strengths that are usual for the mode, up to where text breaks. */
export function reach({ mode, a_max, usual }: Pick<SteeringRow, "mode" | "a_max" | "usual">): number {
  if (mode === "scale") return 8;
  const most = usual ? roundUp(MODERATE * usual) : 8;
  if (mode === "add_max") return most;
  return a_max === null ? UNKNOWN : Number(((mode === "add" ? most : 2) * a_max).toPrecision(2));
}

/** What an arrow key adds on a slider with this end. */
export const stepOf = (end: number): number => (end < 1 ? 0.01 : 0.1);

const BEND = 0.25; // of the reach: up to about there the slider is even, beyond it strengths come closer together

/** Where a strength stands, from −1 to 1: fine around zero, coarse at the ends. */
export function placeOf(value: number, end: number): number {
  const share = Math.min(1, Math.abs(value) / end);
  return (Math.sign(value) * Math.log(1 + share / BEND)) / Math.log(1 + 1 / BEND);
}

const DETENT = 0.03;

/** The strength at a place, in steps of the arrow keys; close to the middle it is 0. */
export function valueAt(place: number, end: number): number {
  const at = Math.max(-1, Math.min(1, place));
  if (Math.abs(at) < DETENT) return 0;
  const share = BEND * ((1 + 1 / BEND) ** Math.abs(at) - 1);
  const steps = Math.round(1 / stepOf(end));
  return (Math.sign(at) * Math.round(share * end * steps)) / steps;
}

/** What a strength does: beside the slider ("= 83.4 along d"), and as a screen reader says it. */
const EFFECTS: Record<Mode, (row: SteeringRow, spoken: string) => [string, string]> = {
  add_max: ({ strength, a_max }, spoken) => [
    a_max === null ? "" : `= ${activation(strength * a_max)} along d`,
    `${spoken} × max activation${a_max === null ? "" : ` = ${(strength * a_max).toFixed(1)}`}`,
  ],
  add: ({ strength }, spoken) => [`${activation(strength)} along d`, `${spoken} along the decoder direction`],
  clamp: ({ strength }, spoken) => [
    strength === 0 ? "off at every token" : `${activation(strength)} at every token`,
    `clamped to ${Number(spoken)}`,
  ],
  conditional_clamp: ({ strength }, spoken) => [
    `${activation(strength)} where active`,
    `clamped to ${Number(spoken)} where active`,
  ],
  scale: ({ strength }) => [
    strength === 1 ? "unchanged" : `× ${shortStrength(strength)} where active`,
    `scaled by ${Number(strength.toPrecision(6))}`,
  ],
  ablate: () => ["off at every token", "ablated"],
};

export const effect = (row: SteeringRow): string => EFFECTS[row.mode](row, "")[0];

export function effectSpoken(row: SteeringRow): string {
  const { strength } = row;
  const small = strength !== 0 && Math.abs(strength) < 0.1;
  return EFFECTS[row.mode](row, small ? String(Number(strength.toPrecision(2))) : strength.toFixed(1))[1];
}

/** The strength of a row in another mode, as near to what it was as can be said. */
export function converted(row: SteeringRow, mode: Mode): number {
  const { a_max } = row;
  const alpha = row.mode === "add_max" ? row.strength * (a_max ?? 0) : row.strength;
  const inActivations = (of: Mode) => of === "add" || of === "clamp" || of === "conditional_clamp";
  if (mode === "ablate") return 0;
  if (mode === "scale") return 2;
  if (row.mode === "ablate" || row.mode === "scale") {
    return mode === "add_max" ? (row.usual ?? 1) : Number((a_max ?? 0).toFixed(1));
  }
  if (inActivations(mode)) return Number(alpha.toFixed(1));
  return a_max ? Number((alpha / a_max).toFixed(1)) : 0;
}

export const nameOf = (row: Pick<SteeringRow, "index" | "label">): string =>
  row.label ? `${row.index} ${row.label}` : `Feature ${row.index}`;

// ------------------------------------------------------------------------------------------------ the gauge

const STRONG = 0.5;
const BREAKS = 1;

export const zone = (ratio: number): "moderate" | "strong" | "breaks text" =>
  ratio < STRONG ? "moderate" : ratio < BREAKS ? "strong" : "breaks text";

/** Where a ratio stands on the gauge, in percent: its zones are 50, 25 and 25 wide. */
export function gaugeAt(ratio: number): number {
  const share = ratio <= STRONG ? ratio : ratio <= BREAKS ? 0.5 + (ratio - 0.5) / 2 : 0.75 + (ratio - 1) / 4;
  return 100 * Math.max(0, Math.min(1, share));
}

export const ratioText = (ratio: number | null): string =>
  ratio === null ? "–" : ratio === 0 ? "0" : ratio < 0.005 ? "< 0.01" : ratio.toFixed(2);

// ------------------------------------------------------------------------------------------------ texts

const shown = (value: number, digits: number): string =>
  value >= 1e5
    ? value.toExponential(1).replace("e+", "e")
    : value >= 1000
      ? String(Math.round(value))
      : value.toFixed(digits);

export const perplexityText = (value: number | null): string => (value === null ? "–" : shown(value, 1));

export const percent = (share: number): string => `${Math.round(100 * share)} %`;

/** A probability: 0.314 → "31.4 %". */
export const probability = (p: number): string => `${(100 * p).toFixed(1)} %`;

/** "same seed and sampling; first difference at token 1". */
export function differenceWords(texts: SteeringTexts): string {
  const at = texts.first_difference;
  const apart = at === null ? "no difference" : `first difference at token ${at + 1}`;
  return `same seed and sampling; ${apart}`;
}

/** What goes on, for the footer; "" while nothing does. */
export function progressWords(run: SteeringRun, settings: Pick<SteeringSettings, "new_tokens" | "strengths">): string {
  if (run.status === "stopping") return "Stopping…";
  if (run.status !== "running") return "";
  if (run.phase === "loading") return "Loading the model…";
  if (run.phase === "measuring") return "Measuring largest activations…";
  const done = Math.max(0, ...run.texts.map((text) => text.tokens));
  if (run.kind === "generate") return `Writing, ${done} of ${f.plural(settings.new_tokens, "token")}`;
  const swept = run.texts.filter((text) => text.run === "sweep");
  // as a place among all: "strength 2" alone reads like a value
  return swept.length ? `Sweeping, strength ${swept.length} of ${settings.strengths.length}` : "Writing the baseline";
}

export function doneWords(texts: SteeringTexts | null): string {
  if (texts === null) return "";
  const seconds = `${texts.seconds < 10 ? texts.seconds.toFixed(1) : Math.round(texts.seconds)} s`;
  if (texts.steered === null) {
    const n = texts.sweep.length;
    return `${texts.stopped ? "Stopped after" : "Ran"} ${f.plural(n, "strength")} in ${seconds}`;
  }
  const tokens = `${texts.baseline.pieces.length} + ${texts.steered.pieces.length} tokens`;
  return `${texts.stopped ? "Stopped after" : "Generated"} ${tokens} in ${seconds}`;
}
