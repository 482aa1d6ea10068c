/** Made-up runs in every state, for the demo page and the tests. */

import type { StoreRow, TemplateRow } from "../src/lib/wire";
import {
  type Card,
  type CheckResult,
  type CompareState,
  EMPTY_STATE,
  type FormData,
  type FormField,
  type PanelState,
} from "../src/lib/wire";

const now = Date.now() / 1000;

export function card(changes: Partial<Card> = {}): Card {
  return {
    id: `train_${changes.name ?? "gpt2-l6-topk-k32"}`,
    name: "gpt2-l6-topk-k32",
    status: "running",
    model: "gpt2",
    hook_name: "blocks.6.hook_resid_post",
    hook_name_out: null,
    stored: false,
    architecture: "TopK k 32",
    d_sae: 16_384,
    device: "cuda:0",
    tokens_total: 10_000_000,
    tokens_done: 6_201_344,
    step: 1514,
    fraction: 0.62,
    rate: 48_210,
    eta_seconds: 79,
    phase: null,
    queue_position: null,
    tiles: { loss: 0.2841, l0: 32, fvu: 0.118, ce_loss_score: 0.957, dead: 0.021, val_dead: null },
    note: null,
    dead_window_tokens: 1_000_000,
    checkpoint_count: 3,
    checkpoint_bytes: 906_000_000,
    last_checkpoint_step: 1500,
    last_checkpoint_tokens: 6_144_000,
    sae_id: null,
    created_at: now - 200,
    started_at: now - 190,
    finished_at: null,
    heartbeat_at: now,
    seconds_running: 130,
    series: null,
    group_id: null,
    group_name: null,
    retry_of: null,
    continued_from: null,
    continued_step: null,
    retry: null,
    advice: null,
    ...changes,
  };
}

const NONE = { loss: null, l0: null, fvu: null, ce_loss_score: null, dead: null, val_dead: null };

export const CARDS: Card[] = [
  card({ series: 0 }),
  card({
    name: "gpt2-l6-jumprelu",
    status: "paused",
    architecture: "JumpReLU λ 1.5e-3",
    tokens_done: 4_100_096,
    step: 1001,
    fraction: 0.41,
    rate: null,
    eta_seconds: null,
    tiles: { loss: 0.3377, l0: 58.4, fvu: 0.131, ce_loss_score: 0.948, dead: 0.046, val_dead: null },
    last_checkpoint_tokens: 4_100_096,
    last_checkpoint_step: 1001,
    created_at: now - 300,
    series: 1,
  }),
  card({
    name: "gpt2-l6-topk-k48",
    status: "queued",
    architecture: "TopK k 48",
    tokens_done: 0,
    step: 0,
    fraction: 0,
    rate: null,
    eta_seconds: null,
    queue_position: 1,
    tiles: NONE,
    checkpoint_count: 0,
    checkpoint_bytes: 0,
    last_checkpoint_step: null,
    last_checkpoint_tokens: null,
    created_at: now - 100,
  }),
  card({
    name: "gpt2-l6-batchtopk",
    status: "completed",
    architecture: "BatchTopK k 48",
    tokens_done: 10_000_000,
    step: 2441,
    fraction: 1,
    rate: null,
    tiles: { loss: 0.241, l0: 48.1, fvu: 0.109, ce_loss_score: 0.96, dead: 0.019, val_dead: null },
    seconds_running: 302,
    finished_at: now - 1800,
    created_at: now - 2500,
    sae_id: "sae_1",
  }),
  card({
    name: "demo-l2-topk-k24",
    status: "completed",
    model: "demo",
    hook_name: "blocks.2.hook_resid_post",
    architecture: "TopK k 24",
    d_sae: 4096,
    tokens_total: 2_000_000,
    tokens_done: 2_000_000,
    step: 977,
    fraction: 1,
    rate: null,
    tiles: { loss: 0.1932, l0: 24, fvu: 0.087, ce_loss_score: 0.971, dead: 0.008, val_dead: null },
    seconds_running: 161,
    finished_at: now - 4000,
    created_at: now - 4200,
  }),
  card({
    name: "pythia-70m-l3-standard",
    status: "failed",
    model: "EleutherAI/pythia-70m",
    hook_name: "blocks.3.hook_mlp_out",
    architecture: "Standard L1 5",
    d_sae: 8192,
    tokens_done: 1_840_000,
    step: 449,
    fraction: 0.184,
    rate: null,
    eta_seconds: null,
    tiles: { loss: "NaN", l0: null, fvu: null, ce_loss_score: null, dead: null, val_dead: null },
    note: {
      what: "Loss became NaN at step 449 (1.84M tokens).",
      where: null,
      hint: "Last good checkpoint: step 400, FVU 0.164. Lower Learning rate (now 1e-3), or set Gradient clip to 1.0.",
      kind: "nan",
    },
    last_checkpoint_step: 400,
    created_at: now - 5000,
  }),
  card({
    name: "gpt2-l8-topk-k64",
    status: "interrupted",
    hook_name: "blocks.8.hook_resid_post",
    architecture: "TopK k 64",
    d_sae: 32_768,
    tokens_done: 7_300_000,
    step: 1782,
    fraction: 0.73,
    rate: null,
    eta_seconds: null,
    tiles: { loss: 0.221, l0: 64, fvu: 0.092, ce_loss_score: 0.966, dead: 0.033, val_dead: null },
    last_checkpoint_step: 1780,
    heartbeat_at: now - 3600,
    created_at: now - 6000,
  }),
  card({
    name: "gpt2-l6-standard-try",
    status: "stopped",
    architecture: "Standard L1 8",
    tokens_done: 900_000,
    step: 219,
    fraction: 0.09,
    rate: null,
    tiles: { loss: 0.912, l0: 210.4, fvu: 0.402, ce_loss_score: 0.71, dead: 0, val_dead: null },
    checkpoint_count: 2,
    checkpoint_bytes: 604_000_000,
    created_at: now - 7000,
  }),
];

