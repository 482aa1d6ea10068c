/** One field of the form: label, help, control, and below it the hint or, in its place, the error. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { Options } from "../lib/controls";
import { type Control, FieldBox } from "../lib/kit";
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
  const input = useRef<HTMLElement>(null);
  const value = controller.values.value[field.name];
  const error = controller.errors.value[field.name];
  const looksUp = controller.lookingUp.value.includes(field.name);
  const focus = controller.focus.value;

  useLayoutEffect(() => {
    if (focus?.name !== field.name) return;
    const details = input.current?.closest("details");
    if (details) details.open = true; // before the focus: what is folded away cannot take it
    input.current?.focus();
    input.current?.scrollIntoView?.({ block: "nearest" });
  }, [focus, field.name]);

  const draw = (control: Control) => {
    const common = { ...control, ref: input as never };
    if (typeof value === "boolean") {
      return (
        <label class="ck">
          <input
            {...common}
            type="checkbox"
            checked={value}
            onChange={(event) => controller.set(field.name, event.currentTarget.checked)}
          />
          {field.label}
        </label>
      );
    }
    if (form.isChoice(field)) {
      return (
        <select
          {...common}
          value={value ?? ""}
          onChange={(event) => controller.set(field.name, event.currentTarget.value)}
        >
          <Options of={optionsOf(controller, field)} />
        </select>
      );
    }
    return (
      <input
        {...common}
        type="text"
        class={[form.HOOK, form.HOOK_OUT].includes(field.name) ? "mono" : undefined}
        inputMode={field.type === "text" ? undefined : "decimal"}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        value={value ?? ""}
        placeholder={field.name === "name" ? (controller.check.value?.name ?? "") : field.empty}
        onInput={(event) => controller.set(field.name, event.currentTarget.value)}
        onBlur={() => controller.leave(field)}
      />
    );
  };
  return (
    <FieldBox
      label={field.label}
      class={spanOf(field, controller)}
      tick={typeof value === "boolean"}
      error={error}
      hint={looksUp ? `Looking up the ${field.label.toLowerCase()}…` : controller.check.value?.hints[field.name]}
      help={
        field.help && (
          <>
            <p>{field.help}</p>
            <Suggestions controller={controller} field={field} />
          </>
        )
      }
    >
      {draw}
    </FieldBox>
  );
}

/** Layer gives half of its place to Head, where there is one. */
function spanOf(field: FormField, controller: FormController): string {
  if (field.name === form.LAYER && form.hasHeads(controller.values.value)) return "c1s";
  return SPANS[field.name] ?? "c2s";
}

function optionsOf(controller: FormController, field: FormField): readonly { value: string; label: string }[] {
  const data = controller.data.value;
  const options = field.name === form.SITE ? form.SITES : data ? form.optionsOf(field, data) : [];
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
