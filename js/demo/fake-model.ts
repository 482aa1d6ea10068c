/** A stand-in for the anywidget model and the Python half behind it. */
import { fromFloat64 } from "../src/lib/buffers";
import type {
  Card,
  ChartState,
  CheckpointRow,
  ComparisonData,
  DetailsData,
  Over,
  PanelCommand,
  PanelState,
  RunsDone,
  StoreRow,
  TemplateRow,
} from "../src/lib/wire";
import { FakeWidget } from "./fake-widget";
import { CHECK, COMPARE, card, FORM, STORES, TEMPLATES } from "./fixtures";

type Sent = PanelCommand & { id: string };

const NEXT_STATUS: Record<string, string> = {
  pause: "paused",
  resume: "running",
  stop: "stopped",
  stop_without_saving: "stopped",
};

export class FakeModel extends FakeWidget<PanelState, PanelCommand> {
  private peers: FakeModel[] = [this];
  templates: TemplateRow[] = TEMPLATES;
  /** Bytes of the file that was sent last. */
  uploaded = 0;
  stores: StoreRow[] = STORES;
  details: DetailsData = DETAILS;
  /** What some commands answer instead: a failure, by kind. */
  readonly refused = new Map<string, { what: string; where?: string; hint?: string }>();

  constructor(
    view: string,
    state: PanelState,
    private readonly options: { late?: boolean; silent?: boolean } = {},
  ) {
    super(view, state);
  }

  /** Lets several parts share one state, as the parts of one panel do. */
  static link(models: FakeModel[]): void {
    for (const model of models) model.peers = models;
  }

  override setState(change: Partial<PanelState>): void {
    const before = this.traits.state as PanelState;
    const cards = change.cards ?? before.cards;
    const jobs = new Set(cards.map((one) => one.group_id ?? one.id)).size;
    for (const peer of this.peers) {
      peer.traits.state = { ...before, jobs, ...change, revision: before.revision + 1 };
      peer.emit("change:state");
    }
  }

  send(content: unknown, _callbacks?: unknown, buffers: ArrayBuffer[] = []): void {
    const command = content as Sent;
    this.sent.push(command);
    if (this.options.silent) return;
    setTimeout(() => this.answer(command, buffers), this.options.late ? 2500 : 5);
  }

