/** Made-up features, for the demo page and the tests. */
import {
  EMPTY_VIEWER,
  type Example,
  type ExampleGroup,
  type ExtractionCard,
  type ExtractionField,
  type FeaturePage,
  type FeatureRow,
  FIRST_VIEW,
  type LogitsJob,
  type OpenExtraction,
  type SaeChoice,
  type ViewerState,
} from "../src/lib/wire";

const now = Date.now() / 1000;
export const HOSTILE = "<img src=x onerror=alert(1)>";
export const EXT = "ext_sae_demo_1790000000000000";

export function extraction(changes: Partial<ExtractionCard> = {}): ExtractionCard {
  return {
    id: `ext_${changes.name ?? "demo-l2-topk-16k"}`,
    sae_id: `sae_${changes.name ?? "demo-l2-topk-16k"}`,
    training_id: null,
    name: "demo-l2-topk-16k",
    source: "trained",
    source_label: "Trained",
    model: "demo",
    d_sae: 16_384,
    status: "completed",
    tokens_total: 1_000_000,
    tokens_done: 1_000_000,
    fraction: 1,
    rate: null,
    eta_seconds: null,
    phase: null,
    queue_position: null,
    seen: null,
    dead: 412,
    dense: 61,
    size_bytes: 318_000_000,
    seconds_running: 372,
    created_at: now - 600,
    note: null,
    has_logits: false,
    logits: null,
    ...changes,
  };
}

export const LOGITS_JOB: LogitsJob = {
  status: "running",
  fraction: 0.25,
  done: 4096,
  total: 16_384,
  eta_seconds: 12,
  phase: "computing",
  queue_position: null,
  note: null,
};

export const RUNNING = extraction({
  name: "gpt2-l6-topk-k32",
  model: "gpt2",
  status: "running",
  tokens_done: 410_000,
  fraction: 0.41,
  rate: 9020,
  eta_seconds: 65,
  seen: 11_872,
  dead: null,
  dense: null,
  size_bytes: null,
});
export const FAILED = extraction({
  name: "pythia-70m-deduped-res-sm-l3",
  source: "huggingface",
  source_label: "Hugging Face",
  model: "EleutherAI/pythia-70m-deduped",
  status: "failed",
  tokens_done: 360_448,
  fraction: 0.36,
  dead: null,
  dense: null,
  note: {
    what: "Out of memory on cuda:0 at 360,448 tokens.",
    where: null,
    hint: "It needed 0.4 GB more. Lower Contexts per forward (now 64) or use the CPU; Resume keeps what is done.",
    kind: "error",
  },
});

export const CARDS: ExtractionCard[] = [
  RUNNING,
  extraction({
    name: "gemma-scope-2b-res-l12-16k-l0-82",
    source: "gemma_scope",
    source_label: "Gemma Scope",
    model: "google/gemma-2-2b",
  }),
  FAILED,
];

export function opened(changes: Partial<OpenExtraction> = {}): OpenExtraction {
  return {
    id: EXT,
    sae_id: "sae_demo",
    name: "demo-l2-topk-16k",
    model: "demo",
    hook_name: "blocks.2.hook_resid_post",
    d_sae: 16_384,
    n_tokens: 1_000_000,
    n_contexts: 3906,
    context_size: 256,
    n_documents: 3906,
    dead: 412,
    dense: 61,
    labelled: 9120,
    starred: 3,
    versions: [
      { value: EXT, label: "19 Nov, 1M tokens", count: null },
      { value: `${EXT}-old`, label: "2 Nov, 200k tokens", count: null },
    ],
    live: true,
    live_note: "",
    ...changes,
  };
}

export function viewer(changes: Partial<ViewerState> = {}): ViewerState {
  const open = changes.open === undefined ? opened() : changes.open;
  return {
    ...EMPTY_VIEWER,
    revision: 1,
    cards: CARDS,
    total: 3,
    active: 1,
    n_saes: 4,
    view: { ...FIRST_VIEW, extraction_id: open?.id ?? null, feature: open ? 7451 : null },
    updated_at: now,
    ...changes,
    open,
  };
}

export const SAES: SaeChoice[] = [
  {
    id: "sae_gpt2",
    name: "gpt2-l6-topk-k32",
    source: "trained",
    source_label: "Trained",
    model: "gpt2",
    layer: 6,
    d_sae: 16_384,
    features_extracted: "none",
    state: "ok",
  },
  {
    id: "sae_gemma",
    name: "gemma-scope-2b-res-l12-16k-l0-82",
    source: "gemma_scope",
    source_label: "Gemma Scope",
    model: "google/gemma-2-2b",
    layer: 12,
    d_sae: 16_384,
    features_extracted: "16,384",
    state: "ok",
  },
  {
    id: "sae_pythia",
    name: "pythia-70m-deduped-res-sm-l3",
    source: "huggingface",
    source_label: "Hugging Face",
    model: "EleutherAI/pythia-70m-deduped",
    layer: 3,
    d_sae: 32_768,
    features_extracted: "13,434 so far",
    state: "ok",
  },
  {
    id: "sae_lost",
    name: "lab-run-0412",
    source: "local",
    source_label: "Local",
    model: null,
    layer: null,
    d_sae: 4096,
    features_extracted: "none",
    state: "missing",
  },
];

