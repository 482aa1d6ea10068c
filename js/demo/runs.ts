/** Runs in every state, patched from those of a real workspace, and a stand-in for the panel's Python half. */
import { fromFloat64 } from "../src/lib/buffers";
import {
  type Card,
  type CheckpointRow,
  type CheckResult,
  type CompareState,
  type ComparisonData,
  type DetailsData,
  EMPTY_STATE,
  type FormData,
  type Over,
  type PanelCommand,
  type PanelState,
  type RunsDone,
  type StoreRow,
  type TemplateRow,
} from "../src/lib/wire";
import { type FakeOptions, FakeWidget, Numbers, type Refusal } from "./fake";
import states from "./states.json";

const real = states.runs as unknown as {
  state: PanelState;
  form: FormData;
  check: CheckResult;
  details: DetailsData;
  comparison: ComparisonData;
  templates: TemplateRow[];
};
const now = Date.now() / 1000;
const tiles = (loss: number | null, l0: number | null, fvu: number | null, ce_loss_score: number | null, dead: number | null) =>
  ({ loss, l0, fvu, ce_loss_score, dead, val_dead: null }); // biome-ignore format: a table
/** How far a run is that does not run now. */
const at = (step: number, tokens_done: number, fraction = tokens_done / 10_000_000) => ({
  ...{ step, tokens_done, fraction, rate: null, eta_seconds: null },
});
const ended = (minutes: number) => ({ finished_at: now - 60 * minutes, created_at: now - 60 * minutes - 700 });

export function card(changes: Partial<Card> = {}): Card {
  return {
    ...(real.state.cards[0] as Card),
    ...{
      id: `train_${changes.name ?? "gpt2-l6-topk-k32"}`,
      name: "gpt2-l6-topk-k32",
      status: "running",
      model: "gpt2",
    },
    ...{ hook_name: "blocks.6.hook_resid_post", architecture: "TopK k 32", d_sae: 16_384, device: "cuda:0" },
    ...{ tokens_total: 10_000_000, tokens_done: 6_201_344, step: 1514, fraction: 0.62, rate: 48_210, eta_seconds: 79 },
    ...{ tiles: tiles(0.2841, 32, 0.118, 0.957, 0.021), dead_window_tokens: 1_000_000, note: null, advice: null },
    ...{ checkpoint_count: 3, checkpoint_bytes: 906e6, last_checkpoint_step: 1500, last_checkpoint_tokens: 6_144_000 },
    ...{ created_at: now - 200, started_at: now - 190, finished_at: null, heartbeat_at: now, seconds_running: 130 },
    ...{ sae_id: null, series: null, group_id: null, group_name: null, phase: null, queue_position: null },
    ...{ retry_of: null, continued_from: null, continued_step: null, retry: null },
    ...changes,
  };
}

