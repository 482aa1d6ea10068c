/** Extractions and features, played from real ones, and a stand-in for the viewer's Python half. */
import * as wire from "../src/lib/wire";
import { type Answers, type FakeOptions, FakeWidget, HOSTILE, Numbers, patched, sceneOf } from "./fake";

export { HOSTILE } from "./fake";

interface Scene {
  extraction: Partial<wire.ExtractionCard>;
  running: Partial<wire.ExtractionCard>;
  failed: Partial<wire.ExtractionCard>;
  gemma: Partial<wire.ExtractionCard>;
  logits_job: wire.LogitsJob;
  open: wire.OpenExtraction;
  saes: Partial<wire.SaeChoice>[];
  /** What the fields of a form have, where that is not the usual. */
  typed: Record<string, string>;
  ship: Read<wire.FeaturePage>;
}
/** What came with activations. */
interface Read<T> {
  value: T;
  values: number[];
}
interface Real {
  state: wire.ViewerState;
  saes: wire.SaeChoices;
  form: wire.ExtractionFormData;
  check: wire.ExtractionCheck;
  page: Read<wire.FeaturePage>;
  logits: wire.FeatureLogitsData;
  relations: wire.FeatureRelationsData;
  rows: wire.FeatureRow[];
  context: Read<wire.ExampleContext>;
  tested: Read<wire.TestedText>;
  prompt: Read<wire.PromptReading>;
}
const { scene, real } = sceneOf<Scene, Real>("features");
const now = Date.now() / 1000;
export const EXT = scene.open.id;
/** A feature with all that one can have, and one that never fires. */
export const SHIP = scene.ship;
const DEAD = 7460;

export function extraction(changes: Partial<wire.ExtractionCard> = {}): wire.ExtractionCard {
  const { name = "demo-l2-topk-16k" } = changes;
  const of = { id: `ext_${name}`, sae_id: `sae_${name}`, name };
  return { ...(real.state.cards[0] as wire.ExtractionCard), ...scene.extraction, ...of, ...changes };
}

export const LOGITS_JOB = scene.logits_job;
export const RUNNING = extraction(scene.running);
export const FAILED = extraction(scene.failed);
export const CARDS = [RUNNING, extraction(scene.gemma), FAILED];

export const opened = (changes: Partial<wire.OpenExtraction> = {}): wire.OpenExtraction => ({
  ...scene.open,
  ...changes,
});

export function viewer(changes: Partial<wire.ViewerState> = {}): wire.ViewerState {
  const open = changes.open === undefined ? opened() : changes.open;
  const view = { ...wire.FIRST_VIEW, extraction_id: open?.id ?? null, feature: open ? 7451 : null };
  const all = { revision: 1, cards: CARDS, total: 3, active: 1, n_saes: 4, view, updated_at: now };
  return { ...wire.EMPTY_VIEWER, ...all, ...changes, open };
}

const SAES = scene.saes.map((one) => ({ ...real.saes.rows[0], ...one }) as wire.SaeChoice);

const NAMES = ["corpus", "tokens", "context_size", "examples", "per_interval", "min_activation"];
const FIELDS = real.form.fields
  .filter(({ name }) => [...NAMES, "exclude_special_tokens", "max_norm_ratio"].includes(name))
  .map((field) => ({ ...field, value: scene.typed[field.name] ?? field.value }));

// ------------------------------------------------------------------------------------------------ features

/** Rows of the demo SAE, over and over, every third without its label; the ship and the dead feature are made up. */
function featureRow(index: number): wire.FeatureRow {
  if (index === SHIP.value.index) return SHIP.value.row;
  const row = { ...(real.rows[index % real.rows.length] as wire.FeatureRow), index };
  const plain = { ...row, label: "", auto: false, score: null };
  if (index === DEAD) return { ...plain, top_tokens: [], density: 0, max: 0 };
  return index % 3 === 0 ? plain : row;
}

function featurePage(index: number): Read<wire.FeaturePage> {
  if (index === SHIP.value.index) return SHIP;
  const { value, values } = real.page;
  const row = featureRow(index);
  const labels = row.label ? value.notes.labels.map((one) => ({ ...one, text: row.label })) : [];
  const page = { ...value, index, row, notes: { ...value.notes, index, labels } };
  if (row.density > 0) return { value: page, values };
  const none = { density: 0, fired: 0, n_documents: 0, max: 0, groups: [], histogram: null, tokens: [] };
  return { value: { ...page, ...none, n_tokens: SHIP.value.n_tokens }, values: [] };
}

