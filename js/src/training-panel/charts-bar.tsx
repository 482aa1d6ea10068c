/** The bar above the charts: legend, axes, smoothing, data. The charts themselves are bqplot figures below it. */
import { useState } from "preact/hooks";
import { onEsc, useUid } from "../lib/a11y";
import { Button, Checkbox, Segments } from "../lib/controls";
import { saveFile, toCsv } from "../lib/copy";
import { JointKey, SeriesKey } from "../lib/icons";
import { ItemNotes } from "../lib/notes";
import type { Card, XAxis, XRange } from "../lib/wire";
import { csvRows, DataTable } from "./data-table";
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

export function ChartsBar({ store }: { store: Store }) {
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
              <span class="el" title={card.name}>
                {card.name}
              </span>
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
        <Smoothing value={charts.smoothing} onChange={(smoothing) => store.changeCharts({ smoothing })} />
      </div>
      <div class="tb plain">
        <span class="sm t2" aria-hidden="true">
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
        <Checkbox label="Log y axis" checked={charts.log_y} onChange={(log_y) => store.changeCharts({ log_y })}>
          Log y
        </Checkbox>
        <Checkbox
          label="Show raw values"
          checked={charts.show_raw}
          onChange={(show_raw) => store.changeCharts({ show_raw })}
        >
          Raw
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
      {cards.length > 0 && <StandIn store={store} figure="charts" />}
      {charts.summaries.length > 0 && <p class="vh">{charts.summaries.join(" ")}</p>}
    </>
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
  const [busy, setBusy] = useState(false);
  const press = async () => {
    setBusy(true);
    try {
      await save();
    } catch (error) {
      store.fail("charts", error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Button
      text={busy ? "Reading…" : word}
      small
      kind="quiet"
      icon="download"
      label={`Download ${word}`}
      title={cards.length === 0 ? NOTHING : undefined}
      disabled={busy || cards.length === 0}
      onClick={press}
    />
  );
}
