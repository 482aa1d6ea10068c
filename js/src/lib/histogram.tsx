/** A small histogram as SVG, with a sentence that says the same. */
import type { ComponentChildren } from "preact";
import { useHelp } from "./controls";
import * as f from "./format";
import type { Histogram as Data } from "./wire";

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
  if (high < 100 * low) return linearTicks(low, high, 3); // fewer than two powers of ten
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
  return f.withMinus(
    value !== 0 && (size < 1e-3 || size >= 1e6)
      ? exponent(Number(value.toPrecision(2)), 1).replace(".0e", "e")
      : value.toLocaleString("en-US", { maximumSignificantDigits: size >= 1000 ? 6 : digits }),
  );
}

/** The labels of ticks, with as many decimals as tell them apart: 0.98, 1.00, 1.02. */
export function tickTexts(ticks: readonly number[], log: boolean): string[] {
  if (log) return ticks.map((tick) => (tick < 0.1 || tick >= 1e4 ? exponent(tick) : shortNumber(tick)));
  const step = ticks.length > 1 ? Math.abs((ticks[1] ?? 0) - (ticks[0] ?? 0)) : 0;
  const digits = step > 0 ? Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) : 0;
  if (step === 0 || digits > 4 || step >= 1e5) return ticks.map((tick) => shortNumber(tick));
  return ticks.map((tick) =>
    f.withMinus(tick.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })),
  );
}

const ZEROS = 8; // per cent of the width for the bar of the zeros and the gap beside it
const EXACT = 7; // significant digits that mostly tell nearly equal values apart
const DOUBLE = 17; // significant digits that tell all numbers apart
const APART = 9; // per cent of the width between the labels of the zeros and of a tick
const LEAST = 2; // per cent of the height: one firing can be seen too

interface HistogramProps {
  data: Data;
  help?: ComponentChildren;
  logCounts?: boolean;
  small?: boolean;
  shade?: (from: number, to: number) => string;
  tick?: (value: number, text: string) => string;
  mark?: { at: number; text: string } | null;
}

export function Histogram({ data, help, logCounts = false, small = false, shade, tick, mark }: HistogramProps) {
  const [button, text] = useHelp(data.title, help);
  const place = placer(data);
  const most = Math.max(1, data.zeros, ...data.counts);
  const peak = logCounts ? most : niceCeiling(most);
  const heightOf = (count: number) => {
    const share = !logCounts ? count / peak : peak > 1 ? Math.log10(count) / Math.log10(peak) : 1;
    return Math.max(small ? LEAST : 0, share * 100);
  };
  const [low, high] = [data.edges[0] ?? 0, data.edges.at(-1) ?? 1];
  const axis = data.log ? logAxis(low, high) : linearAxis(low, high);
  const ticks = axis.ticks
    .map((at, i) => ({ at, text: axis.texts[i] ?? "" }))
    .filter(({ at }) => data.zeros === 0 || place(at) > ZEROS / 6 + APART);
  const edgeTexts = textsOf(data.edges, axis.from === null ? data.digits + (data.log ? 0 : 1) : EXACT);
  const bars = data.counts.flatMap((count, i) => {
    const [from, to] = [data.edges[i] ?? 0, data.edges[i + 1] ?? 0];
    if (count === 0) return [];
    const words = `${edgeTexts[i]} to ${edgeTexts[i + 1]}: ${f.count(count)}`;
    const width = place(to) - place(from);
    return [{ x: place(from), width, height: heightOf(count), words, class: shade?.(from, to) }];
  });
  if (data.zeros > 0) {
    const words = `${data.zeros_label}: ${f.count(data.zeros)}`;
    bars.unshift({ x: 0, width: ZEROS / 3, height: heightOf(data.zeros), words, class: undefined });
  }
  return (
    <figure class={small ? "hist fig" : "hist"}>
      <figcaption>
        <b>{data.title}</b>
        <span class="t2">{logCounts && !data.note.includes("log") ? `${data.note}, log counts` : data.note}</span>
        {help && button}
      </figcaption>
      {text}
      <div class="plot" role="img" aria-label={data.summary}>
        <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
          {bars.map((bar) => (
            <rect
              key={bar.x}
              class={bar.class}
              x={bar.x}
              y={100 - bar.height}
              // a hair of ground between two bars, as wide as it may be
              width={Math.max(0.2, bar.width * 0.9)}
              height={bar.height}
            >
              <title>{bar.words}</title>
            </rect>
          ))}
        </svg>
        {countTicks(peak, logCounts, small).map(([value, at]) => (
          <span key={at} class="yt" style={{ top: `${100 - at}%` }} aria-hidden="true">
            {shortNumber(value)}
          </span>
        ))}
        {data.zeros > 0 && (
          <span class="xt" style={{ left: `${ZEROS / 6}%` }} aria-hidden="true">
            {data.zeros_label}
          </span>
        )}
        {ticks.map(({ at, text }) => (
          <span key={at} class="xt" style={{ left: `${place(at)}%` }} aria-hidden="true">
            {tick ? tick(at, text) : text}
          </span>
        ))}
        <span class="xl" aria-hidden="true">
          {axis.from === null ? data.x_label : `${data.x_label} − ${axis.from}`}
        </span>
        {mark && (
          <span class={place(mark.at) > 75 ? "cur left" : "cur"} style={{ left: `${Math.min(100, place(mark.at))}%` }}>
            <span>{mark.text}</span>
          </span>
        )}
      </div>
    </figure>
  );
}

function countTicks(peak: number, log: boolean, few: boolean): [number, number][] {
  const middle: [number, number][] = log
    ? peak >= 16
      ? [[Math.round(Math.sqrt(peak)), 50]]
      : []
    : few
      ? []
      : [[peak / 2, 50]];
  return [[log ? 1 : 0, 0], ...middle, ...(log && peak <= 1 ? [] : [[peak, 100] as [number, number]])];
}

/** The edges in words, with as many digits as tell each from the next. */
function textsOf(edges: readonly number[], digits: number): string[] {
  for (let more = digits; more < DOUBLE; more += 1) {
    const texts = edges.map((edge) =>
      more === digits ? shortNumber(edge, more) : String(Number(edge.toPrecision(more))),
    );
    if (new Set(texts).size === edges.length) return texts;
  }
  return edges.map(String);
}

function logAxis(low: number, high: number): Axis {
  const ticks = powerTicks(low, high);
  return { ticks, texts: tickTexts(ticks, high >= 100 * low), from: null };
}

function placer(data: Data): (value: number) => number {
  const scale = data.log ? Math.log10 : (value: number) => value;
  const [low, high] = [scale(data.edges[0] ?? 0), scale(data.edges.at(-1) ?? 1)];
  const first = data.zeros > 0 ? ZEROS : 0;
  return (value) => (high > low ? first + ((scale(value) - low) / (high - low)) * (100 - first) : 50);
}
