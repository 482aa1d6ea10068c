/** The numbers behind the charts, page by page as binary columns. */
import { columnsOf } from "../lib/buffers";
import type { Cell } from "../lib/copy";
import type { Rpc } from "../lib/rpc";
import type { Card } from "../lib/wire";

export const METRICS = ["loss", "l0", "fvu"];
const MOST = 2500; // rows: the 18 float64 columns of a usual run are 360 kB of it, below the 1 MB a message may have

export interface Page {
  total: number;
  rows: number;
  columns: Map<string, Float64Array>;
}

/** `names`: which metrics; null are all that the run recorded. */
export async function readPage(
  rpc: Rpc,
  id: string,
  names: string[] | null,
  offset: number,
  limit: number,
  signal?: AbortSignal,
): Promise<Page> {
  const answer = await rpc.send({ kind: "metric_table", training_id: id, names, limit, offset }, { signal });
  const { rows, total } = answer.value;
  return { rows, total, columns: columnsOf(answer.columns, answer.buffers) };
}

/** Everything that one run recorded. */
async function readAll(rpc: Rpc, id: string, signal?: AbortSignal): Promise<Page[]> {
  const pages: Page[] = [];
  for (let offset = 0; ; ) {
    const page = await readPage(rpc, id, null, offset, MOST, signal);
    pages.push(page);
    offset += page.rows;
    if (page.rows === 0 || offset >= page.total) return pages;
  }
}

/** The charted runs as rows of a CSV file, as `run.history()` has them: a row per run and step, empty where nothing was
 * measured, time in UTC. */
export async function csvRows(rpc: Rpc, cards: readonly Card[], signal?: AbortSignal): Promise<Cell[][]> {
  const runs: { card: Card; pages: Page[] }[] = [];
  for (const card of cards) runs.push({ card, pages: await readAll(rpc, card.id, signal) });
  const names = new Set(["step", "tokens", "time"]);
  for (const { pages } of runs) for (const page of pages) for (const name of page.columns.keys()) names.add(name);
  const cell = (name: string, value = Number.NaN): Cell => {
    if (!Number.isFinite(value)) return null;
    return name === "time" ? new Date(value * 1000).toISOString() : value;
  };
  const rows: Cell[][] = [["training_id", "name", ...names]];
  for (const { card, pages } of runs) {
    for (const page of pages) {
      for (let i = 0; i < page.rows; i += 1) {
        rows.push([card.id, card.name, ...[...names].map((name) => cell(name, page.columns.get(name)?.[i]))]);
      }
    }
  }
  return rows;
}