const field = (name: string, label: string, value: string | boolean, hint = "", help = ""): ExtractionField => ({
  name,
  label,
  value,
  hint,
  help,
});

export const FIELDS: ExtractionField[] = [
  field("corpus", "Corpus", "wikimedia/wikipedia", "as in training; any dataset, file or folder", "The text to read."),
  field("tokens", "Tokens", "1,000,000", "rare features need more", "How many tokens to read."),
  field("context_size", "Context length", "256"),
  field("examples", "Examples per feature", "20", "", "Largest activations kept of each feature."),
  field("per_interval", "Per interval", "5", "10 activation intervals", "Examples from each interval."),
  field("min_activation", "Minimum activation", "1 % of max", "", "Below it no example is kept."),
  field("exclude_special_tokens", "Skip special tokens", true),
  field("max_norm_ratio", "Skip tokens with norm above 10 × median", true, "", "Attention sinks drown all others."),
];

// ------------------------------------------------------------------------------------------------ features

/** A number from 0 to 1 that depends on nothing but its seeds. */
export function noise(...seeds: number[]): number {
  let h = 2166136261;
  for (const seed of seeds) h = Math.imul(h ^ (seed + 0x9e3779b9), 16777619) ^ (h >>> 13);
  h = Math.imul(h ^ (h >>> 15), 2246822507);
  return ((h ^ (h >>> 13)) >>> 0) / 4294967296;
}

const LABELS = [
  "months and dates in chronicles",
  "negation after a modal verb",
  "weather at sea: wind, gale, squall",
  "opening quotation mark before speech",
  "legislative bodies and sessions",
  "superlatives: greatest, largest",
  "numbers written as words",
  "kinship: brother, daughter, uncle",
  "treaties and foreign powers",
  "body parts in motion: hand, eye, arm",
  "sums of money: dollars, cents",
  "seasons and the harvest",
  "public roads and canals",
];
const CHIPS = [
  [" Bal", "ebec", " Tash"],
  [" thou", " hast", " thee"],
  [" Esq", " Hon", " Rev"],
  ["teenth", "tieth", "ieth"],
  [" whale", " whales", " sperm"],
];

export const isDead = (index: number): boolean => index === 7460 || noise(index, 5) < 0.025;

export function featureRow(index: number): FeatureRow {
  if (index === 7451) {
    const label = "ships and sailing vessels";
    return {
      index,
      label,
      auto: false,
      top_tokens: [" ship"],
      density: 0.00238,
      max: 41.7013,
      score: 0.86,
      starred: true,
    };
  }
  const dead = isDead(index);
  const labelled = !dead && noise(index, 1) < 0.6;
  return {
    index,
    label: labelled ? (LABELS[Math.floor(noise(index, 2) * LABELS.length)] ?? "") : "",
    auto: labelled,
    top_tokens: dead ? [] : (CHIPS[Math.floor(noise(index, 3) * CHIPS.length)] ?? []),
    density: dead ? 0 : 10 ** (-6 + 4.6 * noise(index, 4)),
    max: dead ? 0 : 2 + 40 * noise(index, 6),
    score: labelled ? noise(index, 7) : null,
    starred: false,
  };
}

const SENTENCES: [string, string, string][] = [
  [
    "The sailors said that it was the largest",
    " ship",
    " that had ever been seen in those waters, and the captain was proud of her.",
  ],
  [
    "On the quay, the men saw that the Pequod was a",
    " ship",
    " of the old school, rather small if anything; with an old-fashioned look about her.",
  ],
  [
    "In the morning we came alongside the",
    " vessel",
    " in a boat, and hailed her captain.\nHe did not answer at first.",
  ],
  ["He had served for years on a Nantucket whal", "er", ", homeward bound and full of oil, when the storm came."],
  ["In that year no fewer than four frig", "ates", " were fitted out that year at the public expense of the colony."],
  ["She shook from stem to stern, and all her timbers groaned as the", " hull", " took the sea again and again."],
  ["When the smoke cleared we lowered a", " boat", " and pulled for the shore with all our strength."],
  ["Against the pale evening the", " masts", " stood bare against a grey sky, and nothing moved."],
  ["The bill gave money for the", " harbor", " improvements provided for by the last Congress of the United States."],
  ["Before the bell rang twice, all hands on", " deck", " before the watch was called to supper."],
];
const WARM: Record<string, number> = {
  " Pequod": 11.2,
  " boat": 14.6,
  " captain": 4.3,
  " timbers": 6.7,
  " shore": 0.9,
  " small": 1.9,
  " grey": 0.3,
  " sailors": 3.1,
};

