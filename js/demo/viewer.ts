/** Extractions and their features, patched from real ones, and a stand-in for the viewer's Python half. */
import {
  EMPTY_VIEWER,
  type Example,
  type ExampleGroup,
  type ExtractionCard,
  type ExtractionCheck,
  type ExtractionFormData,
  type FeatureLogitsData,
  type FeatureNotes,
  type FeaturePage,
  type FeatureQuery,
  type FeatureRelationsData,
  type FeatureRow,
  FIRST_VIEW,
  type LogitsJob,
  type LossEffectData,
  type OpenExtraction,
  type SaeChoice,
  type SaeChoices,
  type ViewerCommand,
  type ViewerState,
} from "../src/lib/wire";
import { type Answers, type FakeOptions, FakeWidget, HOSTILE, Numbers, patched, sceneOf } from "./fake";

export { HOSTILE } from "./fake";

interface Scene {
  extraction: Partial<ExtractionCard>;
  running: Partial<ExtractionCard>;
  failed: Partial<ExtractionCard>;
  gemma: Partial<ExtractionCard>;
  logits_job: LogitsJob;
  open: OpenExtraction;
  saes: Partial<SaeChoice>[];
  /** What the fields of a form have, where that is not the usual. */
  typed: Record<string, string>;
  labels: string[];
  chips: string[];
  ship: FeatureRow;
  /** With the strongest token between bars. */
  sentences: string[];
  /** Activations of other tokens, and of those of an own text. */
  warm: Record<string, number>;
  own: Record<string, number>;
  context: string;
  logits: Partial<FeatureLogitsData>;
  /** Other features, with a value. */
  similar: [number, number][];
  coactive: [number, number][];
  tokens: FeaturePage["tokens"];
}
interface Real {
  state: ViewerState;
  saes: SaeChoices;
  form: ExtractionFormData;
  check: ExtractionCheck;
  page: { value: FeaturePage };
  logits: FeatureLogitsData;
}
const { scene, real } = sceneOf<Scene, Real>("features");
const now = Date.now() / 1000;
export const EXT = scene.open.id;

export function extraction(changes: Partial<ExtractionCard> = {}): ExtractionCard {
  const { name = "demo-l2-topk-16k" } = changes;
  const of = { id: `ext_${name}`, sae_id: `sae_${name}`, name };
  return { ...(real.state.cards[0] as ExtractionCard), ...scene.extraction, ...of, ...changes };
}

export const LOGITS_JOB = scene.logits_job;
export const RUNNING = extraction(scene.running);
export const FAILED = extraction(scene.failed);
export const CARDS = [RUNNING, extraction(scene.gemma), FAILED];

export const opened = (changes: Partial<OpenExtraction> = {}): OpenExtraction => ({ ...scene.open, ...changes });

export function viewer(changes: Partial<ViewerState> = {}): ViewerState {
  const open = changes.open === undefined ? opened() : changes.open;
  const view = { ...FIRST_VIEW, extraction_id: open?.id ?? null, feature: open ? 7451 : null };
  const all = { revision: 1, cards: CARDS, total: 3, active: 1, n_saes: 4, view, updated_at: now };
  return { ...EMPTY_VIEWER, ...all, ...changes, open };
}

const SAES = scene.saes.map((one) => ({ ...real.saes.rows[0], ...one }) as SaeChoice);

const NAMES = ["corpus", "tokens", "context_size", "examples", "per_interval", "min_activation"];
const FIELDS = real.form.fields
  .filter(({ name }) => [...NAMES, "exclude_special_tokens", "max_norm_ratio"].includes(name))
  .map((field) => ({ ...field, value: scene.typed[field.name] ?? field.value }));

// ------------------------------------------------------------------------------------------------ features

/** A number from 0 to 1 that depends on nothing but its seeds. */
function noise(...seeds: number[]): number {
  let h = 2166136261;
  for (const seed of seeds) h = Math.imul(h ^ (seed + 0x9e3779b9), 16777619) ^ (h >>> 13);
  h = Math.imul(h ^ (h >>> 15), 2246822507);
  return ((h ^ (h >>> 13)) >>> 0) / 4294967296;
}

