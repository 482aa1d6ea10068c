/** The bar above the charts: legend, axes, smoothing, data. The charts themselves are bqplot figures below it. */
import { useSignal } from "@preact/signals";
import { useState } from "preact/hooks";
import { onEsc, useUid } from "../lib/a11y";
import { useAsked } from "../lib/ask";
import { Button, Checkbox, Cut, Segments } from "../lib/controls";
import { type Cell, saveFile, toCsv } from "../lib/copy";
import * as f from "../lib/format";
import { JointKey, SeriesKey } from "../lib/icons";
import { Pick } from "../lib/kit";
import { Failed, ItemNotes } from "../lib/notes";
import { columnsOf, type Rpc } from "../lib/rpc";
import { during } from "../lib/store";
import { num, Table } from "../lib/table";
import type { Card, XAxis, XRange } from "../lib/wire";
import { Crosshair, type Manager } from "./crosshair";
import { StandIn, savePictures } from "./figures";
import type { Store } from "./store";

const X_AXES: Record<XAxis, string> = { tokens: "Tokens", steps: "Steps", time: "Time" };

const X_RANGES: Record<XRange, string> = { active: "Active runs", all: "All" };

const NOTHING = "Select runs in the list to chart them";

function chartedCards(store: Store): Card[] {
  return store.state.value.cards
    .filter((card) => card.series !== null)
    .sort((a, b) => (a.series ?? 0) - (b.series ?? 0));
}

export function ChartsBar({ store, manager }: { store: Store; manager: unknown }) {
  const [dataShown, setDataShown] = useState(false);
  const charts = store.charts();
  const cards = chartedCards(store);
  const nothing = cards.length === 0 ? NOTHING : undefined;
  const shown = dataShown && !nothing;
  const closeData = () => setDataShown(false);
  // `no-charts` also hides the figures, which stand outside of this part.
  if (store.state.value.total === 0) return <div class="no-charts" />;
  return (
    <>
      {cards.length === 0 && <div class="no-charts" />}
      <div class="tb line">
        <h3>Charts</h3>
        <span class="lg">
          {cards.map((card) => (
            <span key={card.id}>
              {card.series !== null && <SeriesKey series={card.series} />}
              <Cut text={card.name} />
              <Button
                small
                kind="quiet"
                icon="close"
                label={`Take ${card.name} off the charts`}
                onClick={() => store.undraw(card.id)}
              />
            </span>
          ))}
          {cards.some((card) => card.continued_from !== null) && (
            <span class="t2">
              <JointKey /> goes on from an earlier run
            </span>
          )}
          {nothing && <span>{nothing}</span>}
        </span>
        <div class="sp" />
        <Checkbox
          label="Show raw values"
          text="Raw"
          checked={charts.show_raw}
          onChange={(show_raw) => store.changeCharts({ show_raw })}
        />
        <Smoothing value={charts.smoothing} onChange={(smoothing) => store.changeCharts({ smoothing })} />
      </div>
      <div class="tb plain">
        <span class="sm t2 hw" aria-hidden="true">
          X axis
        </span>
        <Segments
          label="X axis"
          options={X_AXES}
          selected={charts.x_axis}
          onSelect={(x_axis) => store.changeCharts({ x_axis })}
        />
        {charts.longer && (
          <Segments
            label="Runs that the x axis fits"
            options={X_RANGES}
            selected={charts.x_range}
            onSelect={(x_range) => store.changeCharts({ x_range })}
          />
        )}
        <Checkbox label="Log x axis" checked={charts.log_x} onChange={(log_x) => store.changeCharts({ log_x })}>
          Log x
        </Checkbox>
        <Checkbox label="Log y axis" checked={charts.log_y} onChange={(log_y) => store.changeCharts({ log_y })}>
          Log y
        </Checkbox>
        <div class="sp" />
        {!charts.longer && <span class="xs t2 hw">Wheel zooms, drag pans</span>}
        <Button
          text="Reset zoom"
          small
          kind="quiet"
          disabled={!charts.zoomed}
          onClick={() => store.command("charts", "Reset zoom", { kind: "chart", reset_zoom: true })}
        />
        <SaveButton
          store={store}
          cards={cards}
          word="CSV"
          save={async () => saveFile("trainings.csv", toCsv(await csvRows(store.rpc, cards, store.stop)), "text/csv")}
        />
        <SaveButton store={store} cards={cards} word="PNG" save={() => savePictures(store.rpc, "charts", store.stop)} />
        <SaveButton
          store={store}
          cards={cards}
          word="SVG"
          save={() => savePictures(store.rpc, "charts", store.stop, "SVG")}
        />
        <Button
          text="View data"
          small
          kind="quiet"
          title={nothing}
          disabled={nothing !== undefined}
          expanded={shown}
          onClick={() => setDataShown(!dataShown)}
          onKeyDown={shown ? onEsc(closeData) : undefined}
        />
      </div>
      {(store.problems.value.has("charts") || store.late.value.has("charts")) && (
        <div class="data">
          <ItemNotes store={store} id="charts" />
        </div>
      )}
      {shown && <DataTable store={store} cards={cards} onClose={closeData} />}
      {cards.length > 0 && <Metrics store={store} />}
      {cards.length > 0 && <StandIn store={store} figure="charts" />}
      {cards.length > 0 && <Crosshair store={store} manager={manager as Manager} />}
      {charts.summaries.length > 0 && <p class="vh">{charts.summaries.join(" ")}</p>}
    </>
  );
}