const layer = (number: number, loss: number, fvu: number, ce_loss_score: number, dead: number): Card =>
  card({
    name: `gpt2-l${number}-batchtopk-k48`,
    status: "completed",
    hook_name: `blocks.${number}.hook_resid_post`,
    architecture: "BatchTopK k 48",
    tokens_done: 10_000_000,
    step: 2441,
    fraction: 1,
    rate: null,
    tiles: { loss, l0: 48.1, fvu, ce_loss_score, dead, val_dead: null },
    seconds_running: 302,
    finished_at: now - 900,
    last_checkpoint_step: 2441,
    created_at: now - 1300,
    group_id: "group_1",
    group_name: "gpt2-l4-6-8-batchtopk",
  });

/** Three layers trained by one job. */
export const LAYERS: Card[] = [
  layer(8, 0.2994, 0.129, 0.951, 0.027),
  layer(4, 0.1874, 0.091, 0.968, 0.012),
  layer(6, 0.2362, 0.107, 0.961, 0.018),
];

export const TEMPLATES: TemplateRow[] = [
  {
    id: "tmpl_1",
    name: "GPT-2 small, TopK",
    description: "Layer 6, what most papers start from",
    favorite: true,
    model: "gpt2",
    hook_name: "blocks.6.hook_resid_post",
    corpus: "demo",
    architecture: "TopK k 32",
    d_sae: 16_384,
    updated_at: now - 86_400,
  },
  {
    id: "tmpl_2",
    name: "Pythia-70M, JumpReLU",
    description: "",
    favorite: false,
    model: "EleutherAI/pythia-70m",
    hook_name: "blocks.3.hook_mlp_out",
    corpus: "demo",
    architecture: "JumpReLU λ 1",
    d_sae: 8192,
    updated_at: now - 3600,
  },
];

const RESULTS: [string, string[], boolean[]][] = [
  ["FVU", ["0.118", "0.131", "0.087"], [false, false, true]],
  ["L0", ["32.0", "58.4", "24.0"], [false, false, false]],
  ["CE recovered", ["0.957", "0.948", "0.971"], [false, false, true]],
  ["Dead", ["2.1 %", "4.6 %", "0.8 %"], [false, false, true]],
  ["Throughput", ["48,210 tok/s", "39,870 tok/s", "12,420 tok/s"], [true, false, false]],
];
const point = (name: string, kind: string, label: string, l0: number, y: number, front: boolean) => ({
  id: `train_${name}`,
  name,
  architecture: kind.toLowerCase(),
  kind,
  label,
  l0,
  y,
  front,
  preliminary: front ? "" : "running",
});

