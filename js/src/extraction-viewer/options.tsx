/** Step 2 of *Start extraction*: what to read and what to keep. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { useOpened } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { Icon } from "../lib/icons";
import { FieldBox } from "../lib/kit";
import { Failed, placed } from "../lib/notes";
import { line } from "../lib/tokens";
import type { ExtractionField } from "../lib/wire";
import type { Starting } from "./start";

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
      <form
        ref={box}
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void starting.start();
        }}
      >
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
  const input = useRef<HTMLInputElement>(null);
  const value = starting.values.value[field.name] ?? field.value;
  const focus = starting.focus.value;
  useLayoutEffect(() => {
    if (focus?.name !== field.name) return;
    input.current?.focus();
    input.current?.scrollIntoView?.({ block: "nearest" });
  }, [focus, field.name]);
  const tick = typeof value === "boolean";
  return (
    <FieldBox
      label={field.label}
      class={tick ? "c3s" : field.name === "corpus" ? "c2s wide" : "c2s"}
      tick={tick}
      error={starting.errors.value[field.name]}
      hint={field.hint}
      help={field.help}
    >
      {(control) =>
        tick ? (
          <label class="ck">
            <input
              {...control}
              ref={input}
              type="checkbox"
              checked={value}
              onChange={(event) => starting.set(field.name, event.currentTarget.checked)}
            />
            {field.label}
          </label>
        ) : (
          <input
            {...control}
            ref={input}
            autocomplete="off"
            spellcheck={false}
            value={value}
            onInput={(event) => starting.set(field.name, event.currentTarget.value)}
          />
        )
      }
    </FieldBox>
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
          <NoteBox tone="warn" title={placed(data.problem)}>
            {data.problem.hint}
          </NoteBox>
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