function featureRow(index: number): FeatureRow {
  if (index === 7451) return scene.ship;
  const { labels, chips } = scene;
  const dead = index === 7460 || noise(index, 5) < 0.025;
  const labelled = !dead && noise(index, 1) < 0.6;
  return {
    index,
    label: labelled ? (labels[Math.floor(noise(index, 2) * labels.length)] ?? "") : "",
    auto: labelled,
    top_tokens: dead ? [] : (chips[Math.floor(noise(index, 3) * chips.length)]?.match(/ ?\w+/g) ?? []),
    density: dead ? 0 : 10 ** (-6 + 4.6 * noise(index, 4)),
    max: dead ? 0 : 2 + 40 * noise(index, 6),
    score: labelled ? noise(index, 7) : null,
    starred: false,
  };
}

const WILD = [` ${HOSTILE}`, "\u0000", "\u202egnirts", "x".repeat(10_000), "\t", "\u200b"];

const pieces = (text: string): string[] => text.match(/\s?[\w'-]+|\n|[^\w\s]/g) ?? [];

/** The page of a feature, with examples whose strongest token has the value given. */
export function featurePage(open: OpenExtraction, index: number, hostile = false) {
  const row = featureRow(index);
  const dead = row.density === 0;
  const { max } = row;
  const texts: string[] = [];
  const values: number[] = [];
  const tokenOf = (word: string) => (texts.includes(word) ? texts.indexOf(word) : texts.push(word) - 1);
  const example = (n: number, value: number): Example => {
    const [left = "", strong = "", right = ""] = scene.sentences[n % scene.sentences.length]?.split("|") ?? [];
    const own = index === 7451 ? strong : (row.top_tokens[n % 3] ?? strong);
    const words = [...pieces(left), own, ...pieces(right)];
    if (hostile) words.splice(1, 0, ...WILD);
    const peak = words.indexOf(own, pieces(left).length);
    values.push(
      ...words.map((word, i) => (i === peak ? value : Math.min(value, ((scene.warm[word] ?? 0) * max) / 41.7))),
    );
    const place = { offset: 118 + n, context: 157 + n, document: 40 + n, before: true, after: true };
    return { position: 40_212 + 300 * n + Math.round(value), value, peak, tokens: words.map(tokenOf), ...place };
  };
  const at = (share: number) => Number((share * max).toPrecision(3));
  const group = (title: string, share: number, strengths: number[], from = 0): ExampleGroup => ({
    ...{ title, low: null, high: null, share: null, token_share: null, count: Math.round(share * 2380) },
    examples: strengths.map((value, i) => example(i + from, value)),
  });
  const interval = (low: number, high: number, share: number, strengths: number[], from: number): ExampleGroup => ({
    ...group(`Interval ${at(low)} – ${at(high)}`, share, strengths.map(at), from),
    ...{ low: at(low), high: at(high), share, token_share: share * row.density },
  });
  const groups = [
    group("Top activations", 1, [max, at(0.964), at(0.933), at(0.9), at(0.866)]),
    interval(0.3, 0.4, 0.081, [0.379, 0.35, 0.31], 5),
    interval(0.01, 0.1, 0.51, [0.094, 0.053], 8),
  ];
  const label = (text: string, source: "auto" | "user", by: string) => ({
    ...{ text, description: source === "auto" ? "Words for ships." : "", source, by, created_at: now - 86_400 },
  });
  const auto = (text: string, score: string) => label(text, "auto", `offline heuristic, detection ${score} judged`);
  const named = hostile ? HOSTILE : row.label;
  const labels = row.auto
    ? [{ ...auto(named, "0.81, 90 of 100"), description: "" }]
    : row.label && [label(named, "user", ""), auto("nautical vessels", "0.86, 92 of 100")];
  const bins = 48;
  const histogram = {
    ...{ title: "Activations", note: "non-zero, log counts", x_label: "activation", log: false, digits: 3, zeros: 0 },
    edges: Array.from({ length: bins + 1 }, (_, i) => (i / bins) * max),
    counts: Array.from({ length: bins }, (_, i) => Math.round(480 * Math.exp(-i / 7) + 6 * noise(index, i))),
    zeros_label: "",
    summary: `Histogram of non-zero activations, 0 to ${max.toFixed(1)}`,
  };
  const tokens = scene.tokens.map((one) => (hostile ? { ...one, token: HOSTILE } : one));
  const page: FeaturePage = {
    ...real.page.value,
    ...{ extraction_id: open.id, index, density: row.density, fired: Math.round(row.density * open.n_tokens) },
    ...{ n_tokens: open.n_tokens, max, mean: max * 0.226, n_documents: dead ? 0 : 611, documents: open.n_documents },
    ...{
      notes: { index, labels: labels || [], notes: "", starred: row.starred },
      row,
      texts,
      facts: [],
      list_max: max,
    },
    ...(dead ? { groups: [], histogram: null, tokens: [] } : { groups, histogram, tokens }),
    link: `sw.ExtractionViewer(view={"extraction_id": "${open.id}", "feature": ${index}})`,
  };
  return { page, values: dead ? [] : values };
}

/** A text as tokens, with what feature 7451 would say of each. */
function tokenise(text: string) {
  const words = pieces(text);
  const texts = [...new Set(words)];
  const values = words.map((word) => scene.own[word.trim()] ?? 0);
  return { read: { texts, tokens: words.map((word) => texts.indexOf(word)) }, values };
}

function relations(index: number, hostile = false): FeatureRelationsData {
  const one = ([other, value]: [number, number]) => {
    const { label, top_tokens } = featureRow(other);
    return { index: other, label: hostile ? HOSTILE : label, top_tokens, value };
  };
  const of = { index, sampled: 2048, note: "", problem: null };
  return { ...of, similar: scene.similar.map(one), coactive: scene.coactive.map(one) };
}

function check(values: Record<string, unknown>): ExtractionCheck {
  const errors: Record<string, string> = {};
  const tokens = Number(String(values.tokens).replaceAll(",", ""));
  if (!(tokens >= 1)) errors.tokens = `Tokens is ${values.tokens}. Enter 1 or more; 1,000,000 is usual.`;
  if (!String(values.corpus).trim()) errors.corpus = "Corpus is empty. Enter a dataset, a file or a folder.";
  const bytes = { disk_bytes: 58e6, disk_free: 41e9, memory_bytes: 1.4e9, memory_free: 6.1e9 };
  return { ...real.check, errors, device: "cuda:0", seconds: 110, ...bytes };
}

// ------------------------------------------------------------------------------------------------ the stand-in

export interface ViewerOptions extends FakeOptions<ViewerCommand> {
  /** Tokens and labels that nobody should trust. */
  hostile?: boolean;
  /** The library has no SAE. */
  noSaes?: boolean;
  /** What is different about loss effects and logit effects. */
  loss?: Partial<LossEffectData>;
  logits?: Partial<FeatureLogitsData>;
}

const numbers = (value: unknown, values: readonly number[]) =>
  new Numbers(value, ["activations"], [new DataView(Float32Array.from(values).buffer)]);

export class FakeViewer extends FakeWidget<ViewerState, ViewerCommand> {
  private readonly notes = new Map<number, FeatureNotes>();

  constructor(
    state: ViewerState = viewer(),
    override readonly options: ViewerOptions = {},
  ) {
    super("extraction_viewer", state, options);
  }

  private get open(): OpenExtraction {
    return this.state.open ?? opened();
  }

  protected readonly answers: Answers<ViewerCommand> = {
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
      this.setState({ view: view as ViewerState["view"], open: id === this.open.id ? this.open : other });
    },
    query_features: ({ query, offset = 0, limit = 100 }) => {
      const found = this.query(query as FeatureQuery, this.open.d_sae);
      const rows = found.slice(offset, offset + limit).map((index) => this.row(index));
      return { matching: found.length, offset, max_density: 0.04, rows };
    },
    step_feature: ({ query, index, step }) => {
      const rows = this.query(query as FeatureQuery, this.open.d_sae);
      const here = rows.indexOf(index);
      const random = Math.floor(noise(this.sent.length) * rows.length);
      const next_live = rows.findIndex((index, i) => i > here && featureRow(index).density > 0);
      const row = { here, previous: here - 1, next: here + 1, random, next_live }[step];
      const found = row >= 0 ? (rows[row] ?? null) : null;
      return { index: found, row: found === null ? null : row };
    },
    open_feature: ({ index }) => {
      const { page, values } = featurePage(this.open, index, this.options.hostile);
      return numbers({ ...page, notes: this.notes.get(index) ?? page.notes }, values);
    },
    feature_logits: ({ index }) => ({ ...real.logits, ...scene.logits, index, ...this.options.logits }),
    feature_relations: ({ index }) => relations(index, this.options.hostile),
    expand_example: ({ position }) => {
      const { read, values } = tokenise(scene.context);
      return numbers({ position, peak: values.indexOf(38.2), ...read, complete: true, note: "" }, values);
    },
    test_text: ({ index, text }) => {
      const { read, values } = tokenise(text);
      const found = { max: Math.max(0, ...values), fired: values.filter((value) => value > 0).length };
      return numbers({ index, ...read, ...found, seconds: 0.04, note: "BOS is left out." }, values);
    },
    read_prompt: (command) => this.reading(command),
    edit_feature: (command) => this.edit(command, this.open),
    suggest_label: ({ index }) => ({ index, text: "words for ships", by: "offline heuristic", note: "" }),
    label_features: () => ({ labelled: 6852, skipped: 412 }),
    export_features: ({ path }) => ({ path: `/workspace/${path}`, size_bytes: 12_000 }),
    import_labels: () => ({ imported: 120, skipped: 3 }),
  };

  private edit(command: Extract<ViewerCommand, { kind: "edit_feature" }>, open: OpenExtraction): FeatureNotes {
    const { index } = command;
    const before = this.notes.get(index) ?? featurePage(open, index).page.notes;
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

  private row(index: number): FeatureRow {
    const row = featureRow(index);
    const notes = this.notes.get(index);
    const first = notes?.labels[0];
    const said = notes ? { starred: notes.starred, label: first?.text ?? "", auto: first?.source === "auto" } : {};
    const wild = this.options.hostile && row.label ? { label: `${HOSTILE} ${"y".repeat(10_000)}` } : {};
    return { ...row, ...wild, ...said };
  }

  private query({ search, show, sort, descending }: FeatureQuery, n: number): number[] {
    const all = Array.from({ length: n }, (_, i) => i);
    if (search === "" && show === "all" && sort === "index") return descending ? all.reverse() : all;
    const shown: Record<string, (row: FeatureRow) => boolean> = {
      all: () => true,
      labelled: (row) => row.label !== "",
      unlabelled: (row) => row.label === "",
      starred: (row) => row.starred,
      dead: (row) => row.density === 0,
      live: (row) => row.density > 0,
      dense: (row) => row.density > 0.01,
    };
    const has = (row: FeatureRow) => `${row.label} ${row.top_tokens.join("")}`.includes(search);
    const rows = all.map((index) => this.row(index)).filter((row) => has(row) && shown[show]?.(row));
    const of = (row: FeatureRow) => (sort === "label" ? row.label || "~" : (row[sort] ?? -1));
    rows.sort((a, b) => (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : a.index - b.index));
    if (descending) rows.reverse();
    return rows.map((row) => row.index);
  }

  private saes({ source, model, search }: Extract<ViewerCommand, { kind: "list_saes" }>): SaeChoices {
    if (this.options.noSaes) return { rows: [], total: 0, sources: [], models: [], note: "" };
    const is = (asked: string | null | undefined, value: string | null) => (asked ?? value) === value;
    const matches = (one: SaeChoice) =>
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

  private change(id: string, change: Partial<ExtractionCard>): void {
    this.setState({ cards: patched(this.state.cards, [id], change) });
  }

  private act(id: string, action: string): void {
    if (action === "delete") this.setState({ cards: this.state.cards.filter((card) => card.id !== id) });
    else if (action === "pause") {
      this.change(id, { status: "pausing" });
      setTimeout(() => this.change(id, { status: "paused" }), 400);
    } else this.change(id, { status: action === "resume" ? "running" : "cancelled" });
  }

  private reading(command: Extract<ViewerCommand, { kind: "read_prompt" }>): Numbers {
    const { read } = tokenise(command.text);
    const made = [7451, 11_873, 7487, 7470, 310, 13_002, 9120].map((index, r) => ({
      index,
      values: read.tokens.map((_, t) => (noise(index, t) < 0.72 ? 0 : 40 * noise(index, t, 9) ** 2 + 0.2 * r)),
    }));
    const rank = ({ values }: (typeof made)[number]) => {
      if (command.rank_by === "token") return values[command.token ?? 0] ?? 0;
      return command.rank_by === "sum" ? values.reduce((a, b) => a + b, 0) : Math.max(...values);
    };
    made.sort((a, b) => rank(b) - rank(a));
    const rows = made.map(({ index, values }) => {
      const { label, auto, top_tokens, density } = featureRow(index);
      const max = Math.max(...values);
      return { index, label, auto, top_tokens, density, max, own_max: max * 1.1 };
    });
    const hidden = command.hide_dense ? 31 : 0;
    const value = { ...read, rows, firing: 38, hidden, note: "BOS is left out." };
    return numbers(
      value,
      made.flatMap(({ values }) => values),
    );
  }
}
