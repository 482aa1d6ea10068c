/** Several runs side by side: settings that differ, results, and the Pareto view (its figure stands below this part). */
import { useState } from "preact/hooks";
import { onEsc, useOpened } from "../lib/a11y";
import { Answered, useAnswer } from "../lib/ask";
import { Breakable, Button, Checkbox, Cut, Segments, useHelp } from "../lib/controls";
import { saveFile, toCsv } from "../lib/copy";
import * as f from "../lib/format";
import { SeriesKey } from "../lib/icons";
import { Pick } from "../lib/kit";
import { num, sortHead, Table } from "../lib/table";
import type { CompareState, SettingRow, YAxis } from "../lib/wire";
import { StandIn, savePictures } from "./figures";
import type { Store } from "./store";

export function Compare({ store, compare }: { store: Store; compare: CompareState }) {
  const root = useOpened<HTMLElement>("button:last-of-type");
  const command = { kind: "comparison", training_ids: compare.training_ids } as const;
  const asked = useAnswer(store.rpc, command, compare.training_ids.join("\n"));
  const save = async () => {
    const { training_ids } = compare;
    const answer = await store.command("panel", "The CSV file", { kind: "comparison_table", training_ids });
    if (answer) saveFile("comparison.csv", toCsv([answer.value.columns, ...answer.value.rows]), "text/csv");
  };
  return (
    <section ref={root} class="cmp" aria-label="Comparison">
      <div class="hd">
        <h2>{`Compare ${f.plural(compare.training_ids.length, "training")}`}</h2>
        <div class="sp" />
        <Button
          text="CSV"
          icon="download"
          label="Download comparison as CSV"
          disabled={asked.data === null}
          onClick={save}
        />
        <Button
          text="Back to trainings"
          onClick={() => store.command("panel", "Back", { kind: "compare", training_ids: [] })}
        />
      </div>
      <div class="bd notes">
        <Answered of={asked}>{(settings) => <Settings settings={settings} compare={compare} />}</Answered>
      </div>
      <Pareto store={store} compare={compare} />
    </section>
  );
}

const SIDE_BY_SIDE = 8; // runs; more of them are rows

function Settings({ settings, compare }: { settings: readonly SettingRow[]; compare: CompareState }) {
  const [all, setAll] = useState(false);
  const rows = all ? settings : settings.filter((row) => row.differs);
  return (
    <>
      <div class="row">
        <h3>{all ? "All settings" : "Settings that differ"}</h3>
        <div class="sp" />
        <Checkbox label="Show all settings" text={`Show all ${settings.length}`} checked={all} onChange={setAll} />
      </div>
      {compare.names.length > SIDE_BY_SIDE ? (
        <AsRows compare={compare} settings={rows} />
      ) : (
        <AsColumns compare={compare} settings={rows} all={all} />
      )}
      <p class="xs t3">
        FVU and L0 on held-out text where they were measured there, else on the newest training batches. Throughput is
        tokens over the whole time of a run: loading, evaluations and checkpoints count.
      </p>
    </>
  );
}

interface SidesProps {
  compare: CompareState;
  settings: readonly SettingRow[];
}

function AsColumns({ compare, settings, all }: SidesProps & { all: boolean }) {
  const span = compare.names.length + 1;
  const rowOf = (of: Compared) => ({
    key: idOf(of),
    cells: [
      <th key="name" scope="row" title={of.name}>
        <Breakable text={of.label} />
      </th>,
      ...of.values.map((_, i) => cellOf(of, i)),
    ],
  });
  const same = (
    <td key="same" colSpan={span} class="t2">
      Their settings are the same.
    </td>
  );
  const group = (
    <th key="group" scope="rowgroup" colSpan={span} class="group">
      Results
    </th>
  );
  return (
    <Table
      label="Configuration differences"
      box={`xs-scroll wide${all ? " all" : ""}`}
      focus
      columns={[<td key="corner" />, ...compare.names.map((_, i) => ({ head: runOf(compare, i) }))]}
      rows={[
        settings.length ? settings.map(rowOf) : [{ key: "same", cells: [same] }],
        [{ key: "results", cells: [group] }, ...compare.results.map(rowOf)],
      ]}
    />
  );
}

/** A row for each run, in the order of the column whose heading was pressed. */
function AsRows({ compare, settings }: SidesProps) {
  const [sort, setSort] = useState({ by: "", down: false });
  const names = { label: "Run", values: compare.names };
  const columns: Compared[] = [names, ...compare.results, ...settings];
  const { values } = columns.find((column) => idOf(column) === sort.by) ?? { values: [] };
  const order = compare.names.map((_, i) => i).sort((a, b) => inOrder(values[a] ?? "", values[b] ?? "", sort.down));
  const headOf = (column: Compared) => {
    const id = idOf(column);
    const down = id === sort.by ? sort.down : undefined;
    const { label: head, best, name: title } = column;
    return sortHead({ head, class: best && "num", title }, down, (down) => setSort({ by: id, down }));
  };
  return (
    <Table
      label="Configuration differences"
      class="runs"
      box="xs-scroll wide all"
      focus
      columns={columns.map(headOf)}
      rows={order.map((i) => ({
        key: compare.training_ids[i] ?? i,
        cells: [
          <th key="run" scope="row">
            {runOf(compare, i)}
          </th>,
          ...columns.slice(1).map((column) => cellOf(column, i)),
        ],
      }))}
    />
  );
}

type Compared = { label: string; name?: string; values: string[]; best?: boolean[] };

const idOf = ({ name, label }: Compared): string => name ?? label;

