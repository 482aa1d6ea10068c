/** New training: opens in place, above the list. */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { onSubmit, sendsForm } from "../lib/a11y";
import { useAnswer } from "../lib/ask";
import { Button, Checkbox, type Choices, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { SettingField } from "../lib/forms";
import { Icon } from "../lib/icons";
import { into, Pick, put, Search } from "../lib/kit";
import { Failed, Warning } from "../lib/notes";
import {
  type CheckResult,
  type EstimateData,
  type FormField,
  type OtherDeviceData,
  PLAIN_FIELD,
  type Section,
} from "../lib/wire";
import { SaveTemplate } from "./card-forms";
import { FormController } from "./form-controller";
import * as form from "./form-state";
import { hookList } from "./form-state";
import { keptWords } from "./groups";
import type { FormRequest, Store } from "./store";
import { Stores } from "./stores";

/** What a template of several trainings leaves out. */
const leftOut = (controller: FormController): string =>
  keptWords(String(controller.config()[form.HOOK]), hookList(String(controller.values.value[form.HOOK])));

const GROUPS: [Section, string][] = [
  ["model", "Model & data"],
  ["where", "Where to look"],
  ["sae", "Autoencoder"],
  ["training", "Training"],
];

export function Form({ store, request }: { store: Store; request: FormRequest }) {
  const controller = useMemo(() => new FormController(store, request), [store, request]);
  const root = useRef<HTMLFormElement>(null);
  const ready = controller.data.value !== null;
  const [saving, setSaving] = useState(false);
  const [saved, setSaved] = useState<string | null>(null);

  useEffect(() => {
    void controller.open();
    return () => controller.close();
  }, [controller]);
  useLayoutEffect(() => {
    root.current?.querySelector<HTMLElement>(ready ? "input" : "button")?.focus();
    root.current?.scrollIntoView?.({ block: "nearest" });
  }, [ready]);

  // Esc and the cross keep what was typed for the next time; Cancel drops it.
  const leave = (keep: boolean) => {
    if (!keep) controller.dropDraft();
    store.form.value = null;
  };

  return (
    <form
      ref={root}
      aria-label="New training"
      noValidate
      onSubmit={onSubmit(() => controller.start())}
      onKeyDown={(event) => {
        if (event.key === "Escape" && !event.defaultPrevented) {
          event.preventDefault();
          leave(true);
        } else if (sendsForm(event)) {
          event.preventDefault();
          void controller.start();
        }
      }}
    >
      <div class="hd">
        <h2>New training</h2>
        <span class="sm t2 sub">{startsFrom(request)}</span>
        <div class="sp" />
        <LoadTemplate store={store} request={request} />
        <Button kind="quiet" icon="close" label="Close form" onClick={() => leave(true)} />
      </div>
      {request.preset && (
        <details class="more-fields under">
          <summary>
            <Icon name="right" />
            {request.preset.description}
          </summary>
          <p class="bd xs t2">{[...request.preset.sources, request.preset.ours].join("; ")}</p>
        </details>
      )}
      {ready && <Groups store={store} controller={controller} />}
      {!ready && !controller.problem.value && (
        <p class="bd sm t2" role="status">
          {controller.late.value
            ? "Kernel busy. The form opens when the running cell ends."
            : "Asking the kernel for the form…"}
        </p>
      )}
      {ready && (
        <Estimate
          estimate={controller.check.value?.estimate ?? null}
          checking={controller.checking.value}
          bad={Object.keys(controller.errors.value).length > 0}
          count={controller.count.value}
        />
      )}
      {ready && <Several controller={controller} />}
      <FormNotes controller={controller} />
      {saving && (
        <div class="panel-note">
          {controller.count.value > 1 && <p class="sm t2">{leftOut(controller)}</p>}
          <SaveTemplate
            nested
            store={store}
            name={request.template?.name ?? controller.nameNow()}
            of={{ config: () => controller.config() }}
            onSaved={(name) => setSaved(name)}
            onClose={() => setSaving(false)}
          />
        </div>
      )}
      {saved && (
        <div class="panel-note">
          <NoteBox tone="info" title={`Saved as template “${saved}”.`} />
        </div>
      )}
      <FormFooter
        controller={controller}
        onCancel={() => leave(false)}
        saving={saving}
        onSave={() => {
          setSaved(null);
          if (controller.focusBad()) return;
          setSaving(!saving);
        }}
      />
    </form>
  );
}

function startsFrom(request: FormRequest): string {
  if (request.template) return `from the template ${request.template.name}`;
  if (request.preset) return `from the preset ${request.preset.name}`;
  if (!request.from) return "";
  return request.changes && Object.keys(request.changes).length > 0
    ? `with the settings of ${request.from.name}, changed as advised`
    : `with the settings of ${request.from.name}`;
}

/** Templates and presets as a list to choose from; the form starts again from the chosen one. */
function LoadTemplate({ store, request }: { store: Store; request: FormRequest }) {
  const changed = store.state.value.templates_revision;
  const { data } = useAnswer(store.rpc, { kind: "list_templates", search: "" }, `${changed}`);
  const { templates: rows = [], presets = [] } = data ?? {};
  return (
    <Pick
      label="Load template"
      class="load"
      width={172}
      value={request.template?.id ?? request.preset?.name ?? ""}
      disabled={data === null}
      options={[
        { value: "", label: "Load template…" },
        ...rows.map(({ id, name, favorite }) => ({ value: id, label: favorite ? `★ ${name}` : name })),
      ]}
      onPick={(id) => {
        const row = rows.find((one) => one.id === id);
        const preset = presets.find((one) => one.name === id);
        if (row) store.form.value = { template: { id: row.id, name: row.name } };
        else if (preset) store.form.value = { preset };
      }}
    >
      <optgroup label="Presets">
        {presets.map(({ name }) => (
          <option key={name}>{name}</option>
        ))}
      </optgroup>
    </Pick>
  );
}

function Groups({ store, controller }: { store: Store; controller: FormController }) {
  const fields = controller.fields.value;
  const head = form.hasHeads(controller.values.value) ? [HEAD_FIELD] : [];
  const draw = (list: FormField[]) =>
    list.flatMap((field) => {
      const own = field.name === form.HOOK ? [LAYER_FIELD, SITE_FIELD, ...head, field] : [field];
      return own.map((one) => <Field key={one.name} controller={controller} field={one} />);
    });
  const [values, errors] = [controller.values.value, controller.errors.value];
  const [search, setSearch] = useState("");
  const [only, setOnly] = useState<readonly string[] | null>(null); // a field does not go while it is typed in
  const advanced = form
    .inSection(fields, "advanced")
    .filter((field) => form.applies(field, values) || field.name in errors);
  const changed = form.changedOf(advanced, values);
  const isFound = (field: FormField) => form.found(field, search) && (only?.includes(field.name) ?? true);
  const shown = advanced.filter((field) => isFound(field) || field.name in errors);
  return (
    <>
      {GROUPS.map(([section, title]) => (
        <fieldset key={section}>
          <legend>{title}</legend>
          <div class={`g g-${section}`}>
            {draw(form.inSection(fields, section))}
            {section === "model" && <Stores store={store} controller={controller} />}
            {section === "training" && advanced.length > 0 && (
              <div class="c6s">
                <details>
                  <summary>
                    <Icon name="right" />
                    {`Advanced: ${advanced.length} settings${changed.length ? `, ${changed.length} changed` : ""}`}
                  </summary>
                  <div class="row w">
                    <Search
                      label="Search settings"
                      placeholder="Label, name, help"
                      value={search}
                      onInput={setSearch}
                      onEnter={() => {}} // which would start the training
                    />
                    <Checkbox
                      text="Changed only"
                      checked={only !== null}
                      onChange={(on) => setOnly(on ? changed : null)}
                    />
                    <span class="sm t2" role="status">
                      {shown.length < advanced.length && `${shown.length || "None"} of ${advanced.length}`}
                    </span>
                  </div>
                  {form.byGroup(shown).map(([title, list]) => (
                    <section key={title} aria-label={title || undefined}>
                      {title && <h3 class="sm t2">{title}</h3>}
                      <div class="g">{draw(list)}</div>
                    </section>
                  ))}
                </details>
              </div>
            )}
          </div>
        </fieldset>
      ))}
    </>
  );
}

const NAMED = 8;

function Several({ controller }: { controller: FormController }) {
  const count = controller.count.value;
  const names = controller.check.value?.trainings ?? [];
  if (count < 2 || form.LAYER in controller.errors.value) return null;
  const more = names.length - NAMED;
  const offered = controller.data.value ? form.spreadWords(controller.data.value) : "";
  const spread = offered !== "" && controller.spread.value;
  return (
    <div class="bd several">
      <NoteBox tone="info" title={`Start begins ${count} trainings in ${spread ? "several jobs" : "one job"}.`}>
        {names.length > 0 && `${names.slice(0, NAMED).join(", ")}${more > 0 ? ` and ${more} more` : ""}. `}
        {form.isStore(controller.values.value.corpus)
          ? "One reading of the store feeds"
          : "The language model runs once for"}{" "}
        {spread ? "those of a job" : "all of them"}, and each leaves an SAE of its own.
      </NoteBox>
      {offered && <Checkbox text={offered} checked={spread} onChange={into(controller.spread)} />}
    </div>
  );
}

function FormNotes({ controller }: { controller: FormController }) {
  const loose = form.looseErrors(controller.fields.value, controller.errors.value);
  const problem = controller.problem.value;
  const late = controller.data.value ? controller.late.value : null;
  if (!problem && !late && loose.length === 0) return null;
  return (
    <div class="bd notes">
      {loose.map((text) => (
        <NoteBox key={text} tone="err" title={text} />
      ))}
      {problem && (
        <Failed
          problem={problem}
          title={problem.what}
          onAgain={controller.data.value === null ? () => controller.open() : undefined}
        />
      )}
      {late && (
        <NoteBox title="Kernel busy.">{`${late} is queued and takes effect when the running cell ends.`}</NoteBox>
      )}
    </div>
  );
}

interface FooterProps {
  controller: FormController;
  onCancel: () => void;
  saving: boolean;
  onSave: () => void;
}

function FormFooter({ controller, onCancel, saving, onSave }: FooterProps) {
  const fields = controller.fields.value;
  const errors = controller.errors.value;
  const bad = form.fieldOrder(fields).filter((name) => name in errors);
  const starting = controller.starting.value;
  const count = controller.count.value;
  return (
    <div class="ft2">
      {bad.length > 0 && (
        <div class="attention">
          <span class="st bad">
            <Icon name="warn" />
          </span>
          <span class="sm">
            {bad.length === 1 ? "1 field needs attention: " : `${bad.length} fields need attention: `}
            {bad.map((name, i) => (
              <span key={name}>
                {i > 0 && ", "}
                <Button text={form.labelOf(fields, name)} kind="link" onClick={put(controller.focus, { name })} />
              </span>
            ))}
          </span>
        </div>
      )}
      <div class="sp" />
      <Button text="Save as template" disabled={controller.data.value === null} expanded={saving} onClick={onSave} />
      <Button onClick={onCancel}>Cancel</Button>
      <Button
        text={starting ? "Starting…" : count > 1 ? `Start ${count} trainings` : "Start training"}
        kind="primary"
        icon="play"
        disabled={starting || controller.data.value === null}
        onClick={() => controller.start()}
      />
    </div>
  );
}

/** Columns of six a field takes, and whether it takes a whole row when narrow. */
const SPANS: Record<string, string> = {
  model: "c2s wide",
  corpus: "c2s wide",
  context_size: "c1s",
  precision: "c1s",
  [form.HEAD]: "c1s",
  [form.HOOK]: "c2s wide",
  [form.HOOK_OUT]: "c2s wide",
  "sae.k": "c2s wide",
  name: "c2s wide",
};

interface FieldProps {
  controller: FormController;
  field: FormField;
}

export function Field({ controller, field }: FieldProps) {
  const { name, label, help } = field;
  const check = controller.check.value;
  const looksUp = controller.lookingUp.value.includes(name);
  return (
    <SettingField
      name={name}
      label={label}
      class={spanOf(field, controller)}
      value={controller.values.value[name] ?? ""}
      options={form.isChoice(field) ? optionsOf(controller, field) : undefined}
      mono={[form.HOOK, form.HOOK_OUT].includes(name)}
      inputMode={field.type === "text" ? undefined : "decimal"}
      placeholder={name === "name" ? (check?.name ?? "") : field.empty}
      error={controller.errors.value[name]}
      hint={looksUp ? `Looking up the ${label.toLowerCase()}…` : hintOf(check, name)}
      help={
        help && (
          <>
            <p>{help}</p>
            <Suggestions controller={controller} field={field} />
          </>
        )
      }
      focus={controller.focus.value}
      onSet={(value) => controller.set(name, value)}
      onBlur={() => controller.leave(field)}
    />
  );
}

function hintOf(check: CheckResult | null, name: string): ComponentChildren {
  const text = check?.hints[name];
  if (!check?.warned.includes(name)) return text;
  return (
    <span class="warns">
      <Icon name="warn" />
      {text}
    </span>
  );
}

/** Layer gives half of its place to Head, where there is one. */
function spanOf(field: FormField, controller: FormController): string {
  if (field.name === form.LAYER && form.hasHeads(controller.values.value)) return "c1s";
  return SPANS[field.name] ?? "c2s";
}

function optionsOf(controller: FormController, field: FormField): Choices<string> {
  const data = controller.data.value;
  if (field.name === form.SITE) return form.SITES;
  const options = data ? form.optionsOf(field, data) : [];
  return field.optional ? [{ value: "", label: field.empty }, ...options] : options;
}

/** Values used before, as buttons: a native list of suggestions would turn the text box into a combobox. */
function Suggestions({ controller, field }: FieldProps) {
  const known = controller.data.value?.suggestions[field.name] ?? [];
  if (known.length === 0) return null;
  return (
    <p>
      {"Used before: "}
      {known.slice(0, 6).map((value, i) => (
        <span key={value}>
          {i > 0 && ", "}
          <Button kind="link" onClick={() => controller.set(field.name, value)}>
            {controller.data.value?.stores[value] ?? value}
          </Button>
        </span>
      ))}
    </p>
  );
}

export const LAYER_FIELD: FormField = {
  ...PLAIN_FIELD,
  name: form.LAYER,
  label: "Layer",
  help:
    "Which transformer block, counted from 0. Together with Site it makes the hook name. Several, as in 4, 6, 8 or 0-3, " +
    "start one training each in one job: the model runs once for all of them.",
};
export const SITE_FIELD: FormField = {
  ...PLAIN_FIELD,
  name: form.SITE,
  label: "Site",
  help: "What is read in that block: the residual stream before or after it, or what its MLP or attention adds.",
  type: "choice",
};
export const HEAD_FIELD: FormField = {
  ...PLAIN_FIELD,
  name: form.HEAD,
  label: "Head",
  help:
    "Which head of attention, counted from 0. Empty reads all of them side by side. Several, as in 0, 5 or 0-3, start one " +
    "training each in one job.",
  empty: "All",
};

interface EstimateProps {
  estimate: EstimateData | null;
  checking: boolean;
  bad: boolean;
  count: number;
}

export function Estimate({ estimate, checking, bad, count }: EstimateProps) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of results, not of form fields
    <div class="est" role="group" aria-label="Estimate" aria-busy={checking}>
      {estimate ? (
        <>
          {count > 1 && <p class="all sm t2">{`Of all ${count} trainings together:`}</p>}
          <Memory estimate={estimate} />
          <MemoryElsewhere parts={estimate.elsewhere} />
          <Time estimate={estimate} />
          <div class="sm">
            <b>Disk</b> {f.bytes(estimate.disk_bytes)}
            {estimate.disk_free_bytes !== null && <p class="t2">{`${f.bytes(estimate.disk_free_bytes)} free`}</p>}
          </div>
          {estimate.warnings.length > 0 && (
            <div class="warnings notes">
              {estimate.warnings.map((text) => (
                <Warning key={text} text={text} />
              ))}
            </div>
          )}
        </>
      ) : (
        <p class="sm t2" role="status">
          {checking ? "Checking…" : bad ? "No estimate while a field needs attention." : "No estimate."}
        </p>
      )}
    </div>
  );
}

