// @vitest-environment node
/**
 * Holds protocol.ts to `tests/wire/*.json`, which Python writes from its own models: every message here is typed by
 * protocol.ts, and must have exactly the keys and the kinds of values of the golden file.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type {
  Ack,
  AdviceRow,
  Card,
  ChartState,
  CheckpointRow,
  CheckResult,
  CompareState,
  DetailsData,
  DeviceInfo,
  Elsewhere,
  Estimate,
  Failure,
  FormData,
  FormField,
  ModelFacts,
  Note,
  PanelState,
  ParetoPoint,
  Picture,
  PicturesData,
  Result,
  ResultRow,
  Scope,
  Segment,
  Setting,
  TableData,
  Tile,
} from "../../src/lib/protocol";
import { parseReply, parseState } from "../../src/lib/protocol";
import type {
  ComparisonData,
  ComparisonTableData,
  PanelCommand,
  RunsDone,
  SettingRow,
  StoreRow,
  StoresData,
  TemplateRow,
  TemplatesData,
} from "../../src/lib/protocol-runs";

const FOLDER = join(import.meta.dirname, "../../../tests/wire");
const golden = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf-8"));

/** The shape of T as a record of samples: a key that T gains or loses is a type error here. */
type Shape<T> = { [K in keyof Required<T>]: unknown };
const keys = (shape: object) => Object.keys(shape).sort();
const _ = null;

const TILE: Shape<Tile> = { loss: _, l0: _, fvu: _, ce_loss_score: _, dead: _, val_dead: _ };
const NOTE: Shape<Note> = { what: _, where: _, hint: _, kind: _ };
const DEVICE: Shape<DeviceInfo> = { id: _, label: _, total_bytes: _, free_bytes: _ };
const CARD: Shape<Card> = {
  id: _,
  name: _,
  status: _,
  model: _,
  hook_name: _,
  hook_name_out: _,
  stored: _,
  architecture: _,
  d_sae: _,
  device: _,
  tokens_total: _,
  tokens_done: _,
  step: _,
  fraction: _,
  rate: _,
  eta_seconds: _,
  phase: _,
  queue_position: _,
  tiles: _,
  note: _,
  dead_window_tokens: _,
  checkpoint_count: _,
  checkpoint_bytes: _,
  last_checkpoint_step: _,
  last_checkpoint_tokens: _,
  sae_id: _,
  created_at: _,
  started_at: _,
  finished_at: _,
  heartbeat_at: _,
  seconds_running: _,
  series: _,
  group_id: _,
  group_name: _,
  retry_of: _,
  continued_from: _,
  continued_step: _,
  retry: _,
  advice: _,
};
const CHARTS: Shape<ChartState> = {
  training_ids: _,
  followed: _,
  x_axis: _,
  x_range: _,
  longer: _,
  log_y: _,
  show_raw: _,
  smoothing: _,
  theme: _,
  zoomed: _,
  summaries: _,
};
const STATE: Shape<PanelState> = {
  revision: _,
  workspace: _,
  cards: _,
  total: _,
  jobs: _,
  charts: _,
  devices: _,
  notice: _,
  compare: _,
  templates_revision: _,
  sae_shown: _,
  updated_at: _,
};
const COMPARE: Shape<CompareState> = {
  training_ids: _,
  names: _,
  series: _,
  results: _,
  y_axis: _,
  scope: _,
  scopes: _,
  points: _,
  left_out: _,
  summary: _,
  zoomed: _,
};
const POINT: Shape<ParetoPoint> = {
  id: _,
  name: _,
  architecture: _,
  kind: _,
  label: _,
  preliminary: _,
  l0: _,
  y: _,
  front: _,
};
const ADVICE: Shape<AdviceRow> = { kind: _, severity: _, title: _, text: _, why: _, changes: _ };
const TEMPLATE: Shape<TemplateRow> = {
  id: _,
  name: _,
  description: _,
  favorite: _,
  model: _,
  hook_name: _,
  corpus: _,
  architecture: _,
  d_sae: _,
  updated_at: _,
};
const STORE: Shape<StoreRow> = {
  id: _,
  name: _,
  model: _,
  corpus: _,
  hook_names: _,
  tokens: _,
  size_bytes: _,
  problem: _,
  values: _,
};
const FIELD: Shape<FormField> = {
  name: _,
  label: _,
  help: _,
  type: _,
  choices: _,
  words: _,
  default: _,
  minimum: _,
  maximum: _,
  optional: _,
  empty: _,
  section: _,
  group: _,
  architectures: _,
};
const ESTIMATE: Shape<Estimate> = {
  device: _,
  memory: _,
  memory_total_bytes: _,
  device_total_bytes: _,
  device_free_bytes: _,
  elsewhere: _,
  seconds: _,
  tokens_per_second: _,
  basis: _,
  disk_bytes: _,
  disk_free_bytes: _,
  queue: _,
  queue_seconds: _,
  warnings: _,
};
const ROW: Shape<CheckpointRow> = {
  id: _,
  label: _,
  best: _,
  step: _,
  tokens: _,
  fvu: _,
  val_fvu: _,
  best_by: _,
  size_bytes: _,
  saved_at: _,
};