export const CARDS: Card[] = [
  card({ series: 0 }),
  card({
    ...{ name: "gpt2-l6-jumprelu", status: "paused", architecture: "JumpReLU λ 1.5e-3", ...at(1001, 4_100_096) },
    ...{
      tiles: tiles(0.3377, 58.4, 0.131, 0.948, 0.046),
      last_checkpoint_tokens: 4_100_096,
      last_checkpoint_step: 1001,
    },
    ...{ created_at: now - 300, series: 1 },
  }),
  card({
    ...{ name: "gpt2-l6-topk-k48", status: "queued", architecture: "TopK k 48", ...at(0, 0), queue_position: 1 },
    ...{ tiles: tiles(null, null, null, null, null), checkpoint_count: 0, checkpoint_bytes: 0 },
    ...{ last_checkpoint_step: null, last_checkpoint_tokens: null, created_at: now - 100 },
  }),
  card({
    ...{ name: "gpt2-l6-batchtopk", status: "completed", architecture: "BatchTopK k 48", ...at(2441, 10_000_000) },
    ...{ tiles: tiles(0.241, 48.1, 0.109, 0.96, 0.019), seconds_running: 302, sae_id: "sae_1", ...ended(30) },
  }),
  card({
    ...{ name: "demo-l2-topk-k24", status: "completed", model: "demo", hook_name: "blocks.2.hook_resid_post" },
    ...{ architecture: "TopK k 24", d_sae: 4096, tokens_total: 2_000_000, ...at(977, 2_000_000, 1) },
    ...{ tiles: tiles(0.1932, 24, 0.087, 0.971, 0.008), seconds_running: 161, ...ended(66) },
  }),
  card({
    ...{ name: "pythia-70m-l3-standard", status: "failed", model: "EleutherAI/pythia-70m" },
    ...{ hook_name: "blocks.3.hook_mlp_out", architecture: "Standard L1 5", d_sae: 8192, ...at(449, 1_840_000) },
    tiles: { ...tiles(null, null, null, null, null), loss: "NaN" },
    note: {
      what: "Loss became NaN at step 449 (1.84M tokens).",
      where: null,
      hint: "Last good checkpoint: step 400, FVU 0.164. Lower Learning rate (now 1e-3), or set Gradient clip to 1.0.",
      kind: "nan",
    },
    ...{ last_checkpoint_step: 400, created_at: now - 5000 },
  }),
  card({
    ...{ name: "gpt2-l8-topk-k64", status: "interrupted", hook_name: "blocks.8.hook_resid_post", d_sae: 32_768 },
    ...{ architecture: "TopK k 64", ...at(1782, 7_300_000), tiles: tiles(0.221, 64, 0.092, 0.966, 0.033) },
    ...{ last_checkpoint_step: 1780, heartbeat_at: now - 3600, created_at: now - 6000 },
  }),
  card({
    ...{ name: "gpt2-l6-standard-try", status: "stopped", architecture: "Standard L1 8", ...at(219, 900_000) },
    ...{ tiles: tiles(0.912, 210.4, 0.402, 0.71, 0), checkpoint_count: 2, checkpoint_bytes: 604e6 },
    created_at: now - 7000,
  }),
];

const layer = (number: number, ...[loss, fvu, ce, dead]: [number, number, number, number]): Card =>
  card({
    ...{ name: `gpt2-l${number}-batchtopk-k48`, status: "completed", hook_name: `blocks.${number}.hook_resid_post` },
    ...{ architecture: "BatchTopK k 48", ...at(2441, 10_000_000), tiles: tiles(loss, 48.1, fvu, ce, dead) },
    ...{ seconds_running: 302, finished_at: now - 900, last_checkpoint_step: 2441, created_at: now - 1300 },
    ...{ group_id: "group_1", group_name: "gpt2-l4-6-8-batchtopk" },
  });

/** Three layers trained by one job. */
export const LAYERS: Card[] = [
  layer(8, 0.2994, 0.129, 0.951, 0.027),
  layer(4, 0.1874, 0.091, 0.968, 0.012),
  layer(6, 0.2362, 0.107, 0.961, 0.018),
];

const template = (changes: Partial<TemplateRow>): TemplateRow => ({
  ...(real.templates[0] as TemplateRow),
  ...changes,
});
const TEMPLATES: TemplateRow[] = [
  template({
    ...{ id: "tmpl_1", name: "GPT-2 small, TopK", description: "Layer 6, what most papers start from", favorite: true },
    ...{ model: "gpt2", hook_name: "blocks.6.hook_resid_post", architecture: "TopK k 32", d_sae: 16_384 },
    updated_at: now - 86_400,
  }),
  template({
    ...{ id: "tmpl_2", name: "Pythia-70M, JumpReLU", model: "EleutherAI/pythia-70m", architecture: "JumpReLU λ 1" },
    ...{ hook_name: "blocks.3.hook_mlp_out", d_sae: 8192, updated_at: now - 3600 },
  }),
];

const result = (label: string, values: string[], first: number) => ({
  ...{ label, values, best: values.map((_, i) => i === first) },
});
const point = (name: string, kind: string, label: string, l0: number, y: number, front: boolean) => ({
  ...{ id: `train_${name}`, name, architecture: kind.toLowerCase(), kind, label, l0, y, front },
  preliminary: front ? "" : "running",
});
const COMPARE: CompareState = {
  ...(real.state.compare as CompareState),
  results: [
    result("FVU", ["0.118", "0.131", "0.087"], 2),
    result("L0", ["32.0", "58.4", "24.0"], -1),
    result("CE recovered", ["0.957", "0.948", "0.971"], 2),
    result("Dead", ["2.1 %", "4.6 %", "0.8 %"], 2),
    result("Throughput", ["48,210 tok/s", "39,870 tok/s", "12,420 tok/s"], 0),
  ],
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
};