const numberIn = (text: string): number => Number.parseFloat(text.replace(/,/g, "").replace("−", "-"));

/** Numbers by size, then words; what is missing comes last either way. */
function inOrder(a: string, b: string, down: boolean): number {
  const [x, y] = [numberIn(a), numberIn(b)];
  const words = Number(Number.isNaN(x)) - Number(Number.isNaN(y));
  return words || (down ? -1 : 1) * (x - y || a.localeCompare(b, "en", { numeric: true }));
}

function runOf({ names, series: all }: CompareState, at: number) {
  const [name, series] = [names[at], all[at]];
  return (
    <span class="row">
      {typeof series === "number" && <SeriesKey series={series} />}
      <Cut text={name ?? ""} />
    </span>
  );
}

function cellOf(of: Compared, at: number) {
  const value = of.values[at] ?? "";
  const key = `${idOf(of)} ${at}`;
  if (of.best?.[at]) {
    return (
      <td key={key} class="num">
        <b title="the best of the runs it can be compared with">{value}</b>
      </td>
    );
  }
  if (of.name?.startsWith("hook_name")) {
    return (
      <td key={key}>
        <code>
          <Breakable text={value} />
        </code>
      </td>
    );
  }
  return (
    <td key={key} class={of.best && "num"}>
      {value}
    </td>
  );
}

const Y_AXES: Record<YAxis, string> = { fvu: "FVU", ce_loss_score: "CE recovered" };

const HELP =
  "Every run of the chosen model and hook point: how sparse it is against how much it loses. Runs on the line are beaten by no other: none is as sparse and better. Hollow ones are not compared: they have not ended well, or were measured on training batches only. FVU is the share of variance that is not explained, lower is better; CE recovered is the share of the language model's loss that the reconstruction keeps, higher is better. Numbers of other models or hook points are not comparable.";

function Pareto({ store, compare }: { store: Store; compare: CompareState }) {
  const [shown, setShown] = useState(false);
  const [helpButton, helpText] = useHelp("Pareto view", HELP);
  const change = (command: { y_axis?: YAxis; scope?: string; reset_zoom?: boolean }) =>
    void store.command("panel", "The change", { kind: "pareto", ...command });
  const nothing = compare.points.length === 0 ? "No run has both numbers yet" : undefined;
  const word = Y_AXES[compare.y_axis];
  return (
    <section class="pareto" aria-label="Pareto view">
      <div class="tb line">
        <h3 class="nw">{`L0 against ${word}`}</h3>
        {helpButton}
        <Pick
          label="Runs in the Pareto view"
          class="scope"
          value={compare.scope}
          title={compare.scopes.find((scope) => scope.value === compare.scope)?.label}
          options={compare.scopes.map(({ value, label, count }) => ({
            ...{ value, label: `${label} (${f.plural(count, "run")})` },
          }))}
          onPick={(scope) => change({ scope })}
        />
        <div class="sp" />
        <span class="sm t2 hw nw" aria-hidden="true">
          Y axis
        </span>
        <Segments
          label="Pareto y axis"
          options={Y_AXES}
          selected={compare.y_axis}
          onSelect={(y_axis) => change({ y_axis })}
        />
      </div>
      <div class="tb plain">
        <span class="xs t2">
          {compare.left_out > 0
            ? `${f.plural(compare.points.length, "run")}; ${f.count(compare.left_out)} without both numbers left out`
            : f.plural(compare.points.length, "run")}
        </span>
        <div class="sp" />
        <Button
          text="Reset zoom"
          small
          kind="quiet"
          label="Reset zoom of the Pareto view"
          disabled={!compare.zoomed}
          onClick={() => change({ reset_zoom: true })}
        />
        {(["PNG", "SVG"] as const).map((format) => (
          <Button
            key={format}
            text={format}
            small
            kind="quiet"
            icon="download"
            label={`Download Pareto view as ${format}`}
            title={nothing}
            disabled={nothing !== undefined}
            onClick={() =>
              void savePictures(store.rpc, "pareto", store.stop, format).catch((error) => store.fail("panel", error))
            }
          />
        ))}
        <Button
          text="View data"
          small
          kind="quiet"
          label="View data of the Pareto view"
          title={nothing}
          disabled={nothing !== undefined}
          expanded={shown && !nothing}
          onClick={() => setShown(!shown)}
          onKeyDown={shown ? onEsc(() => setShown(false)) : undefined}
        />
      </div>
      {helpText && <div class="data">{helpText}</div>}
      <p class="vh">{compare.summary}</p>
      {!nothing && <StandIn store={store} figure="pareto" />}
      {shown && !nothing && <Points compare={compare} word={word} onClose={() => setShown(false)} />}
    </section>
  );
}

function Points({ compare, word, onClose }: { compare: CompareState; word: string; onClose: () => void }) {
  const text = compare.y_axis === "fvu" ? f.fvu : f.ce;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Esc in it closes it
    <div class="data" onKeyDown={onEsc(onClose)}>
      <Table
        label={`L0 against ${word}`}
        box="scroll tall box"
        class="pad"
        focus
        columns={["Run", "Architecture", num("L0"), num(word), "Standing"]}
        rows={compare.points.map((point) => ({
          key: point.id,
          cells: [
            ...[
              point.name,
              `${point.kind} ${point.label.replace(`, ${point.kind}`, "")}`,
              f.l0(point.l0),
              text(point.y),
            ],
            point.front ? "on the line" : point.preliminary,
          ],
        }))}
      />
    </div>
  );
}