type Path = (string | number)[];
const at = (data: unknown, path: Path): object => path.reduce((o, key) => (o as never)[key], data) as object;

const SHAPES: [string, Path, object][] = [
  ["panel_state", [], STATE],
  ["panel_state", ["cards", 0], CARD],
  ["panel_state", ["cards", 0, "tiles"], TILE],
  ["panel_state", ["cards", 0, "note"], NOTE],
  ["panel_state", ["charts"], CHARTS],
  ["panel_state", ["devices", 0], DEVICE],
  ["panel_state", ["compare"], COMPARE],
  ["panel_state", ["compare", "results", 0], { label: _, values: _, best: _ } satisfies Shape<ResultRow>],
  ["panel_state", ["compare", "scopes", 0], { value: _, label: _, count: _ } satisfies Shape<Scope>],
  ["panel_state", ["compare", "points", 0], POINT],
  ["runs_done", [], { done: _, paths: _, problems: _ } satisfies Shape<RunsDone>],
  ["comparison_data", [], { training_ids: _, names: _, rows: _ } satisfies Shape<ComparisonData>],
  ["comparison_table_data", [], { columns: _, rows: _ } satisfies Shape<ComparisonTableData>],
  ["pictures_data", [], { pictures: _ } satisfies Shape<PicturesData>],
  ["pictures_data", ["pictures", 0], { name: _, width: _, height: _, svg: _ } satisfies Shape<Picture>],
  ["comparison_data", ["rows", 0], { name: _, label: _, values: _, differs: _ } satisfies Shape<SettingRow>],
  ["templates_data", [], { templates: _, total: _ } satisfies Shape<TemplatesData>],
  ["templates_data", ["templates", 0], TEMPLATE],
  ["stores_data", [], { stores: _ } satisfies Shape<StoresData>],
  ["stores_data", ["stores", 0], STORE],
  ["ack", [], { id: _, kind: _ } satisfies Shape<Ack>],
  ["result", [], { id: _, kind: _, value: _, columns: _ } satisfies Shape<Result>],
  ["failure", [], { id: _, kind: _, what: _, where: _, hint: _, fields: _ } satisfies Shape<Failure>],
  [
    "form_data",
    [],
    { fields: _, defaults: _, of_model: _, devices: _, suggestions: _, stores: _ } satisfies Shape<FormData>,
  ],
  ["form_data", ["fields", 0], FIELD],
  [
    "check_result",
    [],
    { fields: _, hints: _, pending: _, model: _, name: _, trainings: _, estimate: _ } satisfies Shape<CheckResult>,
  ],
  [
    "check_result",
    ["model"],
    { parameters: _, layers: _, d_model: _, context: _, d_in: _, heads: _ } satisfies Shape<ModelFacts>,
  ],
  ["check_result", ["estimate"], ESTIMATE],
  [
    "check_result",
    ["estimate", "elsewhere", 0],
    { device: _, memory: _, total_bytes: _, free_bytes: _ } satisfies Shape<Elsewhere>,
  ],
  ["check_result", ["estimate", "memory", 0], { label: _, bytes: _ } satisfies Shape<Segment>],
  [
    "details_data",
    [],
    {
      checkpoints: _,
      best_by: _,
      log: _,
      settings: _,
      advice: _,
      folder: _,
      traceback: _,
    } satisfies Shape<DetailsData>,
  ],
  ["details_data", ["advice", 0], ADVICE],
  ["details_data", ["checkpoints", 0], ROW],
  ["details_data", ["settings", 0], { name: _, value: _, label: _ } satisfies Shape<Setting>],
  ["table_data", [], { rows: _, total: _ } satisfies Shape<TableData>],
];

/** Those of the panel alone; the messages of uploads are held to Python with those of the SAE browser. */
type Own = Exclude<PanelCommand, { kind: "begin_upload" | "upload_chunk" | "cancel_upload" }>;