const WILD = [` ${HOSTILE}`, "\u0000", "\u202egnirts", "x".repeat(10_000), "\t", "\u200b"];

/** Words that nobody should trust in the place of an answer's own. */
function untrusted(key: string, value: unknown): unknown {
  if (key === "texts") return [...WILD, ...(value as string[]).slice(WILD.length)];
  if (key === "label" && value) return `${HOSTILE} ${"y".repeat(10_000)}`;
  return key === "token" || key === "text" ? HOSTILE : value;
}

function check(values: Record<string, unknown>): wire.ExtractionCheck {
  const errors: Record<string, string> = {};
  if (!(Number(values.tokens) >= 1)) errors.tokens = `Tokens is ${values.tokens}. Enter 1 or more; 1,000,000 is usual.`;
  if (!values.corpus) errors.corpus = "Corpus is empty. Enter a dataset, a file or a folder.";
  const bytes = { disk_bytes: 58e6, disk_free: 41e9, memory_bytes: 1.4e9, memory_free: 6.1e9 };
  const estimate = real.check.estimate && { ...real.check.estimate, device: "cuda:0", seconds: 110, ...bytes };
  return { ...real.check, errors, estimate };
}

// ------------------------------------------------------------------------------------------------ the stand-in

export interface ViewerOptions extends FakeOptions<wire.ViewerCommand> {
  /** Tokens and labels that nobody should trust. */
  hostile?: boolean;
  /** The library has no SAE. */
  noSaes?: boolean;
  /** What is different about loss effects and logit effects. */
  loss?: Partial<wire.LossEffectData>;
  logits?: Partial<wire.FeatureLogitsData>;
}

const numbers = <T>({ value, values }: Read<T>, change: Partial<T> = {}) =>
  new Numbers({ ...value, ...change }, ["activations"], [values], Float32Array);

export class FakeViewer extends FakeWidget<wire.ViewerState, wire.ViewerCommand> {
  private readonly notes = new Map<number, wire.FeatureNotes>();

  constructor(
    state: wire.ViewerState = viewer(),
    override readonly options: ViewerOptions = {},
  ) {
    super("extraction_viewer", state, options);
  }

  private get open(): wire.OpenExtraction {
    return this.state.open ?? opened();
  }

  protected readonly answers: Answers<wire.ViewerCommand> = {
    list_saes: (command) => this.saes(command),
    extraction_form: ({ sae_id }) => {
      const { name = "gpt2", d_sae = 16_384 } = SAES.find((one) => one.id === sae_id) ?? {};
      return { sae_id, name, d_sae, fields: FIELDS };
    },
    check_extraction: ({ values }) => check(values),
    start_extraction: ({ sae_id }) => {
      const name = SAES.find((one) => one.id === sae_id)?.name ?? "new";
      const queued = { status: "queued", queue_position: 1, tokens_done: 0, fraction: 0 };
      const cards = [extraction({ id: "ext_new", name, ...queued }), ...this.state.cards];
      this.setState({ cards, total: this.state.total + 1, active: this.state.active + 1 });
      return { extraction_id: "ext_new" };
    },
    try_demo: () => {
      this.setState({ open: opened(), view: { ...this.state.view, extraction_id: EXT } });
      return { extraction_id: EXT };
    },
    extraction_action: ({ extraction_id, action }) => this.act(extraction_id, action),
    show_download: ({ shown }) => this.setState({ below: shown ? "download" : "" }),
    logits_action: ({ extraction_id, action }) => {
      const status = { start: "running", resume: "running", pause: "paused", cancel: "" }[action];
      this.change(extraction_id, { logits: status ? { ...LOGITS_JOB, status } : null });
    },
    read_loss_effect: ({ index }) => ({ index, effect: -0.184, loss: 2.31, problem: null, ...this.options.loss }),
    show_view: ({ view }) => {
      const id = view.extraction_id;
      const name = this.state.cards.find((card) => card.id === id)?.name;
      const other = id === null ? null : opened({ id, ...(name ? { name } : {}) });
      this.setState({ view: view as wire.ViewerState["view"], open: id === this.open.id ? this.open : other });
    },
    query_features: ({ query, offset = 0, limit = 100 }) => {
      const found = this.query(query as wire.FeatureQuery);
      const rows = found.slice(offset, offset + limit).map((index) => this.row(index));
      return { matching: found.length, offset, max_density: 0.04, rows };
    },
    step_feature: ({ query, index, step }) => {
      const rows = this.query(query as wire.FeatureQuery);
      const here = rows.indexOf(index);
      const next_live = rows.findIndex((index, i) => i > here && index !== DEAD);
      const row = { here, previous: here - 1, next: here + 1, random: rows.length >> 1, next_live }[step];
      return { index: rows[row] ?? null, row: row in rows ? row : null };
    },
    open_feature: ({ extraction_id, index }) => {
      const { value, values } = featurePage(index);
      const page = { ...value, extraction_id, notes: this.notes.get(index) ?? value.notes };
      return numbers({ value: this.play(page), values });
    },
    feature_logits: ({ index }) => ({ ...real.logits, index, ...this.options.logits }),
    feature_relations: ({ index }) => this.play({ ...real.relations, index }),
    expand_example: ({ position }) => numbers(real.context, { position }),
    test_text: ({ index }) => numbers(real.tested, { index }),
    read_prompt: () => numbers(real.prompt),
    edit_feature: (command) => this.edit(command),
    suggest_label: ({ index }) => ({ index, text: "words for ships", by: "offline heuristic", note: "" }),
    export_features: ({ path }) => ({ path: `/workspace/${path}`, size_bytes: 12_000 }),
  };