export const COMPARE: CompareState = {
  training_ids: [],
  names: [],
  series: [],
  results: RESULTS.map(([label, values, best]) => ({ label, values, best })),
  y_axis: "fvu",
  scope: "gpt2\nblocks.6.hook_resid_post",
  scopes: [
    { value: "gpt2\nblocks.6.hook_resid_post", label: "gpt2 · blocks.6.hook_resid_post", count: 4 },
    { value: "", label: "All models and hooks", count: 9 },
  ],
  points: [
    point("gpt2-l6-topk-k32", "TopK", "k 32", 32, 0.118, true),
    point("gpt2-l6-batchtopk", "BatchTopK", "k 48", 48.1, 0.109, true),
    point("gpt2-l6-jumprelu", "JumpReLU", "λ 1.5e-3", 58.4, 0.131, false),
  ],
  left_out: 1,
  summary: "L0 against FVU, 3 runs. No other run is better at the same sparsity than gpt2-l6-topk-k32.",
  zoomed: false,
};

const DEVICES = [
  { id: "cpu", label: "cpu (2 cores)", total_bytes: null, free_bytes: null },
  { id: "cuda:0", label: "cuda:0 (8.0 GB)", total_bytes: 8e9, free_bytes: 6.1e9 },
];

export function emptyState(): PanelState {
  return { ...EMPTY_STATE, revision: 1, devices: DEVICES, updated_at: now };
}

export function fullState(): PanelState {
  const ids = CARDS.slice(0, 2).map((one) => one.id);
  return {
    ...emptyState(),
    cards: CARDS,
    total: CARDS.length,
    jobs: CARDS.length,
    charts: { ...EMPTY_STATE.charts, training_ids: ids, summaries: ["Loss against tokens, log scale."] },
  };
}

/** With a group, advice, and a job that trains two architectures. */
export function crowdedState(): PanelState {
  const state = fullState();
  const advised = CARDS.map((one, i) => (i === 0 ? { ...one, advice: "Dead latents 52 % after 3M tokens." } : one));
  const cards = [...advised.slice(0, 3), ...LAYERS, ...advised.slice(3)];
  return { ...state, cards, total: cards.length, jobs: CARDS.length + 1 };
}

export function failingState(): PanelState {
  return {
    ...fullState(),
    notice: {
      what: "The catalog is on a network drive.",
      where: null,
      hint: "It works without WAL: slower, and two kernels wait for each other.",
      kind: "warning",
    },
  };
}

// ------------------------------------------------------------------------------------------------ the form

function field(name: string, label: string, changes: Partial<FormField> = {}): FormField {
  return {
    name,
    label,
    help: "",
    type: "text",
    choices: [],
    words: [],
    default: "",
    minimum: null,
    maximum: null,
    optional: false,
    empty: "",
    section: "training",
    group: "",
    architectures: [],
    ...changes,
  };
}

const K = ["topk", "batchtopk"];
const DTYPES = { choices: ["float32", "bfloat16", "float16"], words: ["fp32", "bf16", "fp16"] };

