/** View data: the numbers behind the charts as a table, the newest first. */
import { useEffect, useState } from "preact/hooks";
import { onEsc } from "../lib/a11y";
import { Button, NoteBox, Options } from "../lib/controls";
import * as f from "../lib/format";
import { SeriesKey } from "../lib/icons";
import { asFailure, isAbort } from "../lib/rpc";
import type { Card } from "../lib/wire";
import { METRICS, readPage, type Table } from "./metric-table";
import type { Problem, Store } from "./store";

const SHOWN = 200; // rows; all of them are in the CSV file

export function DataTable({ store, cards, onClose }: { store: Store; cards: Card[]; onClose: () => void }) {
  const [chosen, setChosen] = useState<string | null>(null);
  const card = cards.find((one) => one.id === chosen) ?? cards[0];
  if (!card) return null;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Esc in it closes it
    <div class="data" onKeyDown={onEsc(onClose)}>
      {cards.length > 1 && (
        <span class="s24" style={{ "--w": "280px" }}>
          <select aria-label="Training in the table" value={card.id} onChange={(e) => setChosen(e.currentTarget.value)}>
            <Options of={cards.map(({ id, name }) => ({ value: id, label: name }))} />
          </select>
        </span>
      )}
      <RunTable key={card.id} store={store} card={card} />
    </div>
  );
}

function RunTable({ store, card }: { store: Store; card: Card }) {
  const [table, setTable] = useState<Table | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [round, setRound] = useState(0);

  useEffect(() => {
    const stop = new AbortController();
    const load = async () => {
      try {
        let page = await readPage(store.rpc, card.id, METRICS, 0, SHOWN, stop.signal);
        if (page.total > page.rows) {
          page = await readPage(store.rpc, card.id, METRICS, page.total - SHOWN, SHOWN, stop.signal);
        }
        setTable(page);
        setProblem(null);
      } catch (error) {
        if (!isAbort(error)) setProblem(asFailure(error));
      }
    };
    void load();
    return () => stop.abort();
  }, [store, card.id, card.status, round]);

  if (problem) {
    return (
      <NoteBox tone="err" title={problem.what}>
        {problem.hint}
      </NoteBox>
    );
  }
  if (!table) return <p class="sm t2">Asking the kernel…</p>;
  if (table.total === 0) return <p class="sm t2">{`Nothing was measured of ${card.name} yet.`}</p>;
  const at = (name: string, i: number) => {
    const value = table.columns.get(name)?.[i];
    return value === undefined || Number.isNaN(value) ? null : value;
  };
  const rows = Array.from({ length: table.rows }, (_, i) => table.rows - 1 - i);
  return (
    <>
      <div class="row sm t2">
        {card.series !== null && <SeriesKey series={card.series} />}
        <span class="el">{card.name}</span>
        <span>
          {table.total > table.rows
            ? `newest ${table.rows} of ${f.count(table.total)} rows`
            : f.plural(table.total, "row")}
        </span>
        <div class="sp" />
        <Button small kind="quiet" icon="retry" onClick={() => setRound(round + 1)}>
          Refresh
        </Button>
      </div>
      <Sheet
        label={`Metrics of ${card.name}`}
        heads={["Step", "Tokens", "Time", "Loss", "L0", "FVU"]}
        numbers={[0, 1, 2, 3, 4, 5]}
        rows={rows.map((i) => [
          f.count(at("step", i) ?? 0),
          f.count(at("tokens", i) ?? 0),
          f.clock(at("time", i) ?? 0, Date.now(), true),
          f.loss(at("loss", i)),
          f.l0(at("l0", i)),
          f.fvu(at("fvu", i)),
        ])}
      />
    </>
  );
}

interface SheetProps {
  label: string;
  heads: string[];
  /** The columns that hold numbers. */
  numbers: number[];
  rows: string[][];
}

/** The numbers behind a figure. */
export function Sheet({ label, heads, numbers, rows }: SheetProps) {
  const type = (column: number) => (numbers.includes(column) ? "num" : undefined);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard
    <div class="scroll tall box" tabIndex={0}>
      <table class="pad" aria-label={label}>
        <thead>
          <tr>
            {heads.map((head, i) => (
              <th key={head} class={type(i)}>
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={String(row)}>
              {row.map((text, i) => (
                <td key={heads[i]} class={type(i)}>
                  {text}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