const DEVICES = [
  { id: "cpu", label: "cpu (2 cores)", total_bytes: null, free_bytes: null },
  { id: "cuda:0", label: "cuda:0 (8.0 GB)", total_bytes: 8e9, free_bytes: 6.1e9 },
];

export const emptyState = (): PanelState => ({ ...EMPTY_STATE, revision: 1, devices: DEVICES, updated_at: now });

export function fullState(cards = CARDS): PanelState {
  const charts = { ...EMPTY_STATE.charts, training_ids: CARDS.slice(0, 2).map((one) => one.id) };
  const jobs = new Set(cards.map((one) => one.group_id ?? one.id)).size;
  charts.summaries = ["Loss against tokens, log scale."];
  return { ...emptyState(), cards, total: cards.length, jobs, charts };
}

/** With a group, advice, and a job that trains two architectures. */
export function crowdedState(): PanelState {
  const [first, ...others] = CARDS;
  const advised = { ...(first as Card), advice: "Dead latents 52 % after 3M tokens." };
  return fullState([advised, ...others.slice(0, 2), ...LAYERS, ...others.slice(2)]);
}

const SLOW_DRIVE = "It works without WAL: slower, and two kernels wait for each other.";
export const failingState = (): PanelState => ({
  ...fullState(),
  notice: { what: "The catalog is on a network drive.", where: null, hint: SLOW_DRIVE, kind: "warning" },
});

/** The fields that most people set, with settings of GPT-2. */
const DEFAULTS: Record<string, unknown> = {
  ...{ model: "demo", corpus: "demo", context_size: 256, precision: "float32", hook_name: "blocks.2.hook_resid_post" },
  ...{ "sae.architecture": "topk", "sae.d_sae": 16_384, "sae.k": 32, "sae.l0_coefficient": 1, "sae.l1_coefficient": 5 },
  ...{ "sae.bandwidth": 0.05, name: null, tokens: 10_000_000, batch_size: 4096, "optimizer.lr": 3e-4, device: "auto" },
  ...{ seed: 0, "sae.aux_k": null, "optimizer.grad_clip": 1, "optimizer.lr_schedule": "constant" },
  "activations.prepend_bos": true,
};
export const FORM: FormData = {
  fields: Object.entries(DEFAULTS).flatMap(([name, value]) => {
    const field = real.form.fields.find((one) => one.name === name);
    return field ? [{ ...field, default: value }] : [];
  }),
  defaults: { model: "gpt2", corpus: "demo", hook_name: "blocks.6.hook_resid_post" },
  of_model: { demo: { "sae.d_sae": 4096, tokens: 2_600_000 } },
  devices: DEVICES,
  suggestions: { model: ["gpt2", "demo"], corpus: ["demo", "acts_01J8ZQ3V5W7X9Y1A2B3C4D5E6F"] },
  stores: { acts_01J8ZQ3V5W7X9Y1A2B3C4D5E6F: "gpt2 wikipedia" },
};

const segment = (label: string, gigabytes: number) => ({ label, bytes: gigabytes * 1e9 });
export const CHECK: CheckResult = {
  ...real.check,
  hints: {
    ...real.check.hints,
    ...{ corpus: "2.1M tokens, ships with the package", model: "124M parameters, 12 layers, d_model 768" },
    ...{ layer: "0 to 11; several: 4, 6, 8", head: "0 to 11; empty: all", hook_name: "d_in 768" },
    ...{ context_size: "at most 1,024", "sae.d_sae": "21.3 × d_in" },
  },
  model: { parameters: 124_000_000, layers: 12, d_model: 768, context: 1024, d_in: 768, heads: 12 },
  name: "gpt2-l6-topk-k32",
  estimate: {
    ...(real.check.estimate as NonNullable<CheckResult["estimate"]>),
    ...{ device: "cuda:0", memory: [segment("Model", 0.8), segment("SAE", 0.5), segment("Activations", 1.6)] },
    ...{ memory_total_bytes: 2.9e9, device_total_bytes: 8e9, device_free_bytes: 6.1e9, elsewhere: [], warnings: [] },
    ...{ seconds: 208, tokens_per_second: 48_000, basis: "measured on this device" },
    ...{ disk_bytes: 1e9, disk_free_bytes: 41e9, queue: 1, queue_seconds: 79 },
  },
};