/** Every command with every key it can have. */
const COMMANDS: { [K in Own["kind"]]: Required<Extract<Own, { kind: K }>> } = {
  nudge: { kind: "nudge", waiting: [] },
  refresh: { kind: "refresh", revision: 6 },
  form_schema: { kind: "form_schema", training_id: "train_01J8", template_id: null },
  check: { kind: "check", config: {}, over: null },
  create: { kind: "create", config: {}, over: null, retry_of: "train_01J7" },
  train_demo: { kind: "train_demo" },
  run_action: { kind: "run_action", action: "pause", training_id: "train_01J8" },
  rename: { kind: "rename", training_id: "train_01J8", name: "better" },
  details: { kind: "details", training_id: "train_01J8" },
  chart: {
    kind: "chart",
    training_ids: ["train_01J8"],
    followed: [],
    x_axis: "steps",
    x_range: "all",
    log_y: false,
    show_raw: true,
    smoothing: 0,
    theme: "dark",
    reset_zoom: false,
  },
  pictures: { kind: "pictures", figure: "charts" },
  metric_table: { kind: "metric_table", training_id: "train_01J8", names: ["loss"], limit: 5000, offset: 0 },
  run_actions: { kind: "run_actions", action: "pause", training_ids: ["train_01J8"] },
  group_action: { kind: "group_action", action: "stop", group_id: "group_1" },
  rename_group: { kind: "rename_group", group_id: "group_1", name: "better" },
  export_runs: { kind: "export_runs", training_ids: ["train_01J8"], folder: "trainings" },
  checkpoint_action: {
    kind: "checkpoint_action",
    action: "continue",
    training_id: "train_01J8",
    checkpoint_id: "ckpt_1",
  },
  train_longer: { kind: "train_longer", training_id: "train_01J8", tokens: 20_000_000 },
  compare: { kind: "compare", training_ids: ["train_01J8"] },
  comparison: { kind: "comparison", training_ids: ["train_01J8"] },
  comparison_table: { kind: "comparison_table", training_ids: ["train_01J8"] },
  pareto: { kind: "pareto", y_axis: "ce_loss_score", scope: "", reset_zoom: true },
  open_sae: { kind: "open_sae", sae_id: "sae_1" },
  list_stores: { kind: "list_stores", architecture: "topk" },
  list_templates: { kind: "list_templates", search: "gpt2" },
  save_template: { kind: "save_template", name: "mine", config: {}, training_id: null, replace: true },
  template_action: { kind: "template_action", action: "rename", template_id: "tmpl_1", name: "better" },
  import_templates: { kind: "import_templates", upload_id: "u-1" },
  export_templates: { kind: "export_templates", template_ids: ["tmpl_1"] },
};

describe("golden messages", () => {
  it.each(SHAPES)("%s %j has the keys of protocol.ts", (name, path, shape) => {
    expect(keys(at(golden(name), path))).toEqual(keys(shape));
  });
  it.each(Object.values(COMMANDS))("the command $kind has the keys and kinds of values of Python's", (command) => {
    const theirs = golden(command.kind);
    expect(keys({ id: "", ...command })).toEqual(keys(theirs));
    for (const [key, value] of Object.entries(command)) expect(typeof value, key).toBe(typeof theirs[key]);
  });
  it("leaves no golden file unread", () => {
    const read = new Set([...SHAPES.map(([name]) => name), ...Object.keys(COMMANDS)]);
    // The messages of other widgets are held to by their own tests.
    const features = /extract|feature|example|prompt|label|suggest|logits|loss|^test|^try_demo$|^steering_/;
    const files = readdirSync(FOLDER)
      .map((file) => file.replace(".json", ""))
      .filter(
        (name) => !/^hub_|(?<!^open_)sae|upload|^add_local$|^show_|^training_facts$/.test(name) && !features.test(name),
      );
    expect(files.filter((name) => !read.has(name))).toEqual([]);
    expect([...read].filter((name) => !files.includes(name))).toEqual([]);
  });
});

describe("guards", () => {
  it("accept what Python sends", () => {
    expect(parseState(golden("panel_state"))).toEqual(golden("panel_state"));
    for (const name of ["ack", "result", "failure"]) expect(parseReply(golden(name))).toEqual(golden(name));
  });
  it("refuse what is something else", () => {
    for (const value of [null, 3, [], {}, { revision: "1", cards: [] }]) expect(parseState(value)).toBeNull();
    for (const value of [null, "x", { kind: "ack" }, { id: 1, kind: "ack" }, { id: "1", kind: "other" }]) {
      expect(parseReply(value)).toBeNull();
    }
  });
  it("fill in what an older Python half does not send", () => {
    const state = parseState({ revision: 1, cards: [] });
    expect(state?.charts.smoothing).toBe(40);
    expect(parseReply({ id: "1", kind: "result" })).toEqual({ id: "1", kind: "result", value: null, columns: [] });
  });
});
