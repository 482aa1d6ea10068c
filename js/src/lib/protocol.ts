/**
 * Every message and trait between Python and the page: the mirror of `wire.py` and `training.py` in
 * `saewidgets/widgets/messages/`.
 * `tests/wire/*.json` holds golden examples that both test suites read.
 */

// ------------------------------------------------------------------------------------------------ state

/** A number; non-finite ones travel as the strings "NaN", "Infinity", "-Infinity"; null is "not measured". */
export type Value = number | string | null;

export interface Tile {
  loss: Value;
  l0: Value;
  fvu: Value;
  ce_loss_score: Value;
  dead: Value;
  /** In its place where the run ended before its dead window. */
  val_dead?: Value;
}

export interface Note {
  what: string;
  where: string | null;
  hint: string | null;
  kind: string;
}

export interface Card {
  id: string;
  name: string;
  status: string;
  model: string;
  hook_name: string;
  hook_name_out: string | null;
  stored: boolean;
  architecture: string;
  d_sae: number;
  device: string;
  tokens_total: number;
  tokens_done: number;
  step: number;
  fraction: number;
  rate: number | null;
  eta_seconds: number | null;
  phase: string | null;
  queue_position: number | null;
  tiles: Tile;
  note: Note | null;
  dead_window_tokens: number;
  checkpoint_count: number;
  checkpoint_bytes: number;
  last_checkpoint_step: number | null;
  last_checkpoint_tokens: number | null;
  sae_id: string | null;
  created_at: number;
  started_at: number | null;
  finished_at: number | null;
  heartbeat_at: number | null;
  seconds_running: number;
  series: number | null;
  group_id: string | null;
  group_name: string | null;
  retry_of: string | null;
  continued_from: string | null;
  continued_step: number | null;
  /** Settings to begin again with, where no checkpoint is worth resuming from. */
  retry: Record<string, unknown> | null;
  advice: string | null;
}

export interface DeviceInfo {
  id: string;
  label: string;
  total_bytes: number | null;
  free_bytes: number | null;
}

export type XAxis = "tokens" | "steps" | "time";
export type XRange = "active" | "all";
export type Theme = "light" | "dark";

export interface ChartState {
  training_ids: string[];
  followed: string[];
  x_axis: XAxis;
  x_range: XRange;
  longer: boolean;
  log_y: boolean;
  show_raw: boolean;
  smoothing: number;
  theme: Theme;
  zoomed: boolean;
  summaries: string[];
}

export type YAxis = "fvu" | "ce_loss_score";

export interface ResultRow {
  label: string;
  values: string[];
  best: boolean[];
}

export interface ParetoPoint {
  id: string;
  name: string;
  architecture: string;
  kind: string;
  label: string;
  l0: number;
  y: number;
  front: boolean;
  preliminary: string;
}

export interface Scope {
  value: string;
  label: string;
  count: number;
}

export interface CompareState {
  training_ids: string[];
  names: string[];
  series: (number | null)[];
  results: ResultRow[];
  y_axis: YAxis;
  scope: string;
  scopes: Scope[];
  points: ParetoPoint[];
  left_out: number;
  summary: string;
  zoomed: boolean;
}

export interface PanelState {
  revision: number;
  workspace: string;
  cards: Card[];
  total: number;
  /** Entries of the list: runs of one job are one. */
  jobs: number;
  charts: ChartState;
  devices: DeviceInfo[];
  notice: Note | null;
  compare: CompareState | null;
  templates_revision: number;
  sae_shown: string | null;
  updated_at: number;
}

export const EMPTY_STATE: PanelState = {
  revision: 0,
  workspace: "default workspace",
  cards: [],
  total: 0,
  jobs: 0,
  charts: {
    training_ids: [],
    followed: [],
    x_axis: "tokens",
    x_range: "active",
    longer: false,
    log_y: true,
    show_raw: true,
    smoothing: 40,
    theme: "light",
    zoomed: false,
    summaries: [],
  },
  devices: [],
  notice: null,
  compare: null,
  templates_revision: 0,
  sae_shown: null,
  updated_at: 0,
};

// ------------------------------------------------------------------------------------------------ page → Python

export type Action = "pause" | "resume" | "stop" | "stop_without_saving" | "retry" | "delete" | "import" | "checkpoint";

export type ConfigData = { [name: string]: unknown };

/** Dotted name → the values that it takes in several trainings of one job; names with a comma change together. */
export type Over = { [name: string]: unknown[] };

/** A command without its id; `Rpc` adds that. */
export type Command =
  | { kind: "nudge"; waiting: string[] }
  | { kind: "refresh"; revision: number }
  | { kind: "form_schema"; training_id?: string | null; template_id?: string | null }
  | { kind: "check"; config: ConfigData; over: Over | null }
  | { kind: "create"; config: ConfigData; over: Over | null; retry_of: string | null }
  | { kind: "train_demo" }
  | { kind: "run_action"; action: Action; training_id: string }
  | { kind: "rename"; training_id: string; name: string }
  | { kind: "details"; training_id: string }
  | ({ kind: "chart"; reset_zoom?: boolean } & ChartChange)
  | { kind: "pictures"; figure: "charts" | "pareto" }
  | { kind: "metric_table"; training_id: string; names: string[] | null; limit: number; offset: number };

