/** The two histograms of a feature: how strongly it fires, and what it does to the next token. */
import type { ComponentChildren } from "preact";
import * as f from "../lib/format";
import { useHelp } from "../lib/help";
import { linearAxis, niceCeiling, shortNumber } from "../lib/ticks";
import { shadeStep } from "../lib/tokens";
import type { Histogram } from "../lib/wire";
import { activation, signed } from "./words";

const LEAST = 2; // per cent of the height: one firing can be seen too

interface FigureProps {
  data: Histogram;
  help: ComponentChildren;
  /** Counts on a logarithmic axis. */
  log?: boolean;
  /** The class of a bar between two values. */
  shade: (from: number, to: number) => string;
  /** The text of a tick. */
  tick?: (value: number, text: string) => string;
  /** A value to mark. */
  mark?: number | null;
}

function Figure({ data, help, log = false, shade, tick = (_, text) => text, mark = null }: FigureProps) {
  const [button, text] = useHelp(data.title, help);
  const [low, high] = [data.edges[0] ?? 0, data.edges.at(-1) ?? 1];
  const place = (value: number) => (high > low ? ((value - low) / (high - low)) * 100 : 50);
  const most = Math.max(1, ...data.counts);
  const peak = log ? most : niceCeiling(most);
  const heightOf = (count: number) => {
    if (count === 0) return 0;
    const share = log ? (peak > 1 ? Math.log10(count) / Math.log10(peak) : 1) : count / peak;
    return Math.max(LEAST, share * 100);
  };
  const axis = linearAxis(low, high);
  const ticks: [number, number][] = log
    ? [
        [1, 0],
        ...(peak >= 16 ? [[Math.round(Math.sqrt(peak)), 50] as [number, number]] : []),
        ...(peak > 1 ? [[peak, 100] as [number, number]] : []),
      ]
    : [
        [0, 0],
        [peak, 100],
      ];
  return (
    <figure class="hist fig">
      <figcaption>
        <b>{data.title}</b>
        <span class="t2">{log && !data.note.includes("log") ? `${data.note}, log counts` : data.note}</span>
        {button}
      </figcaption>
      {text}
      <div class="plot" role="img" aria-label={data.summary}>
        <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
          {data.counts.map((count, i) => {
            const [from, to] = [data.edges[i] ?? 0, data.edges[i + 1] ?? 0];
            const height = heightOf(count);
            return (
              count > 0 && (
                <rect
                  key={from}
                  class={shade(from, to)}
                  x={place(from)}
                  y={100 - height}
                  width={Math.max(0.3, (place(to) - place(from)) * 0.88)}
                  height={height}
                >
                  <title>{`${shortNumber(from)} to ${shortNumber(to)}: ${f.count(count)}`}</title>
                </rect>
              )
            );
          })}
        </svg>
        {ticks.map(([value, at]) => (
          <span key={at} class="yt" style={{ top: `${100 - at}%` }} aria-hidden="true">
            {shortNumber(value)}
          </span>
        ))}
        {axis.ticks.map((at, i) => (
          <span key={at} class="xt" style={{ left: `${place(at)}%` }} aria-hidden="true">
            {tick(at, axis.texts[i] ?? "")}
          </span>
        ))}
        <span class="xl" aria-hidden="true">
          {data.x_label}
        </span>
        {mark !== null && (
          <span class={place(mark) > 75 ? "cur left" : "cur"} style={{ left: `${Math.min(100, place(mark))}%` }}>
            <span>{activation(mark)}</span>
          </span>
        )}
      </div>
    </figure>
  );
}

/** `mark`: the activation of the token that is pointed at, or the largest of the tested text. */
export function Activations({ data, max, mark }: { data: Histogram; max: number; mark: number | null }) {
  return (
    <Figure
      data={data}
      log
      help="How often it fires with which strength. Tokens on which it does not fire are left out. Counts are on a logarithmic axis; the colours are those of the examples."
      shade={(from, to) => `a${Math.max(1, shadeStep((from + to) / 2, max))}`}
      mark={mark}
    />
  );
}

export function LogitEffects({ data }: { data: Histogram }) {
  return (
    <Figure
      data={data}
      help="What one unit of activation adds to the logit of each token of the vocabulary: the decoder direction times the unembedding, through the last norm's scale."
      shade={(from, to) => (from + to < 0 ? "neg" : "pos")}
      tick={(value, text) => (value > 0 ? `+${text}` : value < 0 ? signed(value, decimals(text)) : text)}
    />
  );
}

const decimals = (text: string): number => text.split(".")[1]?.length ?? 0;
