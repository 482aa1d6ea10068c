/** *Start extraction*: which SAE, then what to read and what to keep. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { onEnter, onSubmit, rove, useOpened, useUid } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import { CodeLine } from "../lib/copy";
import * as f from "../lib/format";
import { SettingField } from "../lib/forms";
import { Icon } from "../lib/icons";
import { NotInLibrary } from "../lib/imports";
import { Empty, FilterPick, NothingMatches, Search } from "../lib/kit";
import { Failed } from "../lib/notes";
import { num, Table, unseen } from "../lib/table";
import { line } from "../lib/tokens";
import type { ExtractionField, SaeChoice } from "../lib/wire";
import type { Starting } from "./start";

interface Ways {
  onDemo: () => void;
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
        <FilterPick
          {...{ label: "Source", all: "All sources", class: "pick", width: 124 }}
          value={starting.source.value}
          choices={choices?.sources ?? []}
          onPick={(source) => starting.filter({ source })}
        />
        <FilterPick
          {...{ label: "Model", all: "All models", class: "pick", width: 124 }}
          value={starting.model.value}
          choices={choices?.models ?? []}
          onPick={(model) => starting.filter({ model })}
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
      <NotInLibrary of={choices?.not_imported} by={starting} />
      {choices && choices.rows.length > 0 && <Choices starting={starting} rows={choices.rows} />}
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
          onClick={() => starting.proceed()}
        />
      </div>
    </div>
  );
}

const countWords = (shown: number, total: number, note: string): string =>
  [`${f.count(shown)} of ${f.plural(total, "SAE")}`, line(note)].filter(Boolean).join("; ");

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

function Choices({ starting, rows }: { starting: Starting; rows: readonly SaeChoice[] }) {
  const name = useUid("sw-sae");
  const free = rows.filter((row) => row.state === "ok");
  const rowOf = (row: SaeChoice) => {
    const chosen = starting.chosen.value === row.id;
    const ok = row.state === "ok";
    const choose = () => {
      if (ok) starting.chosen.value = row.id;
    };
    const named = line(row.name);
    const model = row.model === null ? undefined : line(row.model);
    return {
      key: row.id,
      class: chosen ? "sel" : undefined,
      onClick: choose,
      cells: [
        <input
          key="radio"
          type="radio"
          name={name}
          aria-label={named}
          checked={chosen}
          disabled={!ok}
          onChange={choose}
          onKeyDown={onEnter(() => starting.proceed())}
        />,
        <td key="name" class="nw el name" title={named}>
          <b>{named}</b>
        </td>,
        row.source_label,
        <td key="model" class="nw el model" title={model}>
          {model ?? f.DASH}
        </td>,
        ...[row.layer ?? f.DASH, f.count(row.d_sae)],
        ok ? row.features_extracted : row.state === "missing" ? "no files" : "is being downloaded",
      ],
    };
  };
  return (
    <Table
      label="SAEs"
      box="scroll sae-choices"
      class="pad"
      columns={[
        unseen("Choose", "radio"),
        ...["Name", { head: "Source", class: "nw" }, "Model"],
        ...[num("Layer"), num("d_sae"), num("Features extracted")],
      ]}
      rows={rows.map(rowOf)}
      onKeyDown={(event) => {
        const next = rove(event, "input[type=radio]:not(:disabled)");
        const row = next === null ? undefined : free[next];
        if (row) starting.chosen.value = row.id;
      }}
    />
  );
}

const TEXT = ["corpus", "tokens", "context_size"];
const KEEP = ["examples", "per_interval", "min_activation", "exclude_special_tokens", "max_norm_ratio"];

export function Options({ starting }: { starting: Starting }) {
  const box = useOpened("input");
  const form = starting.form.value;
  if (form === null) return null;
  const of = (names: readonly string[]) =>
    names.flatMap((name) => form.fields.find((field) => field.name === name) ?? []);
  const others = form.fields.filter((field) => ![...TEXT, ...KEEP].includes(field.name));
  const problem = starting.problem.value;
  const bad = form.fields.filter((field) => field.name in starting.errors.value);
  return (
    <div role="dialog" aria-label="Start extraction">
      <div class="hd">
        <h2>Start extraction</h2>
        <span class="sm t2 el">{`${line(form.name)}, ${f.plural(form.d_sae, "feature")}`}</span>
        <div class="sp" />
        <Button kind="quiet" icon="close" label="Close" onClick={() => starting.close()} />
      </div>
      <form ref={box} noValidate onSubmit={onSubmit(() => starting.start())}>
        <Section starting={starting} title="Text" fields={of(TEXT)} />
        <Section starting={starting} title="Keep" fields={of(KEEP)} />
        {others.length > 0 && (
          <details open={others.some((field) => field.name in starting.errors.value)} class="more-fields">
            <summary>
              <Icon name="right" />
              More options
            </summary>
            <Section starting={starting} title="More" fields={others} />
          </details>
        )}
        <Estimate starting={starting} />
        {problem && (
          <div class="bd">
            <Failed problem={problem} />
          </div>
        )}
        <div class="ft2">
          {bad.length > 0 && (
            <div class="attention sm">
              <Icon name="warn" />
              <span>
                {`${f.plural(bad.length, "field")} ${bad.length === 1 ? "needs" : "need"} attention: `}
                <Button text={bad[0]?.label} kind="link" onClick={() => starting.focusFirstError()} />
              </span>
            </div>
          )}
          <div class="sp" />
          <Button onClick={() => starting.back()}>Back</Button>
          <Button onClick={() => starting.close()}>Cancel</Button>
          <Button
            text={starting.submitting.value ? "Starting…" : "Start extraction"}
            kind="primary"
            icon="play"
            submit
            disabled={starting.submitting.value}
          />
        </div>
      </form>
    </div>
  );
}

interface SectionProps {
  starting: Starting;
  title: string;
  fields: readonly ExtractionField[];
}

function Section({ starting, title, fields }: SectionProps) {
  if (fields.length === 0) return null;
  return (
    <fieldset>
      <legend>{title}</legend>
      <div class="g">
        {fields.map((field) => (
          <Field key={field.name} starting={starting} field={field} />
        ))}
      </div>
    </fieldset>
  );
}

function Field({ starting, field }: { starting: Starting; field: ExtractionField }) {
  const { name, label, hint, help } = field;
  const value = starting.values.value[name] ?? field.value;
  return (
    <SettingField
      {...{ name, label, hint, help, value }}
      class={typeof value === "boolean" ? "c3s" : name === "corpus" ? "c2s wide" : "c2s"}
      error={starting.errors.value[name]}
      focus={starting.focus.value}
      onSet={(to) => starting.set(name, to)}
    />
  );
}

function Estimate({ starting }: { starting: Starting }) {
  const { data, busy } = starting.checks.value;
  const bad = Object.keys(starting.errors.value).length > 0;
  const n = starting.form.value?.d_sae ?? 0;
  const check = data?.estimate;
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of results, not of form fields
    <div class="est" role="group" aria-label="Estimate" aria-busy={busy}>
      {data?.problem ? (
        <div class="warnings notes">
          <Failed tone="warn" problem={data.problem} />
        </div>
      ) : check && !bad ? (
        <>
          <div class="sm">
            <b>Time</b> {check.seconds === null ? "not measured here yet" : `≈ ${f.duration(check.seconds)}`}
            {check.device && ` on ${check.device}`}
            <p class="t2">{`one pass over the text for all ${f.plural(n, "feature")}`}</p>
          </div>
          <Bytes name="Disk" needed={check.disk_bytes} free={check.disk_free} />
          <Bytes name="Memory" needed={check.memory_bytes} free={check.memory_free} />
          {check.warnings.length > 0 && (
            <div class="warnings notes">
              {check.warnings.map((warning) => (
                <NoteBox key={warning} tone="warn" title={warning} />
              ))}
            </div>
          )}
        </>
      ) : (
        <p class="sm t2" role="status">
          {bad ? "No estimate while a field needs attention." : "Checking…"}
        </p>
      )}
    </div>
  );
}

function Bytes({ name, needed, free }: { name: string; needed: number | null; free: number | null }) {
  return (
    <div class="sm">
      <b>{name}</b> {needed === null ? f.DASH : f.wholeBytes(needed)}
      {free !== null && <p class="t2">{`${f.wholeBytes(free)} free`}</p>}
    </div>
  );
}
