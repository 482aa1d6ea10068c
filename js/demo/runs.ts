/** Runs in every state, and a stand-in for the panel's Python half. */
import * as wire from "../src/lib/wire";
import { type Answers, FakeWidget, Numbers, patched, type Refusal, sceneOf } from "./fake";

interface Scene {
  base: Partial<wire.Card>;
  cards: Partial<wire.Card>[];
  layers: Partial<wire.Card>[];
  templates: Partial<wire.TemplateRow>[];
  compare: Partial<wire.CompareState>;
  devices: wire.PanelState["devices"];
  /** The fields that most people set, with settings of GPT-2. */
  values: Record<string, unknown>;
  form: Partial<wire.FormData>;
  check: Partial<wire.CheckResult>;
  estimate: object;
  stores: wire.StoreRow[];
  checkpoints: object[];
  details: Partial<wire.DetailsData>;
  comparison: { rows: wire.SettingRow[] };
  notice: wire.PanelState["notice"];
}
interface Real {
  state: wire.PanelState;
  form: wire.FormData;
  check: wire.CheckResult;
  details: wire.DetailsData;
  templates: wire.TemplateRow[];
}
const { scene, real } = sceneOf<Scene, Real>("runs");

export function card(changes: Partial<wire.Card> = {}): wire.Card {
  const base = { ...(real.state.cards[0] as wire.Card), ...scene.base };
  return { ...base, id: `train_${changes.name ?? base.name}`, ...changes };
}
export const CARDS: wire.Card[] = scene.cards.map(card);
/** Three layers trained by one job. */
export const LAYERS: wire.Card[] = scene.layers.map(card);
export const STORES = scene.stores;
export const FORM: wire.FormData = {
  ...real.form,
  ...scene.form,
  devices: scene.devices,
  fields: Object.entries(scene.values).flatMap(([name, value]) => {
    const field = real.form.fields.find((one) => one.name === name);
    return field ? [{ ...field, default: value }] : [];
  }),
};
const { estimate, hints } = real.check;
export const CHECK = {
  ...{ ...real.check, ...scene.check, hints: { ...hints, ...scene.check.hints } },
  estimate: { ...estimate, ...scene.estimate },
} as wire.CheckResult;
const DETAILS = {
  ...{ ...real.details, ...scene.details },
  checkpoints: scene.checkpoints.map((one) => ({ ...real.details.checkpoints[0], ...one })),
} as wire.DetailsData;
const TEMPLATES = scene.templates.map((one) => ({ ...real.templates[0], ...one }) as wire.TemplateRow);

export const emptyState = (): wire.PanelState => ({
  ...{ ...wire.EMPTY_STATE, revision: 1, devices: scene.devices, updated_at: Date.now() / 1000 },
});

export function fullState(cards = CARDS): wire.PanelState {
  const charts = { ...wire.EMPTY_STATE.charts, training_ids: CARDS.slice(0, 2).map((one) => one.id) };
  const jobs = new Set(cards.map((one) => one.group_id ?? one.id)).size;
  charts.summaries = ["Loss against tokens, log scale."];
  return { ...emptyState(), cards, total: cards.length, jobs, charts };
}

/** With a group, advice, and a job that trains two architectures. */
export function crowdedState(): wire.PanelState {
  const [first, ...others] = CARDS;
  const advised = { ...(first as wire.Card), advice: "Dead latents 52 % after 3M tokens." };
  return fullState([advised, ...others.slice(0, 2), ...LAYERS, ...others.slice(2)]);
}

export const failingState = (): wire.PanelState => ({ ...fullState(), notice: scene.notice });

const NEXT_STATUS: Record<string, string> = {
  ...{ pause: "paused", resume: "running", stop: "stopped", stop_without_saving: "stopped" },
};
const SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="400"/>';

export class FakeModel extends FakeWidget<wire.PanelState, wire.PanelCommand> {
  private peers: FakeModel[] = [this];
  templates = TEMPLATES;
  stores = STORES;
  details = DETAILS;

  /** Lets several parts share one state, as the parts of one panel do. */
  static link(models: FakeModel[]): void {
    for (const model of models) model.peers = models;
  }

  override setState(change: Partial<wire.PanelState>): void {
    const before = this.state;
    const jobs = new Set((change.cards ?? before.cards).map((one) => one.group_id ?? one.id)).size;
    for (const peer of this.peers) {
      peer.traits.state = { ...before, jobs, ...change, revision: before.revision + 1 };
      peer.emit("change:state");
    }
  }

