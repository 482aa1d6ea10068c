/** The numbers behind the charts, page by page as binary columns. */
import { columnsOf } from "../lib/buffers";
import type { Card, TableData } from "../lib/protocol";
import type { Rpc } from "../lib/rpc";

export const METRICS = ["loss", "l0", "fvu"];
const PAGE = 5000; // rows: six float64 columns of it are 240 kB, far below the 1 MB a message may have

export interface Table {
  total: number;
  rows: number;
  columns: Map<string, Float64Array>;
}

export async function readPage(
  rpc: Rpc,
  id: string,
  offset: number,
  limit: number,
  signal?: AbortSignal,
): Promise<Table> {
  const answer = await rpc.send({ kind: "metric_table", training_id: id, names: METRICS, limit, offset }, { signal });
  const { rows, total } = answer.value as TableData;
  return { rows, total, columns: columnsOf(answer.columns, answer.buffers) };
}

/** Rows of all pages of one run: the values of `columns`, in that order; a metric not measured at a step is NaN. */
export async function readAll(
  rpc: Rpc,
  card: Card,
  columns: readonly string[],
  signal?: AbortSignal,
): Promise<number[][]> {
  const rows: number[][] = [];
  for (let offset = 0; ; ) {
    const page = await readPage(rpc, card.id, offset, PAGE, signal);
    for (let i = 0; i < page.rows; i += 1) rows.push(columns.map((name) => page.columns.get(name)?.[i] ?? Number.NaN));
    offset += page.rows;
    if (page.rows === 0 || offset >= page.total) return rows;
  }
}

export const COLUMNS = ["step", "tokens", "time", ...METRICS];

/** The charted runs as rows of a CSV file: one row per run and step, empty where nothing was measured. */
export async function csvRows(rpc: Rpc, cards: readonly Card[], signal?: AbortSignal): Promise<(string | number)[][]> {
  const rows: (string | number)[][] = [["training_id", "name", ...COLUMNS]];
  for (const card of cards) {
    for (const row of await readAll(rpc, card, COLUMNS, signal)) {
      rows.push([card.id, card.name, ...row.map((value) => (Number.isNaN(value) ? "" : value))]);
    }
  }
  return rows;
}