/** Settings left out stay as they are. */
export type ChartChange = Partial<Omit<ChartState, "zoomed" | "longer" | "summaries">>;

export type CommandKind = Command["kind"];

// ------------------------------------------------------------------------------------------------ Python → page

export interface Ack {
  id: string;
  kind: "ack";
}

export interface Result {
  id: string;
  kind: "result";
  value: unknown;
  columns: string[];
}

export interface Failure {
  id: string;
  kind: "failure";
  what: string;
  where: string | null;
  hint: string | null;
  fields: Record<string, string>;
}

export type Reply = Ack | Result | Failure;

export type FieldType = "text" | "integer" | "number" | "boolean" | "choice";
export type Section = "model" | "where" | "sae" | "training" | "advanced";

export interface FormField {
  name: string;
  label: string;
  help: string;
  type: FieldType;
  choices: string[];
  /** What the choices are called, in their order. */
  words: string[];
  default: unknown;
  minimum: number | null;
  maximum: number | null;
  optional: boolean;
  empty: string;
  section: Section;
  group: string;
  architectures: string[];
}

export interface FormData {
  fields: FormField[];
  defaults: Record<string, unknown>;
  of_model: Record<string, Record<string, unknown>>;
  devices: DeviceInfo[];
  suggestions: Record<string, string[]>;
  stores: Record<string, string>;
}

export interface Segment {
  label: string;
  bytes: number;
}

/** Memory on another device than the autoencoder's. */
export interface Elsewhere {
  device: string;
  memory: Segment[];
  total_bytes: number;
  free_bytes: number | null;
}

export interface Estimate {
  device: string;
  memory: Segment[];
  memory_total_bytes: number;
  device_total_bytes: number | null;
  device_free_bytes: number | null;
  elsewhere: Elsewhere[];
  seconds: number | null;
  tokens_per_second: number | null;
  basis: string;
  disk_bytes: number;
  disk_free_bytes: number | null;
  queue: number;
  queue_seconds: number | null;
  warnings: string[];
}

export interface ModelFacts {
  parameters: number | null;
  layers: number | null;
  d_model: number | null;
  context: number | null;
  d_in: number | null;
  heads: number | null;
}

export interface CheckResult {
  fields: Record<string, string>;
  hints: Record<string, string>;
  pending: string[];
  model: ModelFacts | null;
  name: string;
  trainings: string[];
  estimate: Estimate | null;
}

export interface CheckpointRow {
  id: string;
  label: string;
  best: boolean;
  step: number;
  tokens: number;
  /** Of the newest training batches. */
  fvu: number | null;
  /** On held-out text, where it was measured at this very step. */
  val_fvu: number | null;
  /** What "best" goes by, where that is not FVU. */
  best_by: number | null;
  size_bytes: number;
  saved_at: number;
}

export interface Setting {
  name: string;
  value: string;
  label: string;
}

export interface Picture {
  name: string;
  width: number;
  height: number;
  svg: string;
}

export type PicturesData = { pictures: Picture[] };

export interface AdviceRow {
  kind: string;
  severity: "warning" | "info";
  title: string;
  text: string;
  why: string;
  changes: Record<string, unknown>;
}

export interface DetailsData {
  checkpoints: CheckpointRow[];
  /** The name of `CheckpointRow.best_by`; empty where "best" goes by FVU. */
  best_by: string;
  log: string[];
  settings: Setting[];
  advice: AdviceRow[];
  folder: string;
  traceback: string | null;
}

export type TableData = { rows: number; total: number };

// ------------------------------------------------------------------------------------------------ guards

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A reply addressed to `id` …, or null when the message is something else. Missing optional keys get defaults. */
export function parseReply(message: unknown): Reply | null {
  if (!isObject(message) || typeof message.id !== "string") return null;
  const { id } = message;
  switch (message.kind) {
    case "ack":
      return { id, kind: "ack" };
    case "result":
      return {
        id,
        kind: "result",
        value: message.value ?? null,
        columns: Array.isArray(message.columns) ? message.columns.map(String) : [],
      };
    case "failure":
      return {
        id,
        kind: "failure",
        what: typeof message.what === "string" ? message.what : "Something went wrong.",
        where: typeof message.where === "string" ? message.where : null,
        hint: typeof message.hint === "string" ? message.hint : null,
        fields: isObject(message.fields) ? (message.fields as Record<string, string>) : {},
      };
    default:
      return null;
  }
}

/** The trait or a refresh reply as `PanelState`; null when it is not one (an older or newer Python half). */
export function parseState(value: unknown): PanelState | null {
  if (!isObject(value) || typeof value.revision !== "number" || !Array.isArray(value.cards)) return null;
  const charts = isObject(value.charts) ? value.charts : {};
  return {
    ...EMPTY_STATE,
    ...(value as Partial<PanelState>),
    charts: { ...EMPTY_STATE.charts, ...(charts as Partial<ChartState>) },
  };
}
