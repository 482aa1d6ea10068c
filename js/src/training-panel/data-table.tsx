/** View data: the numbers behind the charts as a table, the newest first. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { onEsc } from "../lib/a11y";
import { Latest } from "../lib/ask";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { SeriesKey } from "../lib/icons";
import { Pick } from "../lib/kit";
import { Failed } from "../lib/notes";
import { num, Table } from "../lib/table";
import type { Card } from "../lib/wire";
import { METRICS, type Page, readPage } from "./metric-table";
import type { Store } from "./store";

const SHOWN = 200; // rows; all of them are in the CSV file

export function DataTable({ store, cards, onClose }: { store: Store; cards: Card[]; onClose: () => void }) {
  const [chosen, setChosen] = useState<string | null>(null);
  const card = cards.find((one) => one.id === chosen) ?? cards[0];
  if (!card) return null;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Esc in it closes it
    <div class="data" onKeyDown={onEsc(onClose)}>
      {cards.length > 1 && (
        <Pick
          label="Training in the table"
          width={280}
          value={card.id}
          options={cards.map(({ id, name }) => ({ value: id, label: name }))}
          onPick={setChosen}
        />
      )}
      <RunTable key={card.id} store={store} card={card} />
    </div>
  );
}

function RunTable({ store, card }: { store: Store; card: Card }) {
  const asked = useMemo(() => new Latest<Page>(), []);
  const { data: table, problem } = asked.value;
  const [round, setRound] = useState(0);
  useEffect(() => {
    const load = async (signal: AbortSignal) => {
      const page = await readPage(store.rpc, card.id, METRICS, 0, SHOWN, signal);
      if (page.total <= page.rows) return page;
      return readPage(store.rpc, card.id, METRICS, page.total - SHOWN, SHOWN, signal);
    };
    void asked.ask(load);
    return () => asked.giveUp();
  }, [store, card.id, card.status, round]);

  if (problem) return <Failed problem={problem} />;
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
        <Button text="Refresh" small kind="quiet" icon="retry" onClick={() => setRound(round + 1)} />
      </div>
      <Table
        label={`Metrics of ${card.name}`}
        box="scroll tall box"
        class="pad"
        focus
        columns={["Step", "Tokens", "Time", "Loss", "L0", "FVU"].map((head) => num(head))}
        rows={rows.map((i) => ({
          key: i,
          cells: [
            f.count(at("step", i) ?? 0),
            f.count(at("tokens", i) ?? 0),
            f.clock(at("time", i) ?? 0, Date.now(), true),
            ...[f.loss(at("loss", i)), f.l0(at("l0", i)), f.fvu(at("fvu", i))],
          ],
        }))}
      />
    </>
  );
}