const pieces = (text: string): string[] => text.match(/\s?[\w'-]+|\n|[^\w\s]/g) ?? [];

/** Texts and how often each comes once; tokens point into it. */
class Texts {
  readonly list: string[] = [];
  private readonly known = new Map<string, number>();

  at(text: string): number {
    const known = this.known.get(text);
    if (known !== undefined) return known;
    this.list.push(text);
    this.known.set(text, this.list.length - 1);
    return this.list.length - 1;
  }
}

export interface Made {
  page: FeaturePage;
  values: number[];
}

/** The page of a feature, with examples whose strongest token has the value given. */
export function featurePage(open: OpenExtraction, index: number, hostile = false): Made {
  const row = featureRow(index);
  const dead = row.density === 0;
  const texts = new Texts();
  const values: number[] = [];
  const max = row.max;
  const example = (n: number, value: number): Example => {
    const [left, strong, right] = SENTENCES[n % SENTENCES.length] ?? ["", "", ""];
    const own = index === 7451 ? strong : (row.top_tokens[n % 3] ?? strong);
    const words = [...pieces(left), own, ...pieces(right)];
    if (hostile) words.splice(1, 0, ` ${HOSTILE}`, "\u0000", "\u202egnirts", "x".repeat(10_000), "\t", "\u200b");
    const peak = words.indexOf(own, pieces(left).length);
    const tokens = words.map((word) => texts.at(word));
    values.push(...words.map((word, i) => (i === peak ? value : Math.min(value, ((WARM[word] ?? 0) * max) / 41.7))));
    return {
      position: 40_212 + 300 * n + Math.round(value),
      value,
      peak,
      tokens,
      before: true,
      after: true,
      offset: 118 + n,
      context: 157 + n,
      document: 40 + n,
    };
  };
  const group = (title: string, low: number | null, high: number | null, share: number, list: number[], from = 0) => {
    const made: ExampleGroup = {
      title,
      low,
      high,
      count: Math.round(share * 2380),
      share: low === null ? null : share,
      token_share: low === null ? null : share * row.density,
      examples: list.map((value, i) => example(i + from, value)),
    };
    return made;
  };
  const at = (share: number) => Number((share * max).toPrecision(3));
  const groups = dead
    ? []
    : [
        group("Top activations", null, null, 1, [max, at(0.964), at(0.933), at(0.9), at(0.866)]),
        group(`Interval ${at(0.3)} – ${at(0.4)}`, at(0.3), at(0.4), 0.081, [at(0.379), at(0.35), at(0.31)], 5),
        group(`Interval ${at(0.01)} – ${at(0.1)}`, at(0.01), at(0.1), 0.51, [at(0.094), at(0.053)], 8),
      ];
  const bins = 48;
  const page: FeaturePage = {
    extraction_id: open.id,
    index,
    density: row.density,
    fired: Math.round(row.density * open.n_tokens),
    n_tokens: open.n_tokens,
    max,
    mean: max * 0.226,
    n_documents: dead ? 0 : 611,
    documents: open.n_documents,
    notes: {
      index,
      labels: row.label
        ? [
            {
              text: hostile ? HOSTILE : row.label,
              description: "",
              source: row.auto ? "auto" : "user",
              by: row.auto ? "offline heuristic, detection 0.81, 90 of 100 judged" : "",
              created_at: now - 86_400,
            },
            ...(row.auto
              ? []
              : [
                  {
                    text: "nautical vessels",
                    description: "Words for ships.",
                    source: "auto" as const,
                    by: "offline heuristic, detection 0.86, 92 of 100 judged",
                    created_at: now - 90_000,
                  },
                ]),
          ]
        : [],
      notes: "",
      starred: row.starred,
    },
    row,
    texts: [],
    groups,
    histogram: dead
      ? null
      : {
          title: "Activations",
          note: "non-zero, log counts",
          x_label: "activation",
          edges: Array.from({ length: bins + 1 }, (_, i) => (i / bins) * max),
          counts: Array.from({ length: bins }, (_, i) => Math.round(480 * Math.exp(-i / 7) + 6 * noise(index, i))),
          log: false,
          digits: 3,
          zeros: 0,
          zeros_label: "",
          summary: `Histogram of non-zero activations, 0 to ${max.toFixed(1)}`,
        },
    tokens: dead
      ? []
      : [
          { token: " ship", count: 9, share: 0.45, mean: 36.2 },
          { token: " vessel", count: 6, share: 0.3, mean: 31 },
          { token: hostile ? HOSTILE : " boat", count: 5, share: 0.25, mean: 20.4 },
        ],
    facts: [],
    link: `sw.ExtractionViewer(view={"extraction_id": "${open.id}", "feature": ${index}})`,
    list_max: max,
  };
  page.texts = texts.list;
  return { page, values };
}

/** A text as tokens, with what feature 7451 would say of each. */
export function tokenise(text: string): { texts: string[]; tokens: number[]; values: number[] } {
  const words = pieces(text);
  const texts = new Texts();
  const known: Record<string, number> = {
    ship: 38.2,
    ooner: 29.6,
    schooner: 29.6,
    harbor: 4.4,
    captain: 3.7,
    crew: 6.1,
    left: 1.1,
  };
  return {
    tokens: words.map((word) => texts.at(word)),
    texts: texts.list,
    values: words.map((word) => known[word.trim()] ?? 0),
  };
}