const store = (changes: Partial<StoreRow>): StoreRow => ({
  ...{ id: "acts_01J8ZQ3V5W7X9Y1A2B3C4D5E6F", name: "gpt2 wikipedia", model: "gpt2", corpus: "wikimedia/wikipedia" },
  ...{
    hook_names: ["blocks.6.mlp.hook_in", "blocks.6.hook_mlp_out"],
    tokens: 2_000_000,
    size_bytes: 6.1e9,
    problem: "",
  },
  values: { corpus: "acts_01J8ZQ3V5W7X9Y1A2B3C4D5E6F", model: "gpt2", context_size: 256 },
  ...changes,
});
export const STORES: StoreRow[] = [
  store({}),
  store({
    ...{ id: "acts_2", name: "<b>states</b> of a script", model: "", hook_names: ["blocks.3.hook_resid_post"] },
    values: { corpus: "acts_2" },
  }),
  store({
    ...{ id: "acts_3", name: "being captured", size_bytes: null },
    problem: "Its capture is running. Wait until it has completed.",
  }),
];

const checkpoint = (id: string, label: string, step: number, tokens: number, scores: Partial<CheckpointRow>) => ({
  ...(real.details.checkpoints[0] as CheckpointRow),
  ...{ id, label, best: false, step, tokens, fvu: 0.116, val_fvu: null, best_by: null, size_bytes: 302e6 },
  saved_at: now - (1500 - step),
  ...scores,
});
const DETAILS: DetailsData = {
  ...real.details,
  checkpoints: [
    checkpoint("a", "latest", 1500, 6_144_000, { fvu: 0.114 }),
    checkpoint("b", "best FVU", 1450, 5_939_200, { val_fvu: 0.118 }),
    checkpoint("c", "step 1,000", 1000, 4_096_000, { val_fvu: 0.123 }),
  ],
  log: ["14:11:52 step 1,500  loss 0.2841  fvu 0.119", "14:11:52 checkpoint saved (302 MB)"],
  settings: [
    { name: "model", value: "gpt2", label: "Model" },
    { name: "sae.k", value: "32", label: "Active latents (k)" },
    { name: "optimizer.lr", value: "0.0003", label: "Learning rate" },
  ],
  advice: [
    {
      ...{ kind: "dead", severity: "warning", title: "Dead latents 52 % after 3M tokens.", changes: { "sae.k": 48 } },
      text: "Raise Auxiliary k (now 64) to about 384, or lower Learning rate (now 0.0003).",
      why: "A latent that does not fire gets no gradient, so it stays dead.",
    },
  ],
  folder: "trainings/train_01",
};

const setting = (name: string, label: string, ...values: string[]) => ({
  ...{ name, label, values, differs: new Set(values).size > 1 },
});
const COMPARISON: ComparisonData = {
  training_ids: [],
  names: ["gpt2-l6-topk-k32", "gpt2-l6-jumprelu", "demo-l2-topk-k24"],
  rows: [
    setting("model", "Model", "gpt2", "gpt2", "demo"),
    setting(
      "hook_name",
      "Hook name",
      "blocks.6.hook_resid_post",
      "blocks.6.hook_resid_post",
      "blocks.2.hook_resid_post",
    ),
    setting("sae.architecture", "Architecture", "TopK", "JumpReLU", "TopK"),
    setting("sae.d_sae", "Latents (d_sae)", "16,384", "16,384", "4,096"),
    setting("sae.k", "Active latents (k)", "32", "–", "24"),
    setting("sae.l0_coefficient", "Sparsity coefficient", "–", "1.5e-3", "–"),
    setting("optimizer.lr", "Learning rate", "3e-4", "2e-4", "5e-4"),
    setting("tokens", "Tokens", "10,000,000", "10,000,000", "2,000,000"),
    setting("batch_size", "Batch size", "4,096", "4,096", "4,096"),
  ],
};

const NEXT_STATUS: Record<string, string> = {
  ...{ pause: "paused", resume: "running", stop: "stopped", stop_without_saving: "stopped" },
};

export class FakeModel extends FakeWidget<PanelState, PanelCommand> {
  private peers: FakeModel[] = [this];
  templates = TEMPLATES;
  stores = STORES;
  details = DETAILS;
  /** What some commands answer instead: a failure, by kind. */
  readonly refused = new Map<string, Refusal>();

  constructor(view: string, state: PanelState, options: FakeOptions<PanelCommand> = {}) {
    super(view, state, options);
  }

