/** Extractions and features, played from real ones, and a stand-in for the viewer's Python half. */
import * as wire from "../src/lib/wire";
import { type Answers, FakeWidget, filled, moved, patched, RECORDED, type Read, sceneOf } from "./fake";

const scene = sceneOf("features");
const SAE_PAGE = RECORDED.open_feature as object as Read<wire.FeaturePage>;
export const EXT = scene.open.id;
/** A feature with all that one can have, and one that never fires. */
export const SHIP = scene.ship as object as Read<wire.FeaturePage>;
const DEAD = 7460;

export function extraction(changes: Partial<wire.ExtractionCard> = {}): wire.ExtractionCard {
  const { name = "demo-l2-topk-16k" } = changes;
  return { ...(scene.state.cards[0] as wire.ExtractionCard), id: `ext_${name}`, sae_id: `sae_${name}`, ...changes };
}

export const LOGITS_JOB = scene.logits_job as object as wire.LogitsJob;
export const LABEL_JOB = scene.label_job as wire.LabelJob;
export const RUNNING = extraction(scene.running);
export const FAILED = extraction(scene.failed);
export const CARDS = [RUNNING, extraction(scene.gemma), FAILED];

export const opened = (changes: Partial<wire.OpenExtraction> = {}) => ({ ...scene.open, ...changes });

export function viewer(changes: Partial<wire.ViewerState> = {}): wire.ViewerState {
  const open = changes.open === undefined ? opened() : changes.open;
  const view = { ...wire.EMPTY_VIEWER.view, extraction_id: open?.id ?? null, feature: open ? 7451 : null };
  const all = { revision: 1, cards: CARDS, total: 3, active: 1, n_saes: 4, view, updated_at: Date.now() / 1000 };
  return { ...wire.EMPTY_VIEWER, ...all, ...changes, open };
}

/** Where the library has none. */
export const NO_SAES = { rows: [], total: 0, note: "" };
const SAES = RECORDED.list_saes.rows;
const FIELDS = filled(RECORDED.extraction_form.fields, "value", scene.values);

// ------------------------------------------------------------------------------------------------ features

/** Rows of the demo SAE, over and over, every third without its label; the ship and the dead feature are made up. */
function featureRow(index: number): wire.FeatureListRow {
  if (index === SHIP.value.index) return SHIP.value.row;
  const { rows } = RECORDED.query_features;
  const row = { ...(rows[index % rows.length] as wire.FeatureListRow), index };
  const plain = { ...row, label: "", auto: false, score: null };
  if (index === DEAD) return { ...plain, top_tokens: [], density: 0, max: 0 };
  return index % 3 === 0 ? plain : row;
}

function featurePage(index: number): Read<wire.FeaturePage> {
  if (index === SHIP.value.index) return SHIP;
  const { value, numbers } = SAE_PAGE;
  const row = featureRow(index);
  const said = value.notes.labels.map((one) => (row.label ? { ...one, text: row.label, tokens: [] } : one));
  const labels = row.label || row.auto ? said : [];
  const page = { ...value, index, row, notes: { ...value.notes, index, labels } };
  if (row.density > 0) return { value: page, numbers };
  const none = { density: 0, fired: 0, n_documents: 0, max: 0, groups: [], histogram: null, tokens: [] };
  return { value: { ...page, ...none, n_tokens: SHIP.value.n_tokens }, numbers: { activations: [] } };
}

// ------------------------------------------------------------------------------------------------ the stand-in

export class FakeViewer extends FakeWidget<wire.ViewerState, wire.ViewerCommand> {
  protected readonly view = "extraction_viewer";
  private readonly notes = new Map<number, wire.FeatureNotes>();