  protected readonly answers: Answers<wire.PanelCommand> = {
    run_actions: ({ action, training_ids }) => {
      const refused = training_ids.filter((one) => one.includes("refused"));
      const done = training_ids.filter((one) => !refused.includes(one));
      for (const one of done) this.act(one, action);
      const problems = refused.map((where) => ({ what: `${where} is completed.`, where, hint: null, kind: "error" }));
      return { done, paths: [], problems } satisfies wire.Done;
    },
    run_action: ({ training_id, action }) => {
      this.act(training_id, action);
      return { training_id };
    },
    group_action: ({ group_id, action }) => {
      for (const id of this.members(group_id)) this.act(id, action);
      return { group_id };
    },
    rename: ({ training_id, name }) => this.update([training_id], { name }) ?? { training_id },
    rename_group: ({ group_id, name }) => this.update(this.members(group_id), { group_name: name }) ?? { group_id },
    export_runs: ({ training_ids, folder }) => {
      const paths = training_ids.map((one) => `/workspace/${folder}/${one}`);
      return { done: training_ids, paths, problems: [] } satisfies wire.Done;
    },
    checkpoint_action: ({ action, training_id }) => {
      if (action === "import") return { sae_id: "sae_new", name: "gpt2-l6-topk-k32-step-1500" };
      return action === "delete" ? { training_id } : this.add([{ name: "gpt2-l6-topk-k32-from-1000" }]);
    },
    train_longer: () => this.add([{ name: "demo-l2-topk-k24-longer" }]),
    compare: ({ training_ids }) => this.setState({ compare: this.compare(training_ids ?? []) }),
    open_sae: ({ sae_id }) => this.setState({ sae_shown: sae_id }) ?? { sae_id },
    comparison: () => scene.comparison.rows,
    pictures: ({ figure }) => {
      const names = figure === "charts" ? ["loss", "l0", "fvu"] : ["pareto"];
      return names.map((name) => ({ name, width: 640, height: 400, svg: SVG }));
    },
    pareto: ({ y_axis, scope }) => {
      const compare = this.state.compare as wire.CompareState;
      this.setState({ compare: { ...compare, y_axis: y_axis ?? compare.y_axis, scope: scope ?? compare.scope } });
    },
    list_templates: ({ search }) => {
      const words = (search ?? "").toLowerCase();
      const templates = this.templates.filter((one) => `${one.name} ${one.model}`.toLowerCase().includes(words));
      return { templates, total: this.templates.length };
    },
    list_stores: () => this.stores,
    save_template: ({ name }) => {
      const row = { ...(TEMPLATES[0] as wire.TemplateRow), id: `tmpl_${name}`, name, favorite: false };
      this.templates = [...this.templates.filter((one) => one.name !== name), row];
      return { template_id: row.id };
    },
    template_action: ({ action, template_id, name }) => {
      const change = action === "rename" ? { name: name as string } : { favorite: action === "favorite" };
      const left = this.templates.filter((one) => action !== "delete" || one.id !== template_id);
      this.templates = patched(left, [template_id], change);
      return { template_id };
    },
    form_schema: () => FORM,
    check: ({ config, over }) => this.check(config, over),
    create: ({ config, over }) => {
      const { fields } = this.check(config);
      if (Object.keys(fields).length) throw { what: "The configuration is not valid.", fields } satisfies Refusal;
      const group = { group_id: "group_new", group_name: "gpt2, several" };
      const hooks = over?.hook_name?.map((hook, i) => ({ ...group, name: `gpt2-new-${i}`, hook_name: String(hook) }));
      const made = this.add(hooks ?? [{ name: String(config.name ?? "new-run") }]);
      return hooks ? { ...made, group_id: group.group_id } : made;
    },
    chart: ({ id: _, kind: __, reset_zoom: ___, ...change }) => {
      const charts = { ...this.state.charts, ...(change as Partial<wire.PanelState["charts"]>) };
      const places = [...charts.training_ids, ...charts.followed].slice(0, 6);
      const series = (id: string) => (places.includes(id) ? places.indexOf(id) : null);
      this.setState({ charts, cards: this.state.cards.map((one) => ({ ...one, series: series(one.id) })) });
    },
    details: () => this.details,
    metric_table: () => {
      const times = [1, 2, 3].map((i) => Date.now() / 1000 + i);
      const counts = [[10, 20, 30], [40_960, 81_920, 122_880], times];
      const columns = [...counts, [1.2, 0.9, 0.7], [32, 32, 32], [0.4, Number.NaN, 0.2]];
      const names = ["step", "tokens", "time", "loss", "l0", "fvu"];
      return new Numbers({ rows: 3, total: 3 }, names, columns);
    },
  };

  private members(group: string): string[] {
    return this.state.cards.filter((one) => one.group_id === group).map((one) => one.id);
  }

  private add(runs: Partial<wire.Card>[]): { training_id: string | undefined } {
    const made = runs.map((one) => card({ status: "queued", queue_position: 1, ...one }));
    this.setCards([...this.state.cards, ...made]);
    return { training_id: made[0]?.id };
  }

  private setCards(cards: wire.Card[]): void {
    this.setState({ cards, total: cards.length });
  }

  private update(ids: string[], change: Partial<wire.Card>): void {
    this.setState({ cards: patched(this.state.cards, ids, change) });
  }

  private compare(ids: readonly string[]): wire.PanelState["compare"] {
    const cards = this.state.cards.filter((one) => ids.includes(one.id));
    if (cards.length < 2) return null;
    const all = { ...(real.state.compare as wire.CompareState), ...scene.compare };
    const results = all.results.map((row) => ({
      ...row,
      values: cards.map((_, i) => row.values[i] ?? "–"),
      best: cards.map((_, i) => row.best[i] ?? false),
    }));
    const of = { training_ids: cards.map((one) => one.id), names: cards.map((one) => one.name) };
    return { ...all, results, ...of, series: cards.map((one) => one.series) };
  }

  private act(id: string, action: string): void {
    if (action === "delete") this.setCards(this.state.cards.filter((one) => one.id !== id));
    else if (action === "import") this.update([id], { sae_id: "sae_new" });
    else if (action === "pause" || action === "stop") {
      this.update([id], { status: action === "pause" ? "pausing" : "stopping" });
      setTimeout(() => this.update([id], { status: NEXT_STATUS[action] }), 800);
    } else if (NEXT_STATUS[action]) this.update([id], { status: NEXT_STATUS[action] });
  }

  private check(config: Record<string, unknown>, over: wire.Over | null = null) {
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
