/** Step 1 of *Start extraction*: which SAE. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { rove, useUid } from "../lib/a11y";
import { Button } from "../lib/controls";
import { CodeLine } from "../lib/copy-button";
import * as f from "../lib/format";
import { Empty, NothingMatches, Pick, Search } from "../lib/kit";
import { Failed } from "../lib/notes";
import { line } from "../lib/tokens";
import type { Choice, SaeChoice } from "../lib/wire";
import type { Starting } from "./start";

interface Ways {
  onDemo: () => void;
  /** *Download from Hugging Face* stands below. */
  downloading: boolean;
  onDownload: (shown: boolean) => void;
  /** What code calls the workspace; "" for the default one. */
  code: string;
}

export function Choose({ starting, ways }: { starting: Starting; ways: Ways }) {
  const box = useRef<HTMLDivElement>(null);
  const choices = starting.choices.value;
  const problem = starting.problem.value;
  const busy = starting.busy.value;
  const focused = useRef(false);
  // Once the table is there, to the chosen row.
  useLayoutEffect(() => {
    if (focused.current) return;
    const target = box.current?.querySelector<HTMLElement>("input[type=radio]:checked");
    if (target) focused.current = true;
    (target ?? box.current?.querySelector<HTMLElement>("select"))?.focus();
  }, [choices]);
  return (
    <div ref={box} role="dialog" aria-label="Choose an SAE" aria-busy={busy}>
      <div class="hd">
        <h2>Choose an SAE</h2>
        <span class="sm t2">step 1 of 2</span>
        <div class="sp" />
        <Button kind="quiet" icon="close" label="Close" onClick={() => starting.close()} />
      </div>
      <div class="tb">
        <Filter
          label="Source"
          all="All sources"
          value={starting.source.value}
          choices={choices?.sources ?? []}
          onChange={(source) => starting.filter({ source })}
        />
        <Filter
          label="Model"
          all="All models"
          value={starting.model.value}
          choices={choices?.models ?? []}
          onChange={(model) => starting.filter({ model })}
        />
        <div class="sp" />
        <Search
          label="Search SAEs"
          placeholder="Search name, model"
          value={starting.search.value}
          onInput={(text) => starting.find(text)}
        />
      </div>
      {problem && (
        <div class="bd">
          <Failed problem={problem} />
        </div>
      )}
      {choices && choices.rows.length > 0 && <Table starting={starting} rows={choices.rows} />}
      {choices && choices.rows.length === 0 && <None starting={starting} total={choices.total} ways={ways} />}
      {!choices && !problem && <p class="bd sm t2">Asking the kernel…</p>}
      <div class="ft2">
        <span class="sm t2" role="status">
          {choices ? countWords(choices.rows.length, choices.total, choices.note) : ""}
        </span>
        <div class="sp" />
        <Button onClick={() => starting.close()}>Cancel</Button>
        <Button
          text="Continue"
          kind="primary"
          disabled={busy || starting.chosen.value === null}
          onClick={() => void starting.proceed()}
        />
      </div>
    </div>
  );
}

const countWords = (shown: number, total: number, note: string): string =>
  [`${f.count(shown)} of ${f.plural(total, "SAE")}`, line(note)].filter(Boolean).join("; ");

interface FilterProps {
  label: string;
  all: string;
  value: string | null;
  choices: readonly Choice[];
  onChange: (value: string | null) => void;
}

function Filter({ label, all, value, choices, onChange }: FilterProps) {
  const options = choices.map(({ value, label, count }) => ({
    ...{ value, label: count === null ? line(label) : `${line(label)} (${f.count(count)})` },
  }));
  return (
    <Pick
      label={label}
      class="pick"
      width={124}
      chosen={value !== null}
      value={value ?? ""}
      options={[{ value: "", label: all }, ...options]}
      onPick={(chosen) => onChange(chosen || null)}
    />
  );
}

function None({ starting, total, ways }: { starting: Starting; total: number; ways: Ways }) {
  const [adding, setAdding] = useState(false);
  const filtered = starting.source.value !== null || starting.model.value !== null || starting.search.value !== "";
  const clear = () => {
    starting.search.value = "";
    starting.filter({ source: null, model: null });
  };
  if (filtered && total > 0) {
    return (
      <NothingMatches noun="SAE" onClear={clear}>
        None has these words, this source and this model.
      </NothingMatches>
    );
  }
  const actions = (
    <>
      <Button text="Try the demo SAE" kind="primary" onClick={ways.onDemo} />
      <Button
        text="Download from Hugging Face"
        expanded={ways.downloading}
        onClick={() => ways.onDownload(!ways.downloading)}
      />
      <Button text="Add local files" expanded={adding} onClick={() => setAdding(!adding)} />
    </>
  );
  return (
    <>
      <Empty title="No SAEs yet" actions={actions}>
        Try the one of the package, download one, add files from this machine, or import one from a training.
      </Empty>
      {adding && (
        <div class="bd">
          <CodeLine words="Run this in a cell, and press Add local files:" code={`sw.SAEBrowser(${ways.code})`} />
        </div>
      )}
    </>
  );
}

function Table({ starting, rows }: { starting: Starting; rows: readonly SaeChoice[] }) {
  const name = useUid("sw-sae");
  const free = rows.filter((row) => row.state === "ok");
  return (
    <div class="scroll sae-choices">
      <table
        class="pad"
        aria-label="SAEs"
        onKeyDown={(event) => {
          const next = rove(event, "input[type=radio]:not(:disabled)");
          const row = next === null ? undefined : free[next];
          if (row) starting.chosen.value = row.id;
        }}
      >
        <thead>
          <tr>
            <th class="radio">
              <span class="vh">Choose</span>
            </th>
            <th>Name</th>
            <th>Source</th>
            <th>Model</th>
            <th class="num">Layer</th>
            <th class="num">d_sae</th>
            <th class="num">Features extracted</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const chosen = starting.chosen.value === row.id;
            const ok = row.state === "ok";
            const choose = () => {
              if (ok) starting.chosen.value = row.id;
            };
            return (
              <tr key={row.id} class={chosen ? "sel" : undefined} onClick={choose}>
                <td>
                  <input
                    type="radio"
                    name={name}
                    aria-label={line(row.name)}
                    checked={chosen}
                    disabled={!ok}
                    onChange={choose}
                    onKeyDown={(event) => {
                      if (event.key !== "Enter") return;
                      event.preventDefault();
                      void starting.proceed();
                    }}
                  />
                </td>
                <td class="nw el name" title={line(row.name)}>
                  <b>{line(row.name)}</b>
                </td>
                <td class="nw">{row.source_label}</td>
                <td class="nw el model" title={row.model === null ? undefined : line(row.model)}>
                  {row.model === null ? f.DASH : line(row.model)}
                </td>
                <td class="num">{row.layer ?? f.DASH}</td>
                <td class="num">{f.count(row.d_sae)}</td>
                <td class="num">
                  {ok ? row.features_extracted : row.state === "missing" ? "no files" : "is being downloaded"}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
