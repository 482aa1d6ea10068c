/** The New training form without the page: what is shown, what is sent, which fields are at fault. Pure functions. */
import * as f from "../lib/format";
import type { CheckResult, ConfigData, FormData, FormField, Over, Section } from "../lib/wire";

const MOST = 256; // as many as a group has at most
const IN_BLOCK = /^blocks\.(\d+)\.(.+)$/;

/** "4, 6, 8" and "0-3" as numbers, in the order given; null where it is something else. */
export function parseLayers(text: string): number[] | null {
  const parts = text
    .replace(/\s*[-–]\s*/g, "-")
    .split(/[,;\s]+/)
    .filter(Boolean);
  const layers: number[] = [];
  for (const part of parts) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    if (!match) return null;
    const first = Number(match[1]);
    const last = match[2] === undefined ? first : Number(match[2]);
    if (last < first || layers.length + last - first >= MOST) return null;
    for (let layer = first; layer <= last; layer++) layers.push(layer);
  }
  return layers.length ? layers : null;
}

export const hookList = (text: string): string[] => text.split(/[,;\s]+/).filter(Boolean);

interface Several {
  over: Over | null;
  /** What each reconstructs, in the order of the hook names; none for what is no transcoder. */
  outputs: string[];
  error?: { field: "hook_name" | "hook_name_out"; text: string };
}

/** What differs between the trainings of these hook names. A transcoder's one output moves with the layer. */
export function overOf(hooks: readonly string[], outputs: readonly string[]): Several {
  if (hooks.length < 2) return { over: null, outputs: [...outputs] };
  const twice = hooks.find((hook, i) => hooks.indexOf(hook) !== i);
  if (twice !== undefined) {
    return { over: null, outputs: [], error: { field: "hook_name", text: `${twice} is there twice. Name it once.` } };
  }
  if (outputs.length === 0) return { over: { hook_name: [...hooks] }, outputs: [] };
  if (outputs.length > 1 && outputs.length !== hooks.length) {
    const text = `${outputs.length} places for ${hooks.length} hook names. Name one, which moves with the layer, or one each.`;
    return { over: null, outputs: [], error: { field: "hook_name_out", text } };
  }
  const each = outputs.length > 1 ? [...outputs] : moved(outputs[0] ?? "", hooks);
  return { over: { "hook_name, hook_name_out": hooks.map((hook, i) => [hook, each[i] ?? ""]) }, outputs: each };
}

/** The output for each hook name: as many layers away from it as the one that is given is from the first. */
function moved(output: string, hooks: readonly string[]): string[] {
  const layerOf = (name: string) => Number(IN_BLOCK.exec(name)?.[1] ?? Number.NaN);
  const site = IN_BLOCK.exec(output)?.[2];
  const away = layerOf(output) - layerOf(hooks[0] ?? "");
  return hooks.map((hook) => {
    const layer = layerOf(hook) + away;
    return site === undefined || Number.isNaN(layer) ? output : `blocks.${layer}.${site}`;
  });
}

/** What stands in the fields, by dotted name. */
export type Values = Record<string, string | boolean>;
export type Errors = Record<string, string>;

export const ARCHITECTURE = "sae.architecture";
export const HOOK = "hook_name";
export const HOOK_OUT = "hook_name_out";
/** Where Python says what is wrong with several trainings together. */
const OVER = "over";
/** Fields of the page only: together they make the hook name. */
export const LAYER = "layer";
export const SITE = "site";
export const HEAD = "head";
const HEADS = "attn.hook_z"; // the site that has a head

export const SITES: Record<string, string> = {
  hook_resid_pre: "Residual, before block",
  hook_resid_post: "Residual, after block",
  hook_mlp_out: "MLP output",
  hook_attn_out: "Attention output",
  [HEADS]: "Attention heads",
  "mlp.hook_in": "MLP input",
  "ln2.hook_normalized": "MLP input, after its norm",
};

const HOOK_NAME = /^blocks\.(\d+)\.(attn\.hook_z(?=\.\d+$)|[\w.]+)(?:\.(\d+))?$/;

/** Hook names of one site, for each layer and of these for each head; without a head they mean all heads together. */
export function composeHook(layer: string, site: string, head = ""): string {
  const one = site === HEADS && head.trim() !== "";
  const heads = one ? (parseLayers(head) ?? [head.trim()]).map((number) => `.${number}`) : [""];
  const layers = parseLayers(layer) ?? [layer.trim()];
  return layers.flatMap((number) => heads.map((of) => `blocks.${number}.${site}${of}`)).join(", ");
}

