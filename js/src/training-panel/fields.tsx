/** One field of the form: label, help, control, and below it the hint or, in its place, the error. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Breakable } from "../lib/breakable";
import { Icon } from "../lib/icons";
import type { FormField } from "../lib/wire";
import type { FormController } from "./form-controller";
import * as form from "./form-state";

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
  const id = useUid("sw-field");
  const [helpOpen, setHelpOpen] = useState(false);
  const control = useRef<HTMLElement>(null);
  const value = controller.values.value[field.name];
  const error = controller.errors.value[field.name];
  const hint = controller.lookingUp.value.includes(field.name)
    ? `Looking up the ${field.label.toLowerCase()}…`
    : controller.check.value?.hints[field.name];
  const focus = controller.focus.value;

  useLayoutEffect(() => {
    if (focus?.name !== field.name) return;
    const details = control.current?.closest("details");
    if (details) details.open = true; // before the focus: what is folded away cannot take it
    control.current?.focus();
    control.current?.scrollIntoView?.({ block: "nearest" });
  }, [focus, field.name]);

  const below = error ? `${id}-error` : hint ? `${id}-hint` : undefined;
  const common = {
    id,
    "aria-describedby": [below, helpOpen ? `${id}-help` : undefined].filter(Boolean).join(" ") || undefined,
    "aria-invalid": error ? ("true" as const) : undefined,
  };
  const input =
    typeof value === "boolean" ? (
      <label class="ck">
        <input
          {...common}
          ref={control as never}
          type="checkbox"
          checked={value}
          onChange={(event) => controller.set(field.name, event.currentTarget.checked)}
        />
        {field.label}
      </label>
    ) : form.isChoice(field) ? (
      <Choice {...{ controller, field, control, common }} value={value ?? ""} />
    ) : (
      <input
        {...common}
        ref={control as never}
        type="text"
        class={[form.HOOK, form.HOOK_OUT].includes(field.name) ? "mono" : undefined}
        inputMode={field.type === "text" ? undefined : "decimal"}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        value={value ?? ""}
        placeholder={placeholder(field, controller)}
        onInput={(event) => controller.set(field.name, event.currentTarget.value)}
        onBlur={() => controller.leave(field)}
      />
    );

  const help = field.help && (
    <button
      type="button"
      class="help"
      aria-label={`Help: ${field.label}`}
      aria-expanded={helpOpen}
      aria-controls={`${id}-help`}
      onClick={() => setHelpOpen(!helpOpen)}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !helpOpen) return;
        event.preventDefault(); // the form stays open
        setHelpOpen(false);
      }}
    >
      ?
    </button>
  );

  return (
    <div class={`f ${spanOf(field, controller)}`}>
      {typeof value === "boolean" ? (
        <div class="l tick">
          {input}
          {help}
        </div>
      ) : (
        <>
          <div class="l">
            <label for={id}>{field.label}</label>
            {help}
          </div>
          {input}
        </>
      )}
      {error ? (
        <p class="err" id={`${id}-error`}>
          <Icon name="warn" />
          <span>
            <Breakable text={error} />
          </span>
        </p>
      ) : (
        hint && (
          <p class="hint" id={`${id}-hint`}>
            {hint}
          </p>
        )
      )}
      <div id={`${id}-help`} hidden={!helpOpen}>
        <p class="help-text">{field.help}</p>
        <Suggestions controller={controller} field={field} />
      </div>
    </div>
  );
}

/** Layer gives half of its place to Head, where there is one. */
function spanOf(field: FormField, controller: FormController): string {
  if (field.name === form.LAYER && form.hasHeads(controller.values.value)) return "c1s";
  return SPANS[field.name] ?? "c2s";
}

function placeholder(field: FormField, controller: FormController): string {
  if (field.name === "name") return controller.check.value?.name ?? "";
  return field.empty;
}

interface ChoiceProps extends FieldProps {
  value: string;
  control: { current: HTMLElement | null };
  common: Record<string, unknown>;
}

function Choice({ controller, field, value, control, common }: ChoiceProps) {
  const data = controller.data.value;
  const options = field.name === form.SITE ? SITE_OPTIONS : data ? form.optionsOf(field, data) : [];
  return (
    <select
      {...common}
      ref={control as never}
      value={value}
      onChange={(event) => controller.set(field.name, event.currentTarget.value)}
    >
      {field.optional && <option value="">{field.empty}</option>}
      {options.map(([option, label]) => (
        <option key={option} value={option}>
          {label}
        </option>
      ))}
    </select>
  );
}

const SITE_OPTIONS = form.SITES.map(({ value, label }): [string, string] => [value, label]);

/** Values used before, as buttons: a native list of suggestions would turn the text box into a combobox. */
function Suggestions({ controller, field }: FieldProps) {
  const known = controller.data.value?.suggestions[field.name] ?? [];
  if (known.length === 0) return null;
  return (
    <p class="help-text">
      {"Used before: "}
      {known.slice(0, 6).map((value, i) => (
        <span key={value}>
          {i > 0 && ", "}
          <button type="button" class="lk" onClick={() => controller.set(field.name, value)}>
            {controller.data.value?.stores[value] ?? value}
          </button>
        </span>
      ))}
    </p>
  );
}

const own = (name: string, label: string, help: string, type: FormField["type"]): FormField => ({
  name,
  label,
  help,
  type,
  choices: [],
  words: [],
  default: null,
  minimum: null,
  maximum: null,
  optional: false,
  empty: "",
  section: "where",
  group: "",
  architectures: [],
});

export const LAYER_FIELD = own(
  form.LAYER,
  "Layer",
  "Which transformer block, counted from 0. Together with Site it makes the hook name. Several, as in 4, 6, 8 or 0-3, " +
    "start one training each in one job: the model runs once for all of them.",
  "text",
);
export const SITE_FIELD = own(
  form.SITE,
  "Site",
  "What is read in that block: the residual stream before or after it, or what its MLP or attention adds.",
  "choice",
);
export const HEAD_FIELD = {
  ...own(
    form.HEAD,
    "Head",
    "Which head of attention, counted from 0. Empty reads all of them side by side. Several, as in 0, 5 or 0-3, start one " +
      "training each in one job.",
    "text",
  ),
  empty: "All",
};
