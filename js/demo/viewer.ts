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
import { type FakeOptions, FakeWidget, Numbers } from "./fake";
import states from "./states.json";

const real = states.features as unknown as {
  state: ViewerState;
  saes: SaeChoices;
  form: ExtractionFormData;
  check: ExtractionCheck;
  page: { value: FeaturePage };
  logits: FeatureLogitsData;
  relations: FeatureRelationsData;
};
const now = Date.now() / 1000;
export const HOSTILE = "<img src=x onerror=alert(1)>";
export const EXT = "ext_sae_demo_1790000000000000";

export function extraction(changes: Partial<ExtractionCard> = {}): ExtractionCard {
  const { name = "demo-l2-topk-16k" } = changes;
  return {
    ...(real.state.cards[0] as ExtractionCard),
    ...{ id: `ext_${name}`, sae_id: `sae_${name}`, name, source: "trained", source_label: "Trained", d_sae: 16_384 },
    ...{ tokens_total: 1_000_000, tokens_done: 1_000_000, dead: 412, dense: 61, size_bytes: 318_000_000 },
    ...{ seconds_running: 372, created_at: now - 600, has_logits: false, logits: null },
    ...changes,
  };
}

export const LOGITS_JOB: LogitsJob = {
  ...{ status: "running", fraction: 0.25, done: 4096, total: 16_384, eta_seconds: 12, phase: "computing" },
  ...{ queue_position: null, note: null },
};

const unknown = { dead: null, dense: null };
export const RUNNING = extraction({
  ...{ name: "gpt2-l6-topk-k32", model: "gpt2", status: "running", tokens_done: 410_000, fraction: 0.41, rate: 9020 },
  ...{ eta_seconds: 65, seen: 11_872, ...unknown, size_bytes: null },
});
const HUB = { source: "huggingface", source_label: "Hugging Face", model: "EleutherAI/pythia-70m-deduped" };
export const FAILED = extraction({
  ...{
    name: "pythia-70m-deduped-res-sm-l3",
    ...HUB,
    status: "failed",
    tokens_done: 360_448,
    fraction: 0.36,
    ...unknown,
  },
  note: {
    what: "Out of memory on cuda:0 at 360,448 tokens.",
    where: null,
    hint: "It needed 0.4 GB more. Lower Contexts per forward (now 64) or use the CPU; Resume keeps what is done.",
    kind: "error",
  },
});
const GEMMA = { source: "gemma_scope", source_label: "Gemma Scope", model: "google/gemma-2-2b" };
export const CARDS = [RUNNING, extraction({ name: "gemma-scope-2b-res-l12-16k-l0-82", ...GEMMA }), FAILED];

export function opened(changes: Partial<OpenExtraction> = {}): OpenExtraction {
  return {
    ...{ id: EXT, sae_id: "sae_demo", name: "demo-l2-topk-16k", model: "demo", hook_name: "blocks.2.hook_resid_post" },
    ...{ d_sae: 16_384, n_tokens: 1_000_000, n_contexts: 3906, context_size: 256, n_documents: 3906, dead: 412 },
    ...{ dense: 61, labelled: 9120, starred: 3, live: true, live_note: "" },
    versions: [
      { value: EXT, label: "19 Nov, 1M tokens", count: null },
      { value: `${EXT}-old`, label: "2 Nov, 200k tokens", count: null },
    ],
    ...changes,
  };
}

export function viewer(changes: Partial<ViewerState> = {}): ViewerState {
  const open = changes.open === undefined ? opened() : changes.open;
  const view = { ...FIRST_VIEW, extraction_id: open?.id ?? null, feature: open ? 7451 : null };
  const all = { revision: 1, cards: CARDS, total: 3, active: 1, n_saes: 4, view, updated_at: now };
  return { ...EMPTY_VIEWER, ...all, ...changes, open };
}

