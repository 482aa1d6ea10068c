/** A small histogram as SVG, with a sentence that says the same. */
import * as f from "./format";
import { type Axis, linearAxis, niceCeiling, powerTicks, shortNumber, tickTexts } from "./ticks";
import type { Histogram as Data } from "./wire";

const ZEROS = 8; // per cent of the width for the bar of the zeros and the gap beside it
const EXACT = 7; // significant digits that mostly tell nearly equal values apart
const DOUBLE = 17; // significant digits that tell all numbers apart
const APART = 9; // per cent of the width between the labels of the zeros and of a tick

export function Histogram({ data }: { data: Data }) {
  const place = placer(data);
  const peak = niceCeiling(Math.max(1, data.zeros, ...data.counts));
  const [low, high] = [data.edges[0] ?? 0, data.edges.at(-1) ?? 1];
  const axis = data.log ? logAxis(low, high) : linearAxis(low, high);
  const ticks = axis.ticks
    .map((at, i) => ({ at, text: axis.texts[i] }))
    .filter(({ at }) => data.zeros === 0 || place(at) > ZEROS / 6 + APART);
  const edgeTexts = textsOf(data.edges, axis.from === null ? data.digits + (data.log ? 0 : 1) : EXACT);
  const bars = data.counts.flatMap((count, i) => {
    const [from, to] = [data.edges[i] ?? 0, data.edges[i + 1] ?? 0];
    if (count === 0) return [];
    const words = `${edgeTexts[i]} to ${edgeTexts[i + 1]}: ${f.count(count)}`;
    return [{ x: place(from), width: place(to) - place(from), height: (count / peak) * 100, words }];
  });
  if (data.zeros > 0) {
    const words = `${data.zeros_label}: ${f.count(data.zeros)}`;
    bars.unshift({ x: 0, width: ZEROS / 3, height: (data.zeros / peak) * 100, words });
  }
  return (
    <figure class="hist">
      <figcaption>
        <b>{data.title}</b>
        <span class="t2">{data.note}</span>
      </figcaption>
      <div class="plot" role="img" aria-label={data.summary}>
        <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
          {bars.map((bar) => (
            <rect
              key={bar.x}
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
        {[0, 0.5, 1].map((share) => (
          <span key={share} class="yt" style={{ top: `${100 - share * 100}%` }} aria-hidden="true">
            {shortNumber(share * peak)}
          </span>
        ))}
        {data.zeros > 0 && (
          <span class="xt" style={{ left: `${ZEROS / 6}%` }} aria-hidden="true">
            {data.zeros_label}
          </span>
        )}
        {ticks.map(({ at, text }) => (
          <span key={at} class="xt" style={{ left: `${place(at)}%` }} aria-hidden="true">
            {text}
          </span>
        ))}
        <span class="xl" aria-hidden="true">
          {axis.from === null ? data.x_label : `${data.x_label} − ${axis.from}`}
        </span>
      </div>
    </figure>
  );
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
  return { ticks, texts: tickTexts(ticks, true), from: null };
}

/** Where the first bin begins, in per cent. */
const start = (data: Data): number => (data.zeros > 0 ? ZEROS : 0);

/** Where a value lies on the x axis, in per cent. */
function placer(data: Data): (value: number) => number {
  const scale = data.log ? Math.log10 : (value: number) => value;
  const [low, high] = [scale(data.edges[0] ?? 0), scale(data.edges.at(-1) ?? 1)];
  const first = start(data);
  return (value) => (high > low ? first + ((scale(value) - low) / (high - low)) * (100 - first) : 50);
}
