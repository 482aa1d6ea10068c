/** Round numbers for the axes of small charts. */

const CEILINGS = [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10];

/** A round number, at least `value`, whose half is round too. */
export function niceCeiling(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const factor = CEILINGS.find((step) => value <= step * power * (1 + 1e-9)) ?? 10;
  return Number((factor * power).toPrecision(12));
}

/** About `wanted` multiples of 1, 2 or 5 · 10^n between `low` and `high`. */
export function linearTicks(low: number, high: number, wanted = 5): number[] {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return [low];
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => rough <= factor * 1.42 * power) ?? 10);
  const ticks: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

export function powerTicks(low: number, high: number, most = 6): number[] {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const every = Math.max(1, Math.ceil((last - first + 1) / most));
  const ticks: number[] = [];
  for (let n = first; n <= last; n += every) ticks.push(Number(`1e${n}`));
  return ticks;
}

const exponent = (value: number, digits = 0) => value.toExponential(digits).replace("e+", "e");

export interface Axis {
  ticks: number[];
  texts: string[];
  /** What the texts are counted from, as a word: nearly equal values are shown as differences from it. */
  from: string | null;
}

const SHOWN_DECIMALS = 4;

/** Ticks between two values, written so that they can be told apart. */
export function linearAxis(low: number, high: number): Axis {
  const ticks = linearTicks(low, high);
  const step = (ticks[1] ?? 0) - (ticks[0] ?? 0);
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (ticks.length < 2 || step >= 10 ** -SHOWN_DECIMALS || step > size / 100) {
    return { ticks, texts: tickTexts(ticks, false), from: null };
  }
  const from = roundest(low, high);
  const differences = linearTicks(low - from, high - from, 3);
  return { ticks: differences.map((one) => from + one), texts: sameExponent(differences), from: String(from) };
}

function roundest(low: number, high: number): number {
  const middle = (low + high) / 2;
  for (let digits = 1; digits < 15; digits += 1) {
    const found = Number(middle.toPrecision(digits));
    if (found >= low && found <= high) return found;
  }
  return middle;
}

/** −5e-6, 0, 5e-6, 10e-6: one exponent for all. */
function sameExponent(values: readonly number[]): string[] {
  const step = Math.abs((values[1] ?? 0) - (values[0] ?? 0));
  const power = Math.floor(Math.log10(step) + 1e-9);
  return values.map((value) => {
    const times = Math.round(value / 10 ** power);
    return times === 0 ? "0" : `${times < 0 ? "−" : ""}${Math.abs(times)}e${power}`;
  });
}

/** One number: 0.942, 2,000, 1.3e-5. */
export function shortNumber(value: number, digits = 4): string {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return exponent(Number(value.toPrecision(2)), 1).replace(".0e", "e");
  return value.toLocaleString("en-US", { maximumSignificantDigits: size >= 1000 ? 6 : digits });
}

/** The labels of ticks, with as many decimals as tell them apart: 0.98, 1.00, 1.02. */
export function tickTexts(ticks: readonly number[], log: boolean): string[] {
  if (log) return ticks.map((tick) => (tick < 0.1 || tick >= 1e4 ? exponent(tick) : shortNumber(tick)));
  const step = ticks.length > 1 ? Math.abs((ticks[1] ?? 0) - (ticks[0] ?? 0)) : 0;
  const digits = step > 0 ? Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) : 0;
  if (step === 0 || digits > 4 || step >= 1e5) return ticks.map((tick) => shortNumber(tick));
  return ticks.map((tick) =>
    tick.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
  );
}