export function splitHook(names: string): { layer: string; site: string; head: string } | null {
  const list = hookList(names);
  const found = list.map((name) => HOOK_NAME.exec(name));
  const each = (group: number) => [...new Set(found.map((match) => match?.[group] ?? ""))].join(", ");
  const parts = { layer: each(1), site: found[0]?.[2] ?? "", head: each(3) };
  const known = parts.site in SITES;
  return known && composeHook(parts.layer, parts.site, parts.head) === list.join(", ") ? parts : null;
}

export const hasHeads = (values: Values): boolean => values[SITE] === HEADS;

export function optionsOf(field: FormField, data: FormData): { value: string; label: string }[] {
  if (!isDevice(field)) return field.choices.map((value, i) => ({ value, label: field.words[i] ?? value }));
  const devices = data.devices.map(({ id, label }) => ({ value: id, label: label || id }));
  const [first] = devices;
  if (first?.value === "auto") return field.optional ? devices.slice(1) : [first]; // of a cluster
  if (field.optional) return devices;
  const usual = devices.find(({ value }) => value !== "cpu")?.value ?? "cpu";
  return [{ value: "auto", label: `Automatic (${usual})` }, ...devices];
}

/** What the box offers that spreads several trainings over places; "" where there is only one. */
export function spreadWords({ devices }: FormData): string {
  const gpus = devices.filter(({ id }) => id.startsWith("cuda")).length;
  if (devices[0]?.id === "auto") return "Spread them over the cluster, in as many jobs as it has room for";
  return gpus > 1 ? `Spread them over ${gpus} GPUs, in a job for each` : "";
}

const isDevice = (field: FormField): boolean => /(^|[._])device$/.test(field.name);

/** Is it drawn as a list to choose from? A device always is: the form knows all there are. */
export const isChoice = (field: FormField): boolean => field.type === "choice" || isDevice(field);

/** Identifiers have no separators, counts do. */
const isIdentifier = (field: FormField): boolean => field.name === "seed";

export function display(field: FormField, value: unknown): string | boolean {
  if (field.type === "boolean") return value === true;
  if (value === null || value === undefined) return "";
  if (field.name === "corpus" && typeof value === "object") return corpusText(value as Record<string, unknown>);
  if (typeof value !== "number") return String(value);
  if (field.type === "integer") return isIdentifier(field) ? String(value) : f.count(value);
  return f.formNumber(value);
}

function corpusText(corpus: Record<string, unknown>): string {
  if (corpus.kind === "demo") return "demo";
  return Array.isArray(corpus.files) ? corpus.files.join(", ") : "";
}

/** A typed number put into the form's own shape ("16384" → "16,384"); anything else stays as typed. */
export function tidy(field: FormField, text: string): string {
  if (field.type !== "integer" || text.trim() === "") return text;
  const n = f.parseInteger(text);
  return n === null ? text : (display(field, n) as string);
}

export function initialValues(data: FormData): Values {
  const values: Values = {};
  for (const field of data.fields)
    values[field.name] = display(field, field.name in data.defaults ? data.defaults[field.name] : field.default);
  const parts = splitHook(String(values[HOOK] ?? ""));
  values[LAYER] = parts?.layer ?? "";
  values[SITE] = parts?.site ?? "hook_resid_post";
  values[HEAD] = parts?.head ?? "";
  return values;
}

/** `values` with settings changed as advice names them; those that the form does not have are left out. */
export function withChanges(data: FormData, values: Values, changes: Record<string, unknown> = {}): Values {
  const next = { ...values };
  for (const field of data.fields) {
    if (field.name in changes) next[field.name] = display(field, changes[field.name]);
  }
  return next;
}

/** `values` after the user changed one field: layer, site, head and hook name follow each other. */
export function change(values: Values, name: string, value: string | boolean): Values {
  const next = { ...values, [name]: value };
  if ([LAYER, SITE, HEAD].includes(name)) next[HOOK] = composed(next);
  if (name === HOOK) {
    const parts = splitHook(String(value));
    if (parts) Object.assign(next, { [LAYER]: parts.layer, [SITE]: parts.site, [HEAD]: parts.head });
  }
  return next;
}

