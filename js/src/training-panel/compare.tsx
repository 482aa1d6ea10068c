/** Several runs side by side: settings that differ, results, and the Pareto view (its figure stands below this part). */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { onEsc } from "../lib/a11y";
import { useAnswer } from "../lib/ask";
import { Breakable } from "../lib/breakable";
import { Button, Checkbox, Segments } from "../lib/controls";
import { saveFile, toCsv } from "../lib/copy";
import * as f from "../lib/format";
import { useHelp } from "../lib/help";
import { SeriesKey } from "../lib/icons";
import { Failed } from "../lib/notes";
import { savePictures } from "../lib/picture";
import type { CompareState, YAxis } from "../lib/protocol";
import type { ComparisonData, ComparisonTableData, SettingRow } from "../lib/protocol-runs";
import type { Store } from "./store";

export function Compare({ store, compare }: { store: Store; compare: CompareState }) {
  const root = useRef<HTMLElement>(null);
  const command = { kind: "comparison", training_ids: compare.training_ids };
  const asked = useAnswer<ComparisonData>(store.rpc, command, compare.training_ids.join("\n"));
  const { data, problem } = asked;
  const save = async () => {
    try {
      const answer = await store.rpc.send({ ...command, kind: "comparison_table" }, { signal: store.stop });
      const { columns, rows } = answer.value as ComparisonTableData;
      saveFile("comparison.csv", toCsv([columns, ...rows]), "text/csv");
    } catch (error) {
      store.fail("panel", error);
    }
  };
  useLayoutEffect(() => {
    root.current?.querySelector<HTMLElement>("button:last-of-type")?.focus();
    root.current?.scrollIntoView?.({ block: "nearest" });
  }, []);
  return (
    <section ref={root} class="cmp" aria-label="Comparison">
      <div class="hd">
        <h2>{`Compare ${f.plural(compare.training_ids.length, "training")}`}</h2>
        <div class="sp" />
        <Button icon="download" label="Download comparison as CSV" disabled={data === null} onClick={() => void save()}>
          CSV
        </Button>
        <Button onClick={() => void store.command("panel", "Back", { kind: "compare", training_ids: [] })}>
          Back to trainings
        </Button>
      </div>
      <div class="bd notes">
        {problem && <Failed problem={problem} title={problem.what} onAgain={asked.again} />}
        {!data && !problem && <p class="sm t2">Asking the kernel…</p>}
        {data && <Table data={data} compare={compare} />}
      </div>
      <Pareto store={store} compare={compare} />
    </section>
  );
}

