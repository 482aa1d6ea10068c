/** A made-up library, for the demo page and the tests. */
import {
  ALL_SAES,
  type Choice,
  EMPTY_BROWSER,
  type Histogram,
  type SaeBrowserState,
  type SaeCard,
  type SaeDetails,
} from "../src/lib/wire";

const now = Date.now() / 1000;
export const HOSTILE = "<img src=x onerror=alert(1)>";

export function sae(changes: Partial<SaeCard> = {}): SaeCard {
  return {
    id: `sae_${changes.name ?? "gpt2-l6-topk-k32"}`,
    name: "gpt2-l6-topk-k32",
    source: "local",
    source_label: "Local",
    canonical: false,
    model: "gpt2",
    layer: 6,
    hook_name: "blocks.6.hook_resid_post",
    site: "residual",
    architecture: "TopK, k 32",
    d_in: 768,
    d_sae: 16_384,
    d_out: null,
    format: "saelens",
    format_label: "SAELens",
    features_extracted: 0,
    size_bytes: 101_000_000,
    created_at: now - 240,
    training_id: null,
    training_name: null,
    fvu: null,
    fvu_label: "FVU",
    ce_loss_score: null,
    tags: [],
    state: "ok",
    state_note: "",
    ...changes,
  };
}

export const SAES: SaeCard[] = [
  sae({
    name: "gemma-scope-2b-res-l12-16k-l0-82",
    source: "gemma_scope",
    source_label: "Gemma Scope",
    canonical: true,
    model: "google/gemma-2-2b",
    layer: 12,
    hook_name: "blocks.12.hook_resid_post",
    architecture: "JumpReLU, L0 82",
    d_in: 2304,
    size_bytes: 302_000_000,
    features_extracted: 16_384,
    created_at: now - 120,
  }),
  sae({
    source: "trained",
    source_label: "Trained",
    training_id: "train_1",
    training_name: "gpt2-l6-topk-k32",
    fvu: 0.118,
    fvu_label: "FVU (held out)",
    ce_loss_score: 0.957,
  }),
  sae({
    name: "pythia-70m-deduped-res-sm-l3",
    source: "huggingface",
    source_label: "Hugging Face",
    model: "EleutherAI/pythia-70m-deduped",
    layer: 3,
    hook_name: "blocks.3.hook_resid_post",
    architecture: "Standard, L0 54",
    d_in: 512,
    d_sae: 32_768,
    size_bytes: 134_000_000,
    format: "sparsify",
    format_label: "sparsify",
    created_at: now - 3 * 3600,
  }),
  sae({
    name: "gemma-2-2b-l7-transcoder",
    source: "huggingface",
    source_label: "Hugging Face",
    model: "google/gemma-2-2b",
    layer: 7,
    hook_name: "blocks.7.ln2.hook_normalized",
    site: "normalised residual before the MLP",
    architecture: "JumpReLU transcoder",
    d_in: 2304,
    d_out: 2560,
    size_bytes: 302_000_000,
    tags: ["to read", "transcoders"],
    created_at: now - 2 * 86_400,
  }),
  sae({
    name: "lab-run-0412",
    model: "Qwen/Qwen3-0.6B",
    layer: 14,
    hook_name: "blocks.14.hook_mlp_out",
    site: "MLP output",
    architecture: "TopK, k 64",
    d_in: 1024,
    d_sae: 24_576,
    size_bytes: 201_000_000,
    state: "missing",
    state_note: "sae.safetensors is no longer in its folder.",
    created_at: now - 9 * 86_400,
  }),
  sae({
    name: "lab-run-0413",
    model: "Qwen/Qwen3-0.6B",
    layer: 14,
    hook_name: "blocks.14.hook_mlp_out",
    site: "MLP output",
    architecture: "TopK, k 64",
    d_in: 1024,
    d_sae: 24_576,
    size_bytes: 201_000_000,
    state: "changed",
    state_note: "cfg.json has 512 bytes; it had 498 when it was added.",
    created_at: now - 10 * 86_400,
  }),
];

const FACETS = {
  source: "source_label",
  model: "model",
  layer: "layer",
  architecture: "architecture",
  format: "format_label",
} as const;