/** `next` with what stood in the form by itself following the model; what somebody typed stays. */
export function followModel(data: FormData, before: Values, next: Values): Values {
  const names = Object.values(data.of_model).flatMap(Object.keys);
  for (const field of data.fields.filter(({ name }) => names.includes(name))) {
    const usual = ({ model }: Values) =>
      display(field, data.of_model[String(model).trim()]?.[field.name] ?? field.default);
    if (before[field.name] === usual(before)) next[field.name] = usual(next);
  }
  return next;
}

const composed = (values: Values): string =>
  composeHook(String(values[LAYER]), String(values[SITE]), String(values[HEAD] ?? ""));

export function visibleFields(data: FormData, values: Values): FormField[] {
  const architecture = String(values[ARCHITECTURE]);
  const first = (field: FormField) => (field.name === ARCHITECTURE ? 0 : 1);
  const rank: Section[] = ["model", "where", "sae", "training", "advanced"];
  return data.fields
    .filter((field) => field.architectures.length === 0 || field.architectures.includes(architecture))
    .sort((a, b) => rank.indexOf(a.section) - rank.indexOf(b.section) || first(a) - first(b));
}

/** Does the dataset of the form name a store of activations? Then no language model runs. */
export const isStore = (corpus: unknown): boolean =>
  typeof corpus === "string"
    ? /^acts_[0-9A-Z]{26}$/.test(corpus.trim())
    : (corpus as { kind?: unknown } | null | undefined)?.kind === "activations";

/** Has the setting an effect beside the others? Its value is sent all the same. */
export function applies({ needs }: FormField, values: Values): boolean {
  if (needs === "text") return !isStore(values.corpus);
  const [name = "", wanted] = needs.split(/!?=/);
  if (wanted === undefined) return name === "" || Boolean(values[name]);
  return (values[name] === wanted) !== needs.includes("!=");
}

export const found = ({ label, name, help }: FormField, search: string): boolean =>
  f.finder(search)(`${label} ${name} ${help}`);

export const inSection = (fields: readonly FormField[], section: Section): FormField[] =>
  fields.filter((field) => field.section === section);

function parse(field: FormField, text: string): { value: unknown } | { error: string } {
  const trimmed = text.trim();
  if (trimmed === "") {
    if (field.optional) return { value: null };
    return { error: `${field.label} is missing.` };
  }
  if (field.type === "integer") {
    const n = f.parseInteger(trimmed);
    return n === null ? { error: `“${trimmed}” is not a whole number. ${enter(field)}` } : { value: n };
  }
  if (field.type === "number") {
    const n = f.parseNumber(trimmed);
    const point = trimmed.includes(",") ? "Decimals take a point. " : "";
    return n === null ? { error: `“${trimmed}” is not a number. ${point}${enter(field)}` } : { value: n };
  }
  return { value: trimmed };
}

/** "Enter one from 0 to 1; 3e-4 is usual." */
function enter(field: FormField): string {
  const shown = (n: number) => (field.type === "integer" && !isIdentifier(field) ? f.count(n) : f.formNumber(n));
  const { minimum: low, maximum: high } = field;
  const bounds =
    low !== null && high !== null
      ? ` from ${shown(low)} to ${shown(high)}`
      : low !== null
        ? ` of at least ${shown(low)}`
        : high !== null
          ? ` of at most ${shown(high)}`
          : "";
  const usual = typeof field.default === "number" ? `; ${shown(field.default)} is usual` : "";
  return `Enter one${bounds}${field.optional ? ", or leave it empty" : ""}${usual}.`;
}

interface Parsed {
  config: ConfigData;
  /** What differs between several trainings, of which `config` is the first; null for a single one. */
  over: Over | null;
  errors: Errors;
}

