/** A line across all charts at the pointer, and the values of the runs there. The figures are bqplot's: their models
 * hold the lines, so that nothing is asked of the kernel. */
import { useEffect, useRef, useState } from "preact/hooks";
import * as f from "../lib/format";
import { SeriesKey } from "../lib/icons";
import type { ChartState, XAxis } from "../lib/wire";
import type { Store } from "./store";

/** What is read of a model of ipywidgets or bqplot. */
interface Shared {
  get(name: string): unknown;
  readonly domain?: readonly [number, number];
}
/** The widget manager of the page; one that cannot be asked for models has no crosshair. */
export type Manager = { get_model?: (id: string) => Promise<Shared> } | undefined;
type Numbers = ArrayLike<number>;

interface Line {
  left: number;
  top: number;
  height: number;
  turned: boolean; // its values stand on the left
  rows: { series: number; text: string }[];
}

interface Cross {
  at: string;
  lines: Line[];
}

const AT: Record<XAxis, (x: number) => string> = {
  tokens: (x) => `${f.tokens(x)} tokens`,
  steps: (x) => `step ${f.count(x)}`,
  time: f.duration,
};

/** The value of the point that is nearest to `x`; NaN outside of the line. */
export function valueAt(xs: Numbers, ys: Numbers, x: number): number {
  const n = xs.length;
  if (n === 0 || x < Number(xs[0]) || x > Number(xs[n - 1])) return Number.NaN;
  let [low, high] = [0, n - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (Number(xs[middle]) <= x) low = middle;
    else high = middle;
  }
  return Number(ys[x - Number(xs[low]) < Number(xs[high]) - x ? low : high]);
}

function rowsOf(figure: Shared, metric: string, x: number): Line["rows"] {
  return (figure.get("marks") as Shared[]).flatMap((mark) => {
    const [slot = ""] = (mark.get("labels") as string[] | undefined) ?? [];
    if (!/^\d$/.test(slot) || !mark.get("visible")) return []; // bqplot gives others labels such as "C1"
    const value = valueAt(mark.get("x") as Numbers, mark.get("y") as Numbers, x);
    return [{ series: Number(slot), text: Number.isNaN(value) ? f.DASH : f.metric(metric, value) }];
  });
}

/** The crosshair for a pointer in the chart `over`; null beside its plot. `from`: where its layer begins. */
function crossAt(box: Shared, looks: ChartState, over: Element, pointer: number, from: DOMRect): Cross | null {
  const plotOf = (chart: Element) => chart.querySelector(".plotarea_background")?.getBoundingClientRect();
  const figures = (box.get("children") as Shared[]).map((chart) => (chart.get("children") as Shared[])[1] as Shared);
  const plot = plotOf(over);
  const [low, high] = (figures[0]?.get("scale_x") as Shared | undefined)?.domain ?? [];
  if (!plot || low === undefined || high === undefined) return null;
  const share = (pointer - plot.left) / plot.width;
  if (!(share >= 0 && share <= 1)) return null;
  const x = looks.log_x ? low * (high / low) ** share : low + (high - low) * share;
  const names = looks.wide ? [looks.metrics[looks.wide - 1]] : looks.metrics;
  const lines = [...(over.parentElement?.children ?? [])].flatMap((chart, i) => {
    const [figure, name, area] = [figures[i], names[i], plotOf(chart)];
    if (!figure || !name || !area) return [];
    const left = area.left - from.left + share * area.width;
    const rows = rowsOf(figure, name, x);
    return [{ left, top: area.top - from.top, height: area.height, turned: share > 0.5, rows }];
  });
  return { at: AT[looks.x_axis](x), lines };
}

export function Crosshair({ store, manager }: { store: Store; manager: Manager }) {
  const layer = useRef<HTMLDivElement>(null);
  const [cross, setCross] = useState<Cross | null>(null);
  const { figures: id } = store.charts();
  useEffect(() => {
    const frame = layer.current?.closest<HTMLElement>(".sw-frame");
    if (!frame || !manager?.get_model) return;
    let last: Event | null = null;
    const move = async (event: PointerEvent) => {
      last = event;
      const over = (event.target as Element).closest(".sw-charts > .sw-chart");
      const box = over && (await manager.get_model?.(id).catch(() => null)); // a page may not have the figures yet
      const from = layer.current?.getBoundingClientRect();
      if (last === event)
        setCross(over && box && from ? crossAt(box, store.charts(), over, event.clientX, from) : null);
    };
    const leave = () => {
      last = null;
      setCross(null);
    };
    frame.addEventListener("pointermove", move);
    frame.addEventListener("pointerleave", leave);
    return () => {
      frame.removeEventListener("pointermove", move);
      frame.removeEventListener("pointerleave", leave);
    };
  }, [store, manager, id]);
  return (
    <div ref={layer} class="cross" aria-hidden="true">
      {cross?.lines.map(({ rows, turned, left, top, height }, i) => (
        <div
          key={i}
          class={turned ? "turned" : undefined}
          style={{ left: `${left}px`, top: `${top}px`, height: `${height}px` }}
        >
          <div>
            <span class="t2">{cross.at}</span>
            {rows.map(({ series, text }) => (
              <span key={series}>
                <SeriesKey series={series} /> {text}
              </span>
            ))}
          </div>
        </div>
      ))}
    </div>
  );
}