function choices(cards: readonly SaeCard[], facet: keyof typeof FACETS): Choice[] {
  const found = new Map<string, Choice>();
  for (const card of cards) {
    const value = card[facet];
    if (value === null) continue;
    const before = found.get(String(value));
    const label = String(card[FACETS[facet]]).split(",")[0] ?? "";
    found.set(String(value), { value: String(value), label, count: (before?.count ?? 0) + 1 });
  }
  return [...found.values()];
}

/** The state over these SAEs; one page of them is shown. */
export function library(cards: readonly SaeCard[], changes: Partial<SaeBrowserState> = {}): SaeBrowserState {
  return {
    ...EMPTY_BROWSER,
    revision: 1,
    cards: cards.slice(0, 50),
    matching: cards.length,
    matching_bytes: cards.reduce((sum, card) => sum + card.size_bytes, 0),
    total: cards.length,
    query: ALL_SAES,
    facets: {
      source: choices(cards, "source"),
      model: choices(cards, "model"),
      layer: choices(cards, "layer"),
      architecture: choices(cards, "architecture"),
      format: choices(cards, "format"),
    },
    export_formats: [
      { value: "saelens", label: "SAELens", count: null },
      { value: "sparsify", label: "sparsify", count: null },
    ],
    updated_at: now,
    ...changes,
  };
}

const bell = (n: number, peak: number) =>
  Array.from({ length: n }, (_, i) => Math.round(peak * Math.exp(-(((i - n * 0.47) / (n * 0.14)) ** 2))));

export function histogram(changes: Partial<Histogram> = {}): Histogram {
  const n = 40;
  return {
    title: "Decoder norms",
    note: "mean 1, 0.942 to 1.058",
    x_label: "‖W_dec row‖",
    edges: Array.from({ length: n + 1 }, (_, i) => 0.94 + (0.12 * i) / n),
    counts: bell(n, 1180),
    log: false,
    digits: 3,
    zeros: 0,
    zeros_label: "",
    summary: "Decoder norms: 16,384 latents by the norm of their decoder row, from 0.942 to 1.058, mean 1.",
    ...changes,
  };
}

export const HISTOGRAMS: Histogram[] = [
  histogram(),
  histogram({
    title: "Feature density",
    note: "mean 3.1e-4",
    x_label: "share of tokens",
    edges: Array.from({ length: 41 }, (_, i) => 10 ** (-6 + (5 * i) / 40)),
    counts: bell(40, 1210),
    log: true,
    digits: 2,
    zeros: 412,
    zeros_label: "never",
    summary: "Feature density: 16,384 latents by the share of tokens on which they fire. 412 are 0.",
  }),
  histogram({ title: "Encoder norms", note: "mean 0.84, 0.5 to 1.2", x_label: "‖W_enc column‖" }),
  histogram({ title: "Thresholds", note: "mean 2.31, 0.4 to 6.1", x_label: "threshold" }),
];

export function details(card: SaeCard): SaeDetails {
  return {
    sae_id: card.id,
    facts: [
      { label: "Size", value: "302 MB on disk, float32", code: false },
      { label: "Added", value: "18 Nov 2026 from Hugging Face", code: false },
      { label: "Repository", value: "google/gemma-scope-2b-pt-res", code: true },
      { label: "Variant", value: "layer_12/width_16k/average_l0_82", code: true },
      { label: "Revision", value: "fd571b47c1c6", code: true },
      { label: "Base model", value: card.model ?? "–", code: false },
      { label: "Hook name", value: card.hook_name ?? "–", code: true },
      { label: "Format", value: card.format_label, code: false },
      { label: "ID", value: card.id, code: true },
    ],
    settings: [
      { name: "architecture", value: "jumprelu", label: "" },
      { name: "d_in", value: "2,304", label: "" },
      { name: "d_sae", value: "16,384", label: "" },
      { name: "metadata.model_name", value: "google/gemma-2-2b", label: "" },
      { name: "metadata.description", value: HOSTILE, label: "" },
    ],
    problem:
      card.state === "missing"
        ? { what: "The files of the SAE are not here.", where: "/data/lab", hint: "Locate them.", kind: "error" }
        : null,
    snippets: [
      {
        label: "With saewidgets",
        code: `import saewidgets as sw\nsae = sw.Workspace().saes.load("${card.id}")     # JumpReLU, d_sae 16,384 × d_in 2,304`,
      },
      { label: "With SAELens", code: 'from sae_lens import SAE\nsae = SAE.load_from_disk("/data/saes/1")' },
    ],
    name: card.name,
    notes: "Used in the March talk.",
    tags: card.tags,
  };
}