/** The form as TrainingConfig data (nested), and what cannot even be read. Fields that cannot be read are left out. */
export function toConfig(fields: readonly FormField[], values: Values): Parsed {
  const config: ConfigData = {};
  const errors: Errors = {};
  const split = splitHook(String(values[HOOK]));
  if (parseLayers(String(values[LAYER])) === null && split === null) {
    errors[LAYER] = "Enter the number of a layer, or several: 4, 6, 8 or 0-3.";
  }
  const head = String(values[HEAD] ?? "").trim();
  if (hasHeads(values) && head !== "" && parseLayers(head) === null && split === null) {
    errors[HEAD] = "Enter the number of a head, or several: 0, 5 or 0-3. Empty means all of them together.";
  }
  for (const field of fields) {
    const value = values[field.name];
    if (typeof value === "boolean") put(config, field.name, value);
    else {
      const parsed = parse(field, value ?? "");
      if ("value" in parsed) put(config, field.name, parsed.value);
      else errors[field.name] = parsed.error;
    }
  }
  const hooks = hookList(String(values[HOOK] ?? ""));
  const outputs = fields.some(({ name }) => name === HOOK_OUT) ? hookList(String(values[HOOK_OUT] ?? "")) : [];
  const several = overOf(hooks, outputs);
  if (several.error) errors[several.error.field] ??= several.error.text;
  if (hooks[0] !== undefined) config[HOOK] = hooks[0];
  if (several.outputs[0] !== undefined) config[HOOK_OUT] = several.outputs[0];
  return { config, over: several.over, errors };
}

function put(target: ConfigData, dotted: string, value: unknown): void {
  const path = dotted.split(".");
  const last = path.pop() as string;
  let at = target;
  for (const part of path) {
    at[part] ??= {};
    at = at[part] as ConfigData;
  }
  at[last] = value;
}

export const fieldOrder = (fields: readonly FormField[]): string[] =>
  fields.flatMap((field) => (field.name === HOOK ? [LAYER, SITE, HEAD, HOOK] : [field.name]));

/** Errors that belong to no field that is shown; a note above the buttons says them. */
export function looseErrors(fields: readonly FormField[], errors: Errors): string[] {
  const known = new Set(fieldOrder(fields));
  return Object.entries(errors)
    .filter(([name]) => !known.has(name))
    .map(([name, text]) => (name ? `${name}: ${text}` : text));
}

export const firstBad = (fields: readonly FormField[], errors: Errors): string | null =>
  fieldOrder(fields).find((name) => name in errors) ?? null;

/** An error of a composed hook name stands at Layer, or at Head where the model has fewer (`heads`). */
export function placeHookError(errors: Errors, values: Values, heads: number | null = null): Errors {
  const { [OVER]: together, ...others } = errors;
  const { [HOOK]: text = together, ...rest } = others;
  if (text === undefined || values[HOOK] !== composed(values)) {
    return text === undefined ? errors : { ...rest, [HOOK]: text };
  }
  if (LAYER in rest || HEAD in rest) return rest;
  const most = Math.max(...(parseLayers(String(values[HEAD] ?? "")) ?? [0]));
  return { ...rest, [hasHeads(values) && heads !== null && most >= heads ? HEAD : LAYER]: text };
}

export const HOOK_FIELDS: readonly string[] = [HOOK, LAYER, SITE, HEAD, OVER];
const IRRELEVANT = ["name", "seed"]; // nothing that is shown depends on them

export function stillKnown(check: CheckResult, name: string): CheckResult {
  if (IRRELEVANT.includes(name)) return check;
  const known = { ...check, estimate: null, trainings: [] };
  const inName = name === "model" || name.startsWith("sae.") || HOOK_FIELDS.includes(name);
  if (inName) known.name = "";
  if (name === "model") return { ...known, model: null, hints: {} };
  if (HOOK_FIELDS.includes(name) && check.model) known.model = { ...check.model, d_in: null };
  const edited = HOOK_FIELDS.includes(name) ? HOOK : name; // how many layers and heads there are stays
  known.hints = Object.fromEntries(Object.entries(check.hints).filter(([field]) => field !== edited));
  return known;
}

export function labelOf(fields: readonly FormField[], name: string): string {
  if (name === LAYER) return "Layer";
  if (name === SITE) return "Site";
  if (name === HEAD) return "Head";
  return fields.find((field) => field.name === name)?.label ?? name;
}

export function byGroup(fields: readonly FormField[]): [string, FormField[]][] {
  const groups = new Map<string, FormField[]>();
  for (const field of fields) groups.set(field.group, [...(groups.get(field.group) ?? []), field]);
  return [...groups];
}

export const changedOf = (fields: readonly FormField[], values: Values): string[] =>
  fields.filter((field) => values[field.name] !== display(field, field.default)).map(({ name }) => name);