  private answer(command: Sent, buffers: ArrayBuffer[]): void {
    const { id } = command;
    this.emit("msg:custom", { id, kind: "ack" }, []);
    const reply = (value: unknown, columns: string[] = [], buffers: DataView[] = []) =>
      setTimeout(() => this.emit("msg:custom", { id, kind: "result", value, columns }, buffers), 10);
    const state = this.traits.state as PanelState;
    const cards = state.cards;
    const refusal = this.refused.get(command.kind);
    if (refusal && !("replace" in command && command.replace)) {
      this.emit("msg:custom", { id, kind: "failure", where: null, hint: null, fields: {}, ...refusal }, []);
      return;
    }
    switch (command.kind) {
      case "run_actions":
        return void reply(this.actOn(command.action, command.training_ids));
      case "group_action":
        for (const one of cards.filter((each) => each.group_id === command.group_id)) {
          this.act(one.id, command.action, () => {});
        }
        return void reply({ group_id: command.group_id });
      case "rename_group":
        for (const one of cards.filter((each) => each.group_id === command.group_id)) {
          this.update(one.id, { group_name: command.name });
        }
        return void reply({ group_id: command.group_id });
      case "export_runs": {
        const paths = command.training_ids.map((one) => `/workspace/${command.folder}/${one}`);
        return void reply({ done: command.training_ids, paths, problems: [] } satisfies RunsDone);
      }
      case "checkpoint_action": {
        if (command.action === "import") return void reply({ sae_id: "sae_new", name: "gpt2-l6-topk-k32-step-1500" });
        if (command.action === "delete") return void reply({ training_id: command.training_id });
        return void reply({ training_id: this.add("gpt2-l6-topk-k32-from-1000") });
      }
      case "train_longer":
        return void reply({ training_id: this.add("demo-l2-topk-k24-longer") });
      case "compare":
        this.setState({ compare: this.compare(command.training_ids ?? []) });
        return void reply(null);
      case "open_sae":
        this.setState({ sae_shown: command.sae_id });
        return void reply({ sae_id: command.sae_id });
      case "comparison":
        return void reply({ ...COMPARISON, training_ids: command.training_ids });
      case "comparison_table": {
        const columns = ["training_id", "status", "sae.k", "activations.prepend_bos", "latest.val_fvu"];
        const rows = command.training_ids.map((id, i) => [id, "completed", i === 1 ? null : 32, true, 0.118]);
        return void reply({ columns, rows });
      }
      case "pictures": {
        const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="400"/>';
        const names = command.figure === "charts" ? ["loss", "l0", "fvu"] : ["pareto"];
        return void reply({ pictures: names.map((name) => ({ name, width: 640, height: 400, svg })) });
      }
      case "pareto":
        if (state.compare) {
          const { y_axis, scope } = state.compare;
          const compare = { ...state.compare, y_axis: command.y_axis ?? y_axis, scope: command.scope ?? scope };
          this.setState({ compare });
        }
        return void reply(null);
      case "list_templates": {
        const words = (command.search ?? "").toLowerCase();
        const templates = this.templates.filter((one) => `${one.name} ${one.model}`.toLowerCase().includes(words));
        return void reply({ templates, total: this.templates.length });
      }
      case "list_stores":
        return void reply({ stores: this.stores });
      case "save_template": {
        const row = {
          ...(TEMPLATES[0] as TemplateRow),
          id: `tmpl_${command.name}`,
          name: command.name,
          favorite: false,
        };
        this.templates = [...this.templates.filter((one) => one.name !== command.name), row];
        return void reply({ template_id: row.id });
      }
      case "template_action": {
        const { action, template_id, name } = command;
        this.templates = this.templates
          .filter((one) => action !== "delete" || one.id !== template_id)
          .map((one) => {
            if (one.id !== template_id) return one;
            if (action === "rename") return { ...one, name: name ?? one.name };
            return { ...one, favorite: action === "favorite" };
          });
        return void reply({ template_id });
      }
      case "begin_upload":
        this.uploaded = 0;
        return void reply({ upload_id: "u1" });
      case "upload_chunk":
        for (const buffer of buffers) this.uploaded += buffer.byteLength;
        return void reply({ received: this.uploaded });
      case "cancel_upload":
        return void reply(null);
      case "import_templates":
        return void reply({ names: ["GPT-2 small, TopK (2)"] });
      case "export_templates":
        return void reply({ text: "{}" });
      case "form_schema":
        return void reply(FORM);
      case "check":
        return void reply(this.check(command.config, command.over));
      case "create": {
        const fields = this.check(command.config).fields;
        if (Object.keys(fields).length) {
          this.emit("msg:custom", { id, kind: "failure", what: "The configuration is not valid.", fields }, []);
          return;
        }
        const hooks = command.over?.hook_name;
        if (hooks) {
          const group = { group_id: "group_new", group_name: "gpt2, several", status: "queued" };
          const all = hooks.map((hook, i) => card({ ...group, name: `gpt2-new-${i}`, hook_name: String(hook) }));
          this.setState({ cards: [...cards, ...all], total: cards.length + all.length });
          return void reply({ training_id: all[0]?.id, group_id: "group_new" });
        }
        const made = card({ name: String(command.config.name ?? "new-run"), status: "queued", queue_position: 2 });
        this.setState({ cards: [...cards, made], total: cards.length + 1 });
        return void reply({ training_id: made.id });
      }
      case "run_action":
        this.act(command.training_id, command.action, () => reply({ training_id: command.training_id }));
        return;
      case "rename":
        this.update(command.training_id, { name: command.name });
        return void reply({ training_id: command.training_id });
      case "chart": {
        const { id: _, kind: __, reset_zoom: ___, ...change } = command;
        const charts = { ...state.charts, ...(change as Partial<ChartState>) };
        this.setState({
          charts,
          cards: cards.map((one) => {
            const place = [...charts.training_ids, ...charts.followed].indexOf(one.id);
            return { ...one, series: place >= 0 && place < 6 ? place : null };
          }),
        });
        return void reply(null);
      }
      case "details":
        return void reply(this.details);
      case "metric_table":
        return void reply(
          { rows: 3, total: 3 },
          ["step", "tokens", "time", "loss", "l0", "fvu"],
          [
            fromFloat64([10, 20, 30]),
            fromFloat64([40_960, 81_920, 122_880]),
            fromFloat64([1, 2, 3].map((i) => Date.now() / 1000 + i)),
            fromFloat64([1.2, 0.9, 0.7]),
            fromFloat64([32, 32, 32]),
            fromFloat64([0.4, Number.NaN, 0.2]),
          ],
        );
      default:
        return void reply(null);
    }
  }

  private add(name: string): string {
    const { cards } = this.state;
    const made = card({ name, status: "queued", queue_position: 1 });
    this.setState({ cards: [...cards, made], total: cards.length + 1 });
    return made.id;
  }