const choice = (changes: Partial<SaeChoice>): SaeChoice => ({ ...(real.saes.rows[0] as SaeChoice), ...changes });
const SAES: SaeChoice[] = [
  choice({
    ...{ id: "sae_gpt2", name: "gpt2-l6-topk-k32", source: "trained", source_label: "Trained", model: "gpt2" },
    ...{ layer: 6, d_sae: 16_384, features_extracted: "none" },
  }),
  choice({
    ...{ id: "sae_gemma", name: "gemma-scope-2b-res-l12-16k-l0-82", ...GEMMA, layer: 12, d_sae: 16_384 },
    features_extracted: "16,384",
  }),
  choice({
    ...{ id: "sae_pythia", name: "pythia-70m-deduped-res-sm-l3", ...HUB, layer: 3, d_sae: 32_768 },
    features_extracted: "13,434 so far",
  }),
];

const TYPED: Record<string, string> = { corpus: "wikimedia/wikipedia", tokens: "1,000,000", examples: "20" };
const NAMES = ["corpus", "tokens", "context_size", "examples", "per_interval", "min_activation"];
const FIELDS = real.form.fields
  .filter(({ name }) => [...NAMES, "exclude_special_tokens", "max_norm_ratio"].includes(name))
  .map((field) => ({ ...field, value: TYPED[field.name] ?? field.value }));

// ------------------------------------------------------------------------------------------------ features

/** A number from 0 to 1 that depends on nothing but its seeds. */
function noise(...seeds: number[]): number {
  let h = 2166136261;
  for (const seed of seeds) h = Math.imul(h ^ (seed + 0x9e3779b9), 16777619) ^ (h >>> 13);
  h = Math.imul(h ^ (h >>> 15), 2246822507);
  return ((h ^ (h >>> 13)) >>> 0) / 4294967296;
}

const LABELS = [
  ...["months and dates in chronicles", "negation after a modal verb", "weather at sea: wind, gale, squall"],
  ...["opening quotation mark before speech", "legislative bodies and sessions", "superlatives: greatest, largest"],
  ...["numbers written as words", "kinship: brother, daughter, uncle", "treaties and foreign powers"],
  ...["body parts in motion: hand, eye, arm", "sums of money: dollars, cents", "seasons and the harvest"],
  "public roads and canals",
];
const CHIPS = [" Bal ebec Tash", " thou hast thee", " Esq Hon Rev", "teenth tieth ieth", " whale whales sperm"];

function featureRow(index: number): FeatureRow {
  if (index === 7451) {
    const score = { density: 0.00238, max: 41.7013, score: 0.86, starred: true };
    return { index, label: "ships and sailing vessels", auto: false, top_tokens: [" ship"], ...score };
  }
  const dead = index === 7460 || noise(index, 5) < 0.025;
  const labelled = !dead && noise(index, 1) < 0.6;
  return {
    index,
    label: labelled ? (LABELS[Math.floor(noise(index, 2) * LABELS.length)] ?? "") : "",
    auto: labelled,
    top_tokens: dead ? [] : (CHIPS[Math.floor(noise(index, 3) * CHIPS.length)]?.match(/ ?\w+/g) ?? []),
    density: dead ? 0 : 10 ** (-6 + 4.6 * noise(index, 4)),
    max: dead ? 0 : 2 + 40 * noise(index, 6),
    score: labelled ? noise(index, 7) : null,
    starred: false,
  };
}