function Table({ data, compare }: { data: ComparisonData; compare: CompareState }) {
  const [all, setAll] = useState(false);
  const rows = all ? data.rows : data.rows.filter((row) => row.differs);
  return (
    <>
      <div class="row">
        <h3>{all ? "All settings" : "Settings that differ"}</h3>
        <div class="sp" />
        <Checkbox label="Show all settings" checked={all} onChange={setAll}>
          {`Show all ${data.rows.length}`}
        </Checkbox>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard */}
      <div class={`xs-scroll wide${all ? " all" : ""}`} tabIndex={0}>
        <table aria-label="Configuration differences">
          <thead>
            <tr>
              <td />
              {compare.names.map((name, i) => (
                <th key={compare.training_ids[i]} scope="col">
                  <span class="row">
                    {typeof compare.series[i] === "number" && <SeriesKey series={compare.series[i] as number} />}
                    <span class="el" title={name}>
                      {name}
                    </span>
                  </span>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <SettingLine key={row.name} row={row} />
            ))}
            {rows.length === 0 && (
              <tr>
                <td colSpan={compare.names.length + 1} class="t2">
                  Their settings are the same.
                </td>
              </tr>
            )}
          </tbody>
          <tbody>
            <tr>
              <th scope="rowgroup" colSpan={compare.names.length + 1} class="group">
                Results
              </th>
            </tr>
            {compare.results.map((row) => (
              <tr key={row.label}>
                <th scope="row">{row.label}</th>
                {row.values.map((value, i) => (
                  <td key={compare.training_ids[i]}>
                    {row.best[i] ? <b title="the best of the runs it can be compared with">{value}</b> : value}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="xs t3">
        FVU and L0 on held-out text where they were measured there, else on the newest training batches. Throughput is
        tokens over the whole time of a run: loading, evaluations and checkpoints count.
      </p>
    </>
  );
}

function SettingLine({ row }: { row: SettingRow }) {
  const isCode = row.name === "hook_name" || row.name === "hook_name_out";
  return (
    <tr>
      <th scope="row" title={row.name}>
        <Breakable text={row.label} />
      </th>
      {row.values.map((value, i) => (
        <td key={`${i} ${value}`} class={isCode ? "place" : undefined}>
          {isCode ? (
            <code>
              <Breakable text={value} />
            </code>
          ) : (
            value
          )}
        </td>
      ))}
    </tr>
  );
}

const Y_AXES: readonly { value: YAxis; label: string }[] = [
  { value: "fvu", label: "FVU" },
  { value: "ce_loss_score", label: "CE recovered" },
];

const HELP =
  "Every run of the chosen model and hook point: how sparse it is against how much it loses. Runs on the line are beaten by no other: none is as sparse and better. Hollow ones are not compared: they have not ended well, or were measured on training batches only. FVU is the share of variance that is not explained, lower is better; CE recovered is the share of the language model's loss that the reconstruction keeps, higher is better. Numbers of other models or hook points are not comparable.";

function Pareto({ store, compare }: { store: Store; compare: CompareState }) {
  const [shown, setShown] = useState(false);
  const [helpButton, helpText] = useHelp("Pareto view", HELP);
  const change = (command: { y_axis?: YAxis; scope?: string; reset_zoom?: boolean }) =>
    void store.command("panel", "The change", { kind: "pareto", ...command });
  const nothing = compare.points.length === 0 ? "No run has both numbers yet" : undefined;
  const word = Y_AXES.find((axis) => axis.value === compare.y_axis)?.label ?? "";
  return (
    <section class="pareto" aria-label="Pareto view">
      <div class="tb charts-top">
        <h3 class="nw">{`L0 against ${word}`}</h3>
        {helpButton}
        <span class="s24 scope">
          <select
            aria-label="Runs in the Pareto view"
            value={compare.scope}
            title={compare.scopes.find((scope) => scope.value === compare.scope)?.label}
            onChange={(event) => change({ scope: event.currentTarget.value })}
          >
            {compare.scopes.map((scope) => (
              <option key={scope.value} value={scope.value}>
                {`${scope.label} (${f.plural(scope.count, "run")})`}
              </option>
            ))}
          </select>
        </span>
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
          small
          kind="quiet"
          label="Reset zoom of the Pareto view"
          disabled={!compare.zoomed}
          onClick={() => change({ reset_zoom: true })}
        >
          Reset zoom
        </Button>
        <Button
          small
          kind="quiet"
          icon="download"
          label="Download Pareto view as PNG"
          title={nothing}
          disabled={nothing !== undefined}
          onClick={() =>
            void savePictures(store.rpc, "pareto", store.stop).catch((error) => store.fail("panel", error))
          }
        >
          PNG
        </Button>
        <Button
          small
          kind="quiet"
          label="View data of the Pareto view"
          title={nothing}
          disabled={nothing !== undefined}
          expanded={shown && !nothing}
          onClick={() => setShown(!shown)}
          onKeyDown={shown ? onEsc(() => setShown(false)) : undefined}
        >
          View data
        </Button>
      </div>
      {helpText && <div class="data">{helpText}</div>}
      <p class="vh">{compare.summary}</p>
      {shown && !nothing && <Points compare={compare} word={word} onClose={() => setShown(false)} />}
    </section>
  );
}

function Points({ compare, word, onClose }: { compare: CompareState; word: string; onClose: () => void }) {
  const text = compare.y_axis === "fvu" ? f.fvu : f.ce;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Esc in it closes it
    <div class="data" onKeyDown={onEsc(onClose)}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard */}
      <div class="scroll" tabIndex={0}>
        <table class="pad" aria-label={`L0 against ${word}`}>
          <thead>
            <tr>
              <th>Run</th>
              <th>Architecture</th>
              <th class="num">L0</th>
              <th class="num">{word}</th>
              <th>Standing</th>
            </tr>
          </thead>
          <tbody>
            {compare.points.map((point) => (
              <tr key={point.id}>
                <td>{point.name}</td>
                <td>{`${point.kind} ${point.label}`}</td>
                <td class="num">{f.l0(point.l0)}</td>
                <td class="num">{text(point.y)}</td>
                <td>{point.front ? "on the line" : point.preliminary}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}
