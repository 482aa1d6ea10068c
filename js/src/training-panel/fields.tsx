/** One field of the form: label, help, control, and below it the hint or, in its place, the error. */
import type { Choices } from "../lib/controls";
import { SettingField } from "../lib/forms";
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
      hint={looksUp ? `Looking up the ${label.toLowerCase()}…` : check?.hints[name]}
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