  /** Lets several parts share one state, as the parts of one panel do. */
  static link(models: FakeModel[]): void {
    for (const model of models) model.peers = models;
  }

  override setState(change: Partial<PanelState>): void {
    const before = this.state;
    const jobs = new Set((change.cards ?? before.cards).map((one) => one.group_id ?? one.id)).size;
    for (const peer of this.peers) {
      peer.traits.state = { ...before, jobs, ...change, revision: before.revision + 1 };
      peer.emit("change:state");
    }
  }

  protected answer(command: PanelCommand & { id: string }): unknown {
    const { state } = this;
    const refusal = this.refused.get(command.kind);
    if (refusal && !("replace" in command && command.replace)) throw refusal;
    const members = (id: string) => state.cards.filter((one) => one.group_id === id);
    switch (command.kind) {
      case "run_actions":
        return this.actOn(command.action, command.training_ids);
      case "group_action":
        for (const one of members(command.group_id)) this.act(one.id, command.action);
        return { group_id: command.group_id };
      case "rename_group":
        for (const one of members(command.group_id)) this.update(one.id, { group_name: command.name });
        return { group_id: command.group_id };
      case "export_runs": {
        const paths = command.training_ids.map((one) => `/workspace/${command.folder}/${one}`);
        return { done: command.training_ids, paths, problems: [] } satisfies RunsDone;
      }
      case "checkpoint_action":
        if (command.action === "import") return { sae_id: "sae_new", name: "gpt2-l6-topk-k32-step-1500" };
        if (command.action === "delete") return { training_id: command.training_id };
        return this.add("gpt2-l6-topk-k32-from-1000");
      case "train_longer":
        return this.add("demo-l2-topk-k24-longer");
      case "compare":
        return this.setState({ compare: this.compare(command.training_ids ?? []) }) ?? null;
      case "open_sae":
        this.setState({ sae_shown: command.sae_id });
        return { sae_id: command.sae_id };
      case "comparison":
        return { ...COMPARISON, training_ids: command.training_ids };
      case "comparison_table": {
        const columns = ["training_id", "status", "sae.k", "activations.prepend_bos", "latest.val_fvu"];
        return {
          columns,
          rows: command.training_ids.map((id, i) => [id, "completed", i === 1 ? null : 32, true, 0.118]),
        };
      }
      case "pictures": {
        const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="400"/>';
        const names = command.figure === "charts" ? ["loss", "l0", "fvu"] : ["pareto"];
        return { pictures: names.map((name) => ({ name, width: 640, height: 400, svg })) };
      }
      case "pareto": {
        const { y_axis, scope } = command;
        const { compare } = state;
        if (compare)
          this.setState({ compare: { ...compare, y_axis: y_axis ?? compare.y_axis, scope: scope ?? compare.scope } });
        return null;
      }
      case "list_templates": {
        const words = (command.search ?? "").toLowerCase();
        const templates = this.templates.filter((one) => `${one.name} ${one.model}`.toLowerCase().includes(words));
        return { templates, total: this.templates.length };
      }
      case "list_stores":
        return { stores: this.stores };
      case "save_template": {
        const row = template({ ...TEMPLATES[0], id: `tmpl_${command.name}`, name: command.name, favorite: false });
        this.templates = [...this.templates.filter((one) => one.name !== command.name), row];
        return { template_id: row.id };
      }
      case "template_action": {
        const { action, template_id, name } = command;
        const change = action === "rename" ? { name: name as string } : { favorite: action === "favorite" };
        this.templates = this.templates
          .filter((one) => action !== "delete" || one.id !== template_id)
          .map((one) => (one.id === template_id ? { ...one, ...change } : one));
        return { template_id };
      }
      case "import_templates":
        return { names: ["GPT-2 small, TopK (2)"] };
      case "export_templates":
        return { text: "{}" };
      case "form_schema":
        return FORM;
      case "check":
        return this.check(command.config, command.over);
      case "create":
        return this.create(command.config, command.over);
      case "run_action":
        this.act(command.training_id, command.action);
        return { training_id: command.training_id };
      case "rename":
        this.update(command.training_id, { name: command.name });
        return { training_id: command.training_id };
      case "chart": {
        const { id: _, kind: __, reset_zoom: ___, ...change } = command;
        const charts = { ...state.charts, ...(change as Partial<PanelState["charts"]>) };
        const places = [...charts.training_ids, ...charts.followed].slice(0, 6);
        const series = (id: string) => (places.includes(id) ? places.indexOf(id) : null);
        this.setState({ charts, cards: state.cards.map((one) => ({ ...one, series: series(one.id) })) });
        return null;
      }
      case "details":
        return this.details;
      case "metric_table": {
        const times = [1, 2, 3].map((i) => Date.now() / 1000 + i);
        const columns = [
          [10, 20, 30],
          [40_960, 81_920, 122_880],
          times,
          [1.2, 0.9, 0.7],
          [32, 32, 32],
          [0.4, Number.NaN, 0.2],
        ];
        const names = ["step", "tokens", "time", "loss", "l0", "fvu"];
        return new Numbers({ rows: 3, total: 3 }, names, columns.map(fromFloat64));
      }
      default:
        return null;
    }
  }