const SERIES = [1, 4, 5, 3, 2, 6]; // the colours of neighbours differ most in this order
const colour = ({ key }: { key: string }) => ({ "--c": `var(--sw-${key})` });

function Memory({ estimate }: { estimate: EstimateData }) {
  const { memory, memory_total_bytes: used, device_total_bytes: total, device_free_bytes: free } = estimate;
  const others = total !== null && free !== null ? Math.max(0, total - free) : 0;
  const whole = Math.max(total ?? 0, used + others, 1);
  const parts = memory.map((segment, i) => ({ ...segment, key: `s${SERIES[i % 6]}` })).filter(({ bytes }) => bytes > 0); // stored activations need no model
  if (others > 0) parts.push({ label: "Other programs", bytes: others, key: "border-2" });
  const spoken = parts.map((segment) => `${segment.label} ${f.bytes(segment.bytes)}`).join(", ");
  return (
    <div>
      <div class="row sm">
        <b>Memory</b>
        <span class="nw">{total === null ? f.bytes(used) : f.bytesOf(used, total)}</span>
        {others > 0 && <span class="t2 hw">{`${f.bytes(others)} used by others`}</span>}
      </div>
      <div class="stack" role="img" aria-label={`Memory on ${estimate.device}: ${spoken}`}>
        {parts.map((segment) => (
          <i key={segment.key} style={{ ...colour(segment), width: `${(segment.bytes / whole) * 100}%` }} />
        ))}
      </div>
      <div class="lg">
        {parts.map((segment) => (
          <span key={segment.key}>
            <i class="swatch" style={colour(segment)} />
            {`${segment.label} ${f.bytes(segment.bytes)}`}
          </span>
        ))}
      </div>
    </div>
  );
}