  protected readonly answers: Answers<wire.ViewerCommand> = {
    list_saes: ({ source, model, search }) => {
      const is = (value: unknown, wanted: unknown) => (wanted ?? value) === value;
      const matches = (one: wire.SaeChoice) =>
        is(one.source, source) && is(one.model, model) && `${one.name} ${one.model}`.includes(search ?? "");
      return { ...RECORDED.list_saes, rows: SAES.filter(matches) };
    },
    extraction_form: ({ sae_id }) => {
      const { name, d_sae } = SAES.find((one) => one.id === sae_id) ?? (SAES[0] as wire.SaeChoice);
      return { sae_id, name, d_sae, fields: FIELDS };
    },
    import_trainings: () => ({ done: [SAES[1]?.id], paths: [], problems: [] }),
    check_extraction: ({ values: { tokens } }) => {
      const errors = Number(tokens) >= 1 ? {} : { tokens: `Tokens is ${tokens}. Enter 1 or more; 1,000,000 is usual.` };
      return { ...RECORDED.check_extraction, errors };
    },
    start_extraction: ({ sae_id }) => {
      const name = SAES.find((one) => one.id === sae_id)?.name ?? "new";
      const queued = { status: "queued", queue_position: 1, tokens_done: 0, fraction: 0 };
      this.setState({ cards: [extraction({ id: "ext_new", name, ...queued }), ...this.state.cards] });
      return { extraction_id: "ext_new" };
    },
    extraction_action: ({ extraction_id, action }) => {
      const { cards } = this.state;
      if (action === "delete") this.setState({ cards: cards.filter((card) => card.id !== extraction_id) });
      else moved(action, (status) => this.change(extraction_id, { status }));
    },
    try_demo: () => this.setState({ open: opened(), view: { ...this.state.view, extraction_id: EXT } }),
    show_download: ({ shown }) => this.setState({ below: shown ? "download" : "" }),
    logits_action: ({ extraction_id, action }) => {
      const tell = (logits: wire.LogitsJob | null) => this.change(extraction_id, { logits });
      if (action === "cancel") tell(null);
      else moved(action, (status) => tell({ ...LOGITS_JOB, status }));
    },
    show_view: ({ view }) => {
      const { extraction_id: id } = view;
      const name = this.state.cards.find((card) => card.id === id)?.name;
      const other = id === null ? null : opened({ id, ...(name ? { name } : {}) });
      const same = id === (this.state.open?.id ?? EXT);
      this.setState({ view: view as wire.ViewerView, open: same ? (this.state.open ?? opened()) : other });
    },
    query_features: ({ query, offset = 0, limit = 100 }) => {
      const found = this.query(query as wire.FeatureQuery);
      const rows = found.slice(offset, offset + limit).map((index) => this.row(index));
      return { ...RECORDED.query_features, matching: found.length, rows };
    },
    step_feature: ({ query, index, step }) => {
      const rows = this.query(query as wire.FeatureQuery);
      const here = rows.indexOf(index);
      const next_live = rows.findIndex((index, i) => i > here && index !== DEAD);
      const row = { here, previous: here - 1, next: here + 1, random: rows.length >> 1, next_live }[step];
      return { index: rows[row] ?? null, row: row in rows ? row : null };
    },
    open_feature: ({ extraction_id, index }) => {
      const { value, numbers } = featurePage(index);
      return { value: { ...value, extraction_id, notes: this.notes.get(index) ?? value.notes }, numbers };
    },
    edit_feature: ({ index, label, description, notes, starred }) => {
      const before = this.notes.get(index) ?? featurePage(index).value.notes;
      const own = before.labels.find((one) => one.source === "user");
      const text = label ?? own?.text ?? "";
      const mine = { source: "user" as const, by: "", tokens: [], score_at: null, created_at: Date.now() / 1000 };
      const said = { ...mine, text, description: description ?? own?.description ?? "" };
      const labels = [...(text ? [said] : []), ...before.labels.filter((one) => one.source !== "user")];
      const after = { index, labels, notes: notes ?? before.notes, starred: starred ?? before.starred };
      this.notes.set(index, after);
      this.setState({ features_revision: this.state.features_revision + 1 });
      return after;
    },
    export_features: ({ path }) => ({ path: `/workspace/${path}`, size_bytes: 12_000 }),
  };

  private row(index: number): wire.FeatureListRow {
    const notes = this.notes.get(index);
    const first = notes?.labels[0];
    const said = notes && { starred: notes.starred, label: first?.text ?? "", auto: first?.source === "auto" };
    return { ...featureRow(index), ...said };
  }

  private query({ search, descending }: wire.FeatureQuery): number[] {
    const all = Array.from({ length: (this.state.open ?? scene.open).d_sae }, (_, i) => i);
    const found = search ? all.filter((index) => JSON.stringify(featureRow(index)).includes(search)) : all;
    return descending ? found.reverse() : found;
  }

  private change(id: string, change: Partial<wire.ExtractionCard>): void {
    this.setState({ cards: patched(this.state.cards, [id], change) });
  }
}