export const FORM: FormData = {
  fields: [
    field("model", "Model", {
      help: 'A Hugging Face id, a local folder, or "demo".',
      default: "demo",
      section: "model",
    }),
    field("corpus", "Dataset", {
      help: '"demo", or the path of a text file or folder.',
      default: "demo",
      section: "model",
    }),
    field("context_size", "Context length", { type: "integer", default: 256, section: "model" }),
    field("precision", "Precision", { type: "choice", ...DTYPES, default: "float32", section: "model" }),
    field("hook_name", "Hook name", {
      help: "Where in the model the activations are read.",
      default: "blocks.2.hook_resid_post",
      section: "where",
    }),
    field("sae.architecture", "Architecture", {
      help: "How the autoencoder keeps few latents active.",
      type: "choice",
      choices: ["standard", "topk", "batchtopk", "jumprelu"],
      words: ["Standard", "TopK", "BatchTopK", "JumpReLU"],
      default: "topk",
      section: "sae",
    }),
    field("sae.d_sae", "Latents (d_sae)", {
      help: "How many latents.",
      type: "integer",
      default: 16_384,
      section: "sae",
    }),
    field("sae.k", "Active latents (k)", {
      help: "How many latents stay active per token. 32 is usual.",
      type: "integer",
      default: 32,
      section: "sae",
      architectures: K,
    }),
    field("sae.l0_coefficient", "Sparsity coefficient", {
      type: "number",
      default: 1,
      section: "sae",
      architectures: ["jumprelu"],
    }),
    field("sae.l1_coefficient", "Sparsity coefficient", {
      type: "number",
      default: 5,
      section: "sae",
      architectures: ["standard"],
    }),
    field("sae.bandwidth", "Bandwidth", { type: "number", default: 0.05, section: "sae", architectures: ["jumprelu"] }),
    field("name", "Name", { default: null, optional: true }),
    field("tokens", "Tokens", { help: "How many activations to train on.", type: "integer", default: 10_000_000 }),
    field("batch_size", "Batch size", { type: "integer", default: 4096 }),
    field("optimizer.lr", "Learning rate", {
      help: "Adam's peak learning rate.",
      type: "number",
      default: 3e-4,
      minimum: 0,
      maximum: 1,
    }),
    field("device", "Device", { default: "auto" }),
    field("seed", "Seed", { type: "integer", default: 0 }),
    field("sae.aux_k", "Auxiliary k", {
      help: "How many dead latents take part in the auxiliary loss.",
      type: "integer",
      default: null,
      optional: true,
      empty: "half of d_in",
      section: "advanced",
      group: "Autoencoder",
      architectures: K,
    }),
    field("optimizer.grad_clip", "Gradient clip", {
      type: "number",
      default: 1,
      optional: true,
      empty: "off",
      section: "advanced",
      group: "Optimiser and schedules",
    }),
    field("optimizer.lr_schedule", "Learning-rate schedule", {
      type: "choice",
      choices: ["constant", "linear", "cosine", "cosine_restarts"],
      words: ["Constant", "Linear", "Cosine", "Cosine restarts"],
      default: "constant",
      section: "advanced",
      group: "Optimiser and schedules",
    }),
    field("activations.prepend_bos", "Start contexts with BOS", {
      type: "boolean",
      default: true,
      section: "advanced",
      group: "Activations",
    }),
  ],
  defaults: { model: "gpt2", corpus: "demo", hook_name: "blocks.6.hook_resid_post" },
  of_model: { demo: { "sae.d_sae": 4096, tokens: 2_600_000 } },
  devices: DEVICES,
  suggestions: { model: ["gpt2", "demo"], corpus: ["demo", "acts_01J8ZQ3V5W7X9Y1A2B3C4D5E6F"] },
  stores: { acts_01J8ZQ3V5W7X9Y1A2B3C4D5E6F: "gpt2 wikipedia" },
};

export const CHECK: CheckResult = {
  fields: {},
  hints: {
    corpus: "2.1M tokens, ships with the package",
    model: "124M parameters, 12 layers, d_model 768",
    layer: "0 to 11; several: 4, 6, 8",
    head: "0 to 11; empty: all",
    hook_name: "d_in 768",
    context_size: "at most 1,024",
    "sae.architecture": "k largest latents kept per token",
    "sae.d_sae": "21.3 × d_in",
    batch_size: "tokens per step",
  },
  pending: [],
  model: { parameters: 124_000_000, layers: 12, d_model: 768, context: 1024, d_in: 768, heads: 12 },
  name: "gpt2-l6-topk-k32",
  trainings: [],
  estimate: {
    device: "cuda:0",
    memory: [
      { label: "Model", bytes: 0.8e9 },
      { label: "SAE", bytes: 0.5e9 },
      { label: "Activations", bytes: 1.6e9 },
    ],
    memory_total_bytes: 2.9e9,
    device_total_bytes: 8e9,
    device_free_bytes: 6.1e9,
    elsewhere: [],
    seconds: 208,
    tokens_per_second: 48_000,
    basis: "measured on this device",
    disk_bytes: 1e9,
    disk_free_bytes: 41e9,
    queue: 1,
    queue_seconds: 79,
    warnings: [],
  },
};

const store = (changes: Partial<StoreRow>): StoreRow => ({
  id: "acts_01J8ZQ3V5W7X9Y1A2B3C4D5E6F",
  name: "gpt2 wikipedia",
  model: "gpt2",
  corpus: "wikimedia/wikipedia",
  hook_names: ["blocks.6.mlp.hook_in", "blocks.6.hook_mlp_out"],
  tokens: 2_000_000,
  size_bytes: 6.1e9,
  problem: "",
  values: { corpus: "acts_01J8ZQ3V5W7X9Y1A2B3C4D5E6F", model: "gpt2", context_size: 256 },
  ...changes,
});

export const STORES: StoreRow[] = [
  store({}),
  store({
    id: "acts_2",
    name: "<b>states</b> of a script",
    model: "",
    hook_names: ["blocks.3.hook_resid_post"],
    values: { corpus: "acts_2" },
  }),
  store({
    id: "acts_3",
    name: "being captured",
    size_bytes: null,
    problem: "Its capture is running. Wait until it has completed.",
  }),
];