/** Sentences with the strongest token between bars. */
const SENTENCES = [
  "The sailors said that it was the largest| ship| that had ever been seen in those waters, and the captain was proud of her.",
  "On the quay, the men saw that the Pequod was a| ship| of the old school, rather small if anything; with an old-fashioned look about her.",
  "In the morning we came alongside the| vessel| in a boat, and hailed her captain.\nHe did not answer at first.",
  "He had served for years on a Nantucket whal|er|, homeward bound and full of oil, when the storm came.",
  "In that year no fewer than four frig|ates| were fitted out that year at the public expense of the colony.",
  "She shook from stem to stern, and all her timbers groaned as the| hull| took the sea again and again.",
  "When the smoke cleared we lowered a| boat| and pulled for the shore with all our strength.",
  "Against the pale evening the| masts| stood bare against a grey sky, and nothing moved.",
  "The bill gave money for the| harbor| improvements provided for by the last Congress of the United States.",
  "Before the bell rang twice, all hands on| deck| before the watch was called to supper.",
];
const WARM: Record<string, number> = {
  ...{ " Pequod": 11.2, " boat": 14.6, " captain": 4.3, " timbers": 6.7, " shore": 0.9, " small": 1.9, " grey": 0.3 },
  " sailors": 3.1,
};
const OWN: Record<string, number> = { ship: 38.2, schooner: 29.6, harbor: 4.4, captain: 3.7, crew: 6.1, left: 1.1 };
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
    const [left = "", strong = "", right = ""] = SENTENCES[n % SENTENCES.length]?.split("|") ?? [];
    const own = index === 7451 ? strong : (row.top_tokens[n % 3] ?? strong);
    const words = [...pieces(left), own, ...pieces(right)];
    if (hostile) words.splice(1, 0, ...WILD);
    const peak = words.indexOf(own, pieces(left).length);
    values.push(...words.map((word, i) => (i === peak ? value : Math.min(value, ((WARM[word] ?? 0) * max) / 41.7))));
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
  const tokens = [
    { token: " ship", count: 9, share: 0.45, mean: 36.2 },
    { token: " vessel", count: 6, share: 0.3, mean: 31 },
    { token: hostile ? HOSTILE : " boat", count: 5, share: 0.25, mean: 20.4 },
  ];
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
  const values = words.map((word) => OWN[word.trim()] ?? 0);
  return { read: { texts, tokens: words.map((word) => texts.indexOf(word)) }, values };
}

function logits(index: number): FeatureLogitsData {
  const of = (tokens: string[], values: number[]) => tokens.map((token, i) => ({ token, logit: values[i] as number }));
  return {
    ...real.logits,
    index,
    raises: of([" ship", " vessel", " ships", "board", " sail"], [1.94, 1.71, 1.55, 1.12, 0.97]),
    lowers: of([" Congress", " dollars", " he", " chapter", " law"], [-0.81, -0.77, -0.52, -0.49, -0.41]),
  };
}