/** What other devices hold: the language model, or the shuffle window. */
function MemoryElsewhere({ parts }: { parts: OtherDeviceData[] }) {
  return parts.map(({ device, memory, total_bytes: used, free_bytes: free }) => (
    <div class="sm" key={device}>
      <b>{`Memory of ${device}`}</b> {f.bytes(used)}
      <p class="t2">
        {[
          ...memory.map((segment) => `${segment.label} ${f.bytes(segment.bytes)}`),
          ...(free === null ? [] : [`${f.bytes(free)} free`]),
        ].join(", ")}
      </p>
    </div>
  ));
}

function Time({ estimate }: { estimate: EstimateData }) {
  const { seconds, tokens_per_second: rate, basis, queue, queue_seconds: wait } = estimate;
  const facts = [
    rate === null ? "" : `${f.tokens(rate)} tok/s`,
    seconds === null && rate === null ? "" : basis, // otherwise it is what stands in place of the time
  ].filter(Boolean);
  const lines = [
    facts.join(", "),
    queue > 0
      ? `starts after ${f.plural(queue, "run")} on ${estimate.device}${wait === null ? "" : `, ≈ ${f.duration(wait)}`}`
      : "",
  ].filter(Boolean);
  return (
    <div class="sm">
      <b>Time</b>{" "}
      {seconds !== null
        ? `≈ ${f.duration(seconds)}`
        : rate !== null
          ? "known once the text is counted"
          : basis || "not measured on this device yet"}
      {lines.length > 0 && <p class="t2">{lines.join("; ")}</p>}
    </div>
  );
}
