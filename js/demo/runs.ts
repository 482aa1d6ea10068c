/** Runs in every state, and a stand-in for the panel's Python half. */
import * as wire from "../src/lib/wire";
import { type Answers, FakeWidget, filled, moved, patched, RECORDED, type Refusal, sceneOf } from "./fake";

const scene = sceneOf("runs");

export function card(changes: Partial<wire.Card> = {}): wire.Card {
  const base = scene.state.cards[0] as object as wire.Card;
  return { ...base, id: `train_${changes.name ?? base.name}`, ...changes };
}
export const CARDS: wire.Card[] = scene.cards.map(card);
/** Three layers trained by one job. */
export const LAYERS: wire.Card[] = scene.layers.map(card);
export const STORES = RECORDED.list_stores;
export const FORM = { ...RECORDED.form_schema, fields: filled(RECORDED.form_schema.fields, "default", scene.values) };
export const CHECK = RECORDED.check;

export const emptyState = (): wire.PanelState => ({
  ...{ ...wire.EMPTY_STATE, revision: 1, devices: scene.devices, updated_at: Date.now() / 1000 },
});

const jobsOf = (cards: readonly wire.Card[]) => new Set(cards.map((one) => one.group_id ?? one.id)).size;

export function fullState(cards = CARDS): wire.PanelState {
  const charts = { ...wire.EMPTY_STATE.charts, training_ids: CARDS.slice(0, 2).map((one) => one.id) };
  charts.summaries = ["Loss against tokens, log scale."];
  charts.choices = { loss: "Loss", l0: "L0", fvu: "FVU", ce_loss_score: "CE recovered", lr: "Learning rate" };
  return { ...emptyState(), cards, total: cards.length, jobs: jobsOf(cards), charts };
}

/** With a group, advice, and a job that trains two architectures. */
export function crowdedState(): wire.PanelState {
  const [first, ...others] = CARDS;
  const advised = { ...(first as wire.Card), advice: "Dead latents 52 % after 3M tokens." };
  return fullState([advised, ...others.slice(0, 2), ...LAYERS, ...others.slice(2)]);
}

/** A sweep: runs in every state, of several settings. */
export function manyState(count = 1000): wire.PanelState {
  const cards = Array.from({ length: count }, (_, i) => {
    const one = CARDS[i % CARDS.length] as wire.Card;
    const made = { id: `train_${i}`, name: `${one.name}-${i}`, series: null, created_at: 1.79e9 - 600 * i };
    return card({ ...one, ...made, d_sae: 1024 * (1 + (i % 16)), lr: (1 + (i % 7)) / 1e4 });
  });
  return fullState(cards);
}

export class FakeModel extends FakeWidget<wire.PanelState, wire.PanelCommand> {
  view = "training_panel";
  templates = RECORDED.list_templates.templates;
  stores = STORES;
  details = RECORDED.details;

  override setState(change: Partial<wire.PanelState>): void {
    const cards = change.cards ?? this.state.cards;
    super.setState({ jobs: jobsOf(cards), total: cards.length, ...change });
  }

  protected readonly answers: Answers<wire.PanelCommand> = {
    run_actions: ({ action, training_ids }) => {
      this.act(training_ids, action);
      return { done: training_ids, paths: [], problems: [] } satisfies wire.BulkResult;
    },
    run_action: ({ training_id, action }) => this.act([training_id], action),
    group_action: ({ group_id, action }) => this.act(this.members(group_id), action),
    rename: ({ training_id, name }) => this.update([training_id], { name }),
    rename_group: ({ group_id, name }) => this.update(this.members(group_id), { group_name: name }),
    export_runs: ({ training_ids, folder }) => {
      const paths = training_ids.map((one) => `/workspace/${folder}/${one}`);
      return { done: training_ids, paths, problems: [] } satisfies wire.BulkResult;
    },
    checkpoint_action: ({ action, training_id }) => {
      if (action === "import") return RECORDED.checkpoint_action;
      return action === "delete" ? { training_id } : this.add([{ name: "gpt2-l6-topk-k32-from-1000" }]);
    },
    train_longer: () => this.add([{ name: "demo-l2-topk-k24-longer" }]),
    compare: ({ training_ids }) => this.setState({ compare: this.compare(training_ids ?? []) }),
    open_sae: ({ sae_id }) => this.setState({ sae_shown: sae_id }),
    pareto: ({ y_axis, scope }) => {
      const compare = this.state.compare as wire.CompareState;
      this.setState({ compare: { ...compare, y_axis: y_axis ?? compare.y_axis, scope: scope ?? compare.scope } });
    },
    list_templates: ({ search }) => {
      const words = (search ?? "").toLowerCase();
      const templates = this.templates.filter((one) => `${one.name} ${one.model}`.toLowerCase().includes(words));
      return { ...RECORDED.list_templates, templates, total: this.templates.length };
    },
    list_stores: () => this.stores,
    save_template: ({ name }) => {
      const [first] = RECORDED.list_templates.templates;
      const row = { ...(first as wire.TemplateRecord), id: `tmpl_${name}`, name, favorite: false };
      this.templates = [...this.templates.filter((one) => one.name !== name), row];
      return { template_id: row.id };
    },
    template_action: ({ action, template_id, name, description }) => {
      const changes = { rename: { name: name as string }, describe: { description: description as string } };
      const change = changes[action as keyof typeof changes] ?? { favorite: action === "favorite" };
      const left = this.templates.filter((one) => action !== "delete" || one.id !== template_id);
      this.templates = patched(left, [template_id], change);
      return { template_id };
    },
    form_schema: () => FORM,
    check: ({ config, over }) => this.check(config, over),
    create: ({ config, over }) => {
      const { fields } = this.check(config);
      if (Object.keys(fields).length) return { what: "The configuration is not valid.", fields } satisfies Refusal;
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
  };

  private members(group: string): string[] {
    return this.state.cards.filter((one) => one.group_id === group).map((one) => one.id);
  }

  private add(runs: Partial<wire.Card>[]): { training_id: string | undefined } {
    const made = runs.map((one) => card({ status: "queued", queue_position: 1, ...one }));
    this.setState({ cards: [...this.state.cards, ...made] });
    return { training_id: made[0]?.id };
  }

  private update(ids: string[], change: Partial<wire.Card>): void {
    this.setState({ cards: patched(this.state.cards, ids, change) });
  }

  private compare(ids: readonly string[]): wire.PanelState["compare"] {
    const cards = this.state.cards.filter((one) => ids.includes(one.id));
    if (cards.length < 2) return null;
    const of = { training_ids: cards.map((one) => one.id), names: cards.map((one) => one.name) };
    return { ...(scene.state.compare as wire.CompareState), ...of, series: cards.map((one) => one.series) };
  }

  private act(ids: string[], action: string): void {
    if (action === "delete") this.setState({ cards: this.state.cards.filter((one) => !ids.includes(one.id)) });
    else if (action === "import") this.update(ids, { sae_id: "sae_new" });
    else moved(action, (status) => this.update(ids, { status }));
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