function relations(index: number, hostile = false): FeatureRelationsData {
  const one = (other: number, value: number) => {
    const { label, top_tokens } = featureRow(other);
    return { index: other, label: hostile ? HOSTILE : label, top_tokens, value };
  };
  return {
    ...{ index, sampled: 2048, note: "", problem: null },
    similar: [one(2210, 0.61), one(11_873, 0.44), one(7452, 0.38), one(904, 0.35)],
    coactive: [one(13_002, 0.71), one(11_873, 0.22), one(7452, 0.18), one(5520, 0.16)],
  };
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
const CONTEXT = `The night was dark.\nNobody on the quay could tell where the old ship lay at anchor, for her captain had put out every light, and the crew kept below until the tide would turn. ${"The sea was calm and the wind had gone to sleep. ".repeat(5)}`;

export class FakeViewer extends FakeWidget<ViewerState, ViewerCommand> {
  private readonly notes = new Map<number, FeatureNotes>();

  constructor(
    state: ViewerState = viewer(),
    override readonly options: ViewerOptions = {},
  ) {
    super("extraction_viewer", state, options);
  }

  protected answer(command: ViewerCommand): unknown {
    const open = this.state.open ?? opened();
    const { cards, view } = this.state;
    switch (command.kind) {
      case "list_saes":
        return this.saes(command);
      case "extraction_form": {
        const { name = "gpt2", d_sae = 16_384 } = SAES.find((one) => one.id === command.sae_id) ?? {};
        return { sae_id: command.sae_id, name, d_sae, fields: FIELDS };
      }
      case "check_extraction":
        return check(command.values);
      case "start_extraction": {
        const name = SAES.find((one) => one.id === command.sae_id)?.name ?? "new";
        const queued = { status: "queued", queue_position: 1, tokens_done: 0, fraction: 0 };
        const all = [extraction({ id: "ext_new", name, ...queued }), ...cards];
        this.setState({ cards: all, total: this.state.total + 1, active: this.state.active + 1 });
        return { extraction_id: "ext_new" };
      }
      case "try_demo":
        this.setState({ open: opened(), view: { ...view, extraction_id: EXT } });
        return { extraction_id: EXT };
      case "extraction_action":
        return this.act(command.extraction_id, command.action);
      case "show_download":
        return this.setState({ below: command.shown ? "download" : "" }) ?? null;
      case "logits_action": {
        const status = { start: "running", resume: "running", pause: "paused", cancel: "" }[command.action];
        return this.change(command.extraction_id, { logits: status ? { ...LOGITS_JOB, status } : null });
      }
      case "read_loss_effect":
        return { index: command.index, effect: -0.184, loss: 2.31, problem: null, ...this.options.loss };
      case "show_view": {
        const id = command.view.extraction_id;
        const name = cards.find((card) => card.id === id)?.name;
        const other = id === null ? null : opened({ id, ...(name ? { name } : {}) });
        return (
          this.setState({ view: command.view as ViewerState["view"], open: id === open.id ? open : other }) ?? null
        );
      }
      case "query_features": {
        const { offset = 0, limit = 100 } = command;
        const rows = this.query(command.query as FeatureQuery, open.d_sae);
        const piece = rows.slice(offset, offset + limit).map((index) => this.row(index));
        return { matching: rows.length, offset, max_density: 0.04, rows: piece };
      }
      case "step_feature": {
        const rows = this.query(command.query as FeatureQuery, open.d_sae);
        const here = rows.indexOf(command.index);
        const random = Math.floor(noise(this.sent.length) * rows.length);
        const next_live = rows.findIndex((index, i) => i > here && featureRow(index).density > 0);
        const row = { here, previous: here - 1, next: here + 1, random, next_live }[command.step];
        const index = row >= 0 ? (rows[row] ?? null) : null;
        return { index, row: index === null ? null : row };
      }
      case "open_feature": {
        const { page, values } = featurePage(open, command.index, this.options.hostile);
        return numbers({ ...page, notes: this.notes.get(command.index) ?? page.notes }, values);
      }
      case "feature_logits":
        return { ...logits(command.index), ...this.options.logits };
      case "feature_relations":
        return relations(command.index, this.options.hostile);
      case "expand_example": {
        const { read, values } = tokenise(CONTEXT);
        const { position } = command;
        return numbers({ position, peak: values.indexOf(38.2), ...read, complete: true, note: "" }, values);
      }
      case "test_text": {
        const { read, values } = tokenise(command.text);
        const found = { max: Math.max(0, ...values), fired: values.filter((value) => value > 0).length };
        return numbers({ index: command.index, ...read, ...found, seconds: 0.04, note: "BOS is left out." }, values);
      }
      case "read_prompt":
        return this.reading(command);
      case "edit_feature":
        return this.edit(command, open);
      case "suggest_label":
        return { index: command.index, text: "words for ships", by: "offline heuristic", note: "" };
      case "label_features":
        return { labelled: 6852, skipped: 412 };
      case "export_features":
        return { path: `/workspace/${command.path}`, size_bytes: 12_000 };
      case "import_labels":
        return { imported: 120, skipped: 3 };
      default:
        return null;
    }
  }

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

  private change(id: string, change: Partial<ExtractionCard>): null {
    this.setState({ cards: this.state.cards.map((card) => (card.id === id ? { ...card, ...change } : card)) });
    return null;
  }

  private act(id: string, action: string): null {
    if (action === "delete") this.setState({ cards: this.state.cards.filter((card) => card.id !== id) });
    else if (action === "pause") {
      this.change(id, { status: "pausing" });
      setTimeout(() => this.change(id, { status: "paused" }), 400);
    } else this.change(id, { status: action === "resume" ? "running" : "cancelled" });
    return null;
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