  private compare(ids: readonly string[]): PanelState["compare"] {
    const cards = this.state.cards.filter((one) => ids.includes(one.id));
    if (cards.length < 2) return null;
    const results = COMPARE.results.map((row) => ({
      ...row,
      values: cards.map((_, i) => row.values[i] ?? "–"),
      best: cards.map((_, i) => row.best[i] ?? false),
    }));
    return {
      ...COMPARE,
      results,
      training_ids: cards.map((one) => one.id),
      names: cards.map((one) => one.name),
      series: cards.map((one) => one.series),
    };
  }

  private actOn(action: string, ids: readonly string[]): RunsDone {
    const done = ids.filter((one) => !one.includes("refused"));
    for (const one of done) this.act(one, action, () => {});
    const problems = ids
      .filter((one) => one.includes("refused"))
      .map((one) => ({ what: `${one} is completed.`, where: one, hint: null, kind: "error" }));
    return { done, paths: [], problems };
  }

  private update(id: string, change: Partial<Card>): void {
    const { cards } = this.traits.state as PanelState;
    this.setState({ cards: cards.map((one) => (one.id === id ? { ...one, ...change } : one)) });
  }

  private act(id: string, action: string, reply: () => void): void {
    const { cards } = this.traits.state as PanelState;
    if (action === "delete") {
      const left = cards.filter((one) => one.id !== id);
      this.setState({ cards: left, total: left.length });
    } else if (action === "import") this.update(id, { sae_id: "sae_new" });
    else if (action === "pause" || action === "stop") {
      this.update(id, { status: action === "pause" ? "pausing" : "stopping" });
      setTimeout(() => this.update(id, { status: NEXT_STATUS[action] }), 800);
    } else if (NEXT_STATUS[action]) this.update(id, { status: NEXT_STATUS[action] });
    reply();
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

const at = (step: number) => Date.now() / 1000 - (1500 - step);

const checkpoint = (changes: Partial<CheckpointRow>): CheckpointRow => ({
  id: "c",
  label: "latest",
  best: false,
  step: 1000,
  tokens: 4_096_000,
  fvu: 0.116,
  val_fvu: null,
  best_by: null,
  size_bytes: 302e6,
  saved_at: at(1000),
  ...changes,
});

const DETAILS: DetailsData = {
  checkpoints: [
    checkpoint({ id: "a", label: "latest", step: 1500, tokens: 6_144_000, fvu: 0.114, saved_at: at(1500) }),
    checkpoint({ id: "b", label: "best FVU", step: 1450, tokens: 5_939_200, val_fvu: 0.118, saved_at: at(1450) }),
    checkpoint({ id: "c", label: "step 1,000", val_fvu: 0.123 }),
  ],
  best_by: "",
  log: [
    "14:11:51 step 1,490  loss 0.2850  fvu 0.119",
    "14:11:52 step 1,500  loss 0.2841  fvu 0.119",
    "14:11:52 checkpoint saved (302 MB)",
  ],
  settings: [
    { name: "model", value: "gpt2", label: "Model" },
    { name: "sae.k", value: "32", label: "Active latents (k)" },
    { name: "optimizer.lr", value: "0.0003", label: "Learning rate" },
  ],
  advice: [
    {
      kind: "dead",
      severity: "warning",
      title: "Dead latents 52 % after 3M tokens.",
      text: "Raise Auxiliary k (now 64) to about 384, or lower Learning rate (now 0.0003).",
      why: "A latent that does not fire gets no gradient, so it stays dead.",
      changes: { "sae.k": 48 },
    },
  ],
  folder: "trainings/train_01",
  traceback: null,
};

const setting = (name: string, label: string, values: string[]) => ({
  name,
  label,
  values,
  differs: new Set(values).size > 1,
});
const COMPARISON: ComparisonData = {
  training_ids: [],
  names: ["gpt2-l6-topk-k32", "gpt2-l6-jumprelu", "demo-l2-topk-k24"],
  rows: [
    setting("model", "Model", ["gpt2", "gpt2", "demo"]),
    setting("hook_name", "Hook name", [
      "blocks.6.hook_resid_post",
      "blocks.6.hook_resid_post",
      "blocks.2.hook_resid_post",
    ]),
    setting("sae.architecture", "Architecture", ["TopK", "JumpReLU", "TopK"]),
    setting("sae.d_sae", "Latents (d_sae)", ["16,384", "16,384", "4,096"]),
    setting("sae.k", "Active latents (k)", ["32", "–", "24"]),
    setting("sae.l0_coefficient", "Sparsity coefficient", ["–", "1.5e-3", "–"]),
    setting("optimizer.lr", "Learning rate", ["3e-4", "2e-4", "5e-4"]),
    setting("tokens", "Tokens", ["10,000,000", "10,000,000", "2,000,000"]),
    setting("batch_size", "Batch size", ["4,096", "4,096", "4,096"]),
  ],
};