  private add(name: string): { training_id: string } {
    const made = card({ name, status: "queued", queue_position: 1 });
    this.setCards([...this.state.cards, made]);
    return { training_id: made.id };
  }

  private setCards(cards: Card[]): void {
    this.setState({ cards, total: cards.length });
  }

  private create(config: Record<string, unknown>, over?: Over | null): unknown {
    const { fields } = this.check(config);
    if (Object.keys(fields).length) throw { what: "The configuration is not valid.", fields } satisfies Refusal;
    const hooks = over?.hook_name;
    const name = String(config.name ?? "new-run");
    if (!hooks) {
      const made = card({ name, status: "queued", queue_position: 2 });
      this.setCards([...this.state.cards, made]);
      return { training_id: made.id };
    }
    const group = { group_id: "group_new", group_name: "gpt2, several", status: "queued" };
    const all = hooks.map((hook, i) => card({ ...group, name: `gpt2-new-${i}`, hook_name: String(hook) }));
    this.setCards([...this.state.cards, ...all]);
    return { training_id: all[0]?.id, group_id: "group_new" };
  }

  private compare(ids: readonly string[]): PanelState["compare"] {
    const cards = this.state.cards.filter((one) => ids.includes(one.id));
    if (cards.length < 2) return null;
    const results = COMPARE.results.map((row) => ({
      ...row,
      values: cards.map((_, i) => row.values[i] ?? "–"),
      best: cards.map((_, i) => row.best[i] ?? false),
    }));
    const of = { training_ids: cards.map((one) => one.id), names: cards.map((one) => one.name) };
    return { ...COMPARE, results, ...of, series: cards.map((one) => one.series) };
  }

  private actOn(action: string, ids: readonly string[]): RunsDone {
    const done = ids.filter((one) => !one.includes("refused"));
    for (const one of done) this.act(one, action);
    const refused = ids.filter((one) => one.includes("refused"));
    const problems = refused.map((where) => ({ what: `${where} is completed.`, where, hint: null, kind: "error" }));
    return { done, paths: [], problems };
  }

  private update(id: string, change: Partial<Card>): void {
    this.setState({ cards: this.state.cards.map((one) => (one.id === id ? { ...one, ...change } : one)) });
  }

  private act(id: string, action: string): void {
    if (action === "delete") this.setCards(this.state.cards.filter((one) => one.id !== id));
    else if (action === "import") this.update(id, { sae_id: "sae_new" });
    else if (action === "pause" || action === "stop") {
      this.update(id, { status: action === "pause" ? "pausing" : "stopping" });
      setTimeout(() => this.update(id, { status: NEXT_STATUS[action] }), 800);
    } else if (NEXT_STATUS[action]) this.update(id, { status: NEXT_STATUS[action] });
  }

  private check(config: Record<string, unknown>, over: Over | null = null) {
    const sae = config.sae as { k?: number; d_sae?: number } | undefined;
    const fields: Record<string, string> = {};
    if (sae?.k && sae.d_sae && sae.k > sae.d_sae) {
      const [k, d_sae] = [sae.k.toLocaleString("en-US"), sae.d_sae.toLocaleString("en-US")];
      fields["sae.k"] = `k is ${k} but d_sae is ${d_sae}. Enter 1 to ${d_sae}; 32 is usual.`;
    }
    const hooks = over?.hook_name ?? [];
    const trainings = hooks.map((hook) => `gpt2-l${/\d+/.exec(String(hook))}-topk-k32-resid_post`);
    return { ...CHECK, fields, trainings };
  }
}