  private edit(command: Extract<wire.ViewerCommand, { kind: "edit_feature" }>): wire.FeatureNotes {
    const { index } = command;
    const before = this.notes.get(index) ?? featurePage(index).value.notes;
    const others = before.labels.filter((one) => one.source !== "user");
    const own = before.labels.find((one) => one.source === "user");
    const text = command.label ?? own?.text ?? "";
    const description = command.description ?? own?.description ?? "";
    const label = { text, description, source: "user" as const, by: "", created_at: Date.now() / 1000 };
    const { notes, starred } = {
      ...before,
      ...Object.fromEntries(Object.entries(command).filter(([, is]) => is != null)),
    };
    const after = { index, labels: text ? [label, ...others] : others, notes, starred };
    this.notes.set(index, after);
    this.setState({ features_revision: this.state.features_revision + 1 });
    return after;
  }

  private play<T>(answer: T): T {
    return this.options.hostile ? JSON.parse(JSON.stringify(answer, untrusted)) : answer;
  }

  private row(index: number): wire.FeatureRow {
    const notes = this.notes.get(index);
    const first = notes?.labels[0];
    const said = notes && { starred: notes.starred, label: first?.text ?? "", auto: first?.source === "auto" };
    return this.play({ ...featureRow(index), ...said });
  }

  private query({ search, descending }: wire.FeatureQuery): number[] {
    const all = Array.from({ length: this.open.d_sae }, (_, i) => i);
    const found = search ? all.filter((index) => JSON.stringify(featureRow(index)).includes(search)) : all;
    return descending ? found.reverse() : found;
  }

  private saes({ source, model, search }: Extract<wire.ViewerCommand, { kind: "list_saes" }>): wire.SaeChoices {
    if (this.options.noSaes) return { rows: [], total: 0, sources: [], models: [], note: "" };
    const is = (asked: string | null | undefined, value: string | null) => (asked ?? value) === value;
    const matches = (one: wire.SaeChoice) =>
      is(source, one.source) && is(model, one.model) && `${one.name} ${one.model}`.includes(search ?? "");
    const choices = (values: [string, string][]) => values.map(([value, label]) => ({ value, label, count: null }));
    return {
      rows: SAES.filter(matches),
      total: 6,
      sources: choices(SAES.map((one) => [one.source, one.source_label])),
      models: choices(SAES.slice(0, 2).map((one) => [one.model ?? "", one.model ?? ""])),
      note: "1 has no files, 1 is being downloaded",
    };
  }

  private change(id: string, change: Partial<wire.ExtractionCard>): void {
    this.setState({ cards: patched(this.state.cards, [id], change) });
  }

  private act(id: string, action: string): void {
    if (action === "delete") this.setState({ cards: this.state.cards.filter((card) => card.id !== id) });
    else if (action === "pause") {
      this.change(id, { status: "pausing" });
      setTimeout(() => this.change(id, { status: "paused" }), 400);
    } else this.change(id, { status: action === "resume" ? "running" : "cancelled" });
  }
}