/** What each of the charts below shows; what another one showed, that one gets in exchange. */
function Metrics({ store }: { store: Store }) {
  const { metrics, choices, wide } = store.charts();
  const change = (i: number, name: string) => {
    const now = metrics.map((old, j) => (j === i ? name : old === name ? metrics[i] : old));
    void store.changeCharts({ metrics: now as typeof metrics });
  };
  return (
    <div class={wide ? "metrics wide" : "metrics"}>
      {metrics.map(
        (name, i) =>
          (!wide || wide === i + 1) && (
            <span key={i} class="row">
              <Pick
                label={`Metric of chart ${i + 1}`}
                value={name}
                options={choices}
                onPick={(chosen) => change(i, chosen)}
              />
              <Button
                small
                kind="quiet"
                icon="wide"
                label={`Full width of chart ${i + 1}`}
                pressed={wide > 0}
                onClick={() => store.changeCharts({ wide: wide ? 0 : i + 1 })}
              />
            </span>
          ),
      )}
    </div>
  );
}

function Smoothing({ value, onChange }: { value: number; onChange: (value: number) => void }) {
  const id = useUid("sw-smoothing");
  return (
    <span class="smooth keep">
      <label class="sm t2" for={id}>
        Smoothing
      </label>
      <input
        id={id}
        type="range"
        min={0}
        max={100}
        value={value}
        style={{ "--v": `${value}%` }}
        aria-valuetext={`${value} of 100`}
        onInput={(event) => onChange(Number(event.currentTarget.value))}
      />
      <output for={id}>{value}</output>
    </span>
  );
}

interface SaveProps {
  store: Store;
  cards: Card[];
  word: string;
  save: () => Promise<void>;
}

function SaveButton({ store, cards, word, save }: SaveProps) {
  const busy = useSignal(false);
  const press = () => during(busy, save()).catch((error) => store.fail("charts", error));
  return (
    <Button
      text={busy.value ? "Reading…" : word}
      small
      kind="quiet"
      icon="download"
      label={`Download ${word}`}
      title={cards.length === 0 ? NOTHING : undefined}
      disabled={busy.value || cards.length === 0}
      onClick={press}
    />
  );
}

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
  const { metrics, choices } = store.charts();
  const load = async (signal: AbortSignal) => {
    const page = await readPage(store.rpc, card.id, metrics, 0, SHOWN, signal);
    if (page.total <= page.rows) return page;
    return readPage(store.rpc, card.id, metrics, page.total - SHOWN, SHOWN, signal);
  };
  const { data: table, problem, again } = useAsked(load, `${card.id} ${card.status} ${metrics}`);
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
        <Button text="Refresh" small kind="quiet" icon="retry" onClick={again} />
      </div>
      <Table
        label={`Metrics of ${card.name}`}
        box="scroll tall box"
        class="pad"
        focus
        columns={["Step", "Tokens", "Time", ...metrics.map((name) => choices[name] ?? name)].map((head) => num(head))}
        rows={rows.map((i) => ({
          key: i,
          cells: [
            f.count(at("step", i) ?? 0),
            f.count(at("tokens", i) ?? 0),
            f.clock(at("time", i) ?? 0, Date.now(), true),
            ...metrics.map((name) => f.metric(name, at(name, i))),
          ],
        }))}
      />
    </>
  );
}
