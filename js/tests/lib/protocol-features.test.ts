// @vitest-environment node
/** Holds protocol-features.ts to `tests/wire/*.json`, as protocol.test.ts does for the training panel. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  ALL_FEATURES,
  type Example,
  type ExampleContext,
  type ExampleGroup,
  type ExtractionCard,
  type ExtractionCheck,
  type ExtractionField,
  type ExtractionFormData,
  type FeatureLabel,
  type FeatureLogitsData,
  type FeatureNotes,
  type FeaturePage,
  type FeaturePlace,
  type FeatureQuery,
  type FeatureRelationsData,
  type FeatureRow,
  type FeatureRows,
  FIRST_VIEW,
  type LogitsJob,
  type LossEffectData,
  type OpenExtraction,
  type PromptReading,
  type PromptRow,
  parseViewer,
  type RelatedFeature,
  type SaeChoice,
  type SaeChoices,
  type Suggestion,
  type TestedText,
  type TokenCount,
  type TokenLogit,
  type ViewerCommand,
  type ViewerState,
  type ViewerView,
} from "../../src/lib/protocol-features";

const golden = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(import.meta.dirname, `../../../tests/wire/${name}.json`), "utf-8"));

/** The keys of T, all of them: one that T gains or loses is a type error here. */
type Shape<T> = { [K in keyof Required<T>]: 0 };
const shape = <T>(value: Shape<T>): object => value;
const keys = (value: object) => Object.keys(value).sort();

const NOTES = shape<FeatureNotes>({ index: 0, labels: 0, notes: 0, starred: 0 });
const ROW = shape<FeatureRow>({
  index: 0,
  label: 0,
  auto: 0,
  top_tokens: 0,
  density: 0,
  max: 0,
  score: 0,
  starred: 0,
});
const RELATED = shape<RelatedFeature>({ index: 0, label: 0, top_tokens: 0, value: 0 });

type Path = (string | number)[];
const at = (data: unknown, path: Path): object => path.reduce((o, key) => (o as never)[key], data) as object;

const SHAPES: [string, Path, object][] = [
  [
    "extraction_viewer_state",
    [],
    shape<ViewerState>({
      revision: 0,
      workspace: 0,
      code: 0,
      below: 0,
      cards: 0,
      total: 0,
      active: 0,
      open: 0,
      view: 0,
      n_saes: 0,
      features_revision: 0,
      notice: 0,
      updated_at: 0,
    }),
  ],
  [
    "extraction_viewer_state",
    ["cards", 0],
    shape<ExtractionCard>({
      id: 0,
      sae_id: 0,
      training_id: 0,
      name: 0,
      source: 0,
      source_label: 0,
      model: 0,
      d_sae: 0,
      status: 0,
      tokens_total: 0,
      tokens_done: 0,
      fraction: 0,
      rate: 0,
      eta_seconds: 0,
      phase: 0,
      queue_position: 0,
      seen: 0,
      dead: 0,
      dense: 0,
      size_bytes: 0,
      seconds_running: 0,
      created_at: 0,
      note: 0,
      has_logits: 0,
      logits: 0,
    }),
  ],
  [
    "extraction_viewer_state",
    ["cards", 0, "logits"],
    shape<LogitsJob>({
      status: 0,
      fraction: 0,
      done: 0,
      total: 0,
      eta_seconds: 0,
      phase: 0,
      queue_position: 0,
      note: 0,
    }),
  ],
  [
    "extraction_viewer_state",
    ["open"],
    shape<OpenExtraction>({
      id: 0,
      sae_id: 0,
      name: 0,
      model: 0,
      hook_name: 0,
      d_sae: 0,
      n_tokens: 0,
      n_contexts: 0,
      context_size: 0,
      n_documents: 0,
      dead: 0,
      dense: 0,
      labelled: 0,
      starred: 0,
      versions: 0,
      live: 0,
      live_note: 0,
    }),
  ],
  [
    "extraction_viewer_state",
    ["view"],
    shape<ViewerView>({
      tab: 0,
      extraction_id: 0,
      feature: 0,
      query: 0,
      context: 0,
      line_breaks: 0,
      prompt: 0,
      dialog_sae: 0,
    }),
  ],
  ["extraction_viewer_state", ["view", "query"], shape<FeatureQuery>({ search: 0, show: 0, sort: 0, descending: 0 })],
  ["sae_choices", [], shape<SaeChoices>({ rows: 0, total: 0, sources: 0, models: 0, note: 0 })],
  [
    "sae_choices",
    ["rows", 0],
    shape<SaeChoice>({
      id: 0,
      name: 0,
      source: 0,
      source_label: 0,
      model: 0,
      layer: 0,
      d_sae: 0,
      features_extracted: 0,
      state: 0,
    }),
  ],
  ["extraction_form_data", [], shape<ExtractionFormData>({ sae_id: 0, name: 0, d_sae: 0, fields: 0 })],
  ["extraction_form_data", ["fields", 0], shape<ExtractionField>({ name: 0, label: 0, value: 0, hint: 0, help: 0 })],
  [
    "extraction_check",
    [],
    shape<ExtractionCheck>({
      errors: 0,
      device: 0,
      seconds: 0,
      disk_bytes: 0,
      disk_free: 0,
      memory_bytes: 0,
      memory_free: 0,
      warnings: 0,
    }),
  ],
  ["feature_rows", [], shape<FeatureRows>({ matching: 0, offset: 0, max_density: 0, rows: 0 })],
  ["feature_rows", ["rows", 0], ROW],
  ["feature_place", [], shape<FeaturePlace>({ index: 0, row: 0 })],
  [
    "feature_page",
    [],
    shape<FeaturePage>({
      extraction_id: 0,
      index: 0,
      density: 0,
      fired: 0,
      n_tokens: 0,
      max: 0,
      mean: 0,
      n_documents: 0,
      documents: 0,
      notes: 0,
      row: 0,
      texts: 0,
      groups: 0,
      histogram: 0,
      tokens: 0,
      facts: 0,
      link: 0,
      list_max: 0,
    }),
  ],
  ["feature_page", ["notes"], NOTES],
  [
    "feature_page",
    ["notes", "labels", 0],
    shape<FeatureLabel>({ text: 0, description: 0, source: 0, by: 0, created_at: 0 }),
  ],
  ["feature_page", ["row"], ROW],
  [
    "feature_page",
    ["groups", 0],
    shape<ExampleGroup>({ title: 0, low: 0, high: 0, count: 0, share: 0, token_share: 0, examples: 0 }),
  ],
  [
    "feature_page",
    ["groups", 0, "examples", 0],
    shape<Example>({
      position: 0,
      value: 0,
      peak: 0,
      tokens: 0,
      before: 0,
      after: 0,
      offset: 0,
      context: 0,
      document: 0,
    }),
  ],
  ["feature_page", ["tokens", 0], shape<TokenCount>({ token: 0, count: 0, share: 0, mean: 0 })],
  ["feature_logits_data", [], shape<FeatureLogitsData>({ index: 0, raises: 0, lowers: 0, histogram: 0, problem: 0 })],
  ["feature_logits_data", ["raises", 0], shape<TokenLogit>({ token: 0, logit: 0 })],
  [
    "feature_relations_data",
    [],
    shape<FeatureRelationsData>({ index: 0, similar: 0, coactive: 0, sampled: 0, note: 0, problem: 0 }),
  ],
  ["feature_relations_data", ["similar", 0], RELATED],
  ["feature_relations_data", ["coactive", 0], RELATED],
  ["example_context", [], shape<ExampleContext>({ position: 0, peak: 0, texts: 0, tokens: 0, complete: 0, note: 0 })],
  ["tested_text", [], shape<TestedText>({ index: 0, texts: 0, tokens: 0, max: 0, fired: 0, seconds: 0, note: 0 })],
  ["prompt_reading", [], shape<PromptReading>({ texts: 0, tokens: 0, rows: 0, firing: 0, hidden: 0, note: 0 })],
  [
    "prompt_reading",
    ["rows", 0],
    shape<PromptRow>({ index: 0, label: 0, auto: 0, top_tokens: 0, density: 0, max: 0, own_max: 0 }),
  ],
  ["feature_notes", [], NOTES],
  ["loss_effect_data", [], shape<LossEffectData>({ index: 0, effect: 0, loss: 0, problem: 0 })],
  ["suggestion", [], shape<Suggestion>({ index: 0, text: 0, by: 0, note: 0 })],
];

const ONE = { extraction_id: "ext_1", index: 7451 };
const EXTRACTION = { extraction_id: "ext_1" };
type Own = Exclude<ViewerCommand, { kind: "refresh" }>;

/** Every command with every key it can have. */
const COMMANDS: { [K in Own["kind"]]: Required<Extract<Own, { kind: K }>> } = {
  read_loss_effect: { kind: "read_loss_effect", ...ONE, position: 40_212, text: null, token: null },
  list_saes: { kind: "list_saes", source: "trained", model: "demo", search: "" },
  extraction_form: { kind: "extraction_form", sae_id: "sae_1", extraction_id: "ext_1" },
  check_extraction: { kind: "check_extraction", sae_id: "sae_1", values: {} },
  start_extraction: { kind: "start_extraction", sae_id: "sae_1", values: {} },
  try_demo: { kind: "try_demo" },
  extraction_action: { kind: "extraction_action", ...EXTRACTION, action: "pause" },
  show_download: { kind: "show_download", shown: true },
  logits_action: { kind: "logits_action", ...EXTRACTION, action: "start" },
  show_view: { kind: "show_view", view: FIRST_VIEW },
  query_features: { kind: "query_features", ...EXTRACTION, query: ALL_FEATURES, offset: 100, limit: 100 },
  step_feature: { kind: "step_feature", ...ONE, query: ALL_FEATURES, step: "here" },
  open_feature: { kind: "open_feature", ...ONE },
  feature_logits: { kind: "feature_logits", ...ONE },
  feature_relations: { kind: "feature_relations", ...ONE },
  expand_example: { kind: "expand_example", ...ONE, position: 40_212 },
  test_text: { kind: "test_text", ...ONE, text: "" },
  read_prompt: {
    kind: "read_prompt",
    ...EXTRACTION,
    text: "",
    rank_by: "max",
    token: 1,
    hide_dense: true,
    limit: 50,
  },
  edit_feature: { kind: "edit_feature", ...ONE, label: "", description: "", notes: "", starred: true },
  suggest_label: { kind: "suggest_label", ...ONE },
  label_features: { kind: "label_features", ...EXTRACTION },
  export_features: {
    kind: "export_features",
    ...EXTRACTION,
    what: "html",
    path: "out.html",
    indices: [7451],
    query: ALL_FEATURES,
  },
  import_labels: { kind: "import_labels", ...EXTRACTION, path: "labels.csv" },
  steer_feature: { kind: "steer_feature", ...ONE },
};

describe("golden messages", () => {
  it.each(SHAPES)("%s %j has the keys of protocol-features.ts", (name, path, expected) => {
    expect(keys(at(golden(name), path))).toEqual(keys(expected));
  });
  it.each(Object.values(COMMANDS))("the command $kind has the keys and kinds of values of Python's", (command) => {
    const theirs = golden(command.kind);
    expect(keys({ id: "", ...command })).toEqual(keys(theirs));
    for (const [key, value] of Object.entries(command)) expect(typeof value, key).toBe(typeof theirs[key]);
  });
});

describe("the guard of the state", () => {
  it("accepts what Python sends", () => {
    expect(parseViewer(golden("extraction_viewer_state"))).toEqual(golden("extraction_viewer_state"));
  });
  it("refuses what is something else, and fills in what an older Python half does not send", () => {
    for (const value of [null, 3, [], {}, golden("panel_state"), golden("hub_state")]) {
      expect(parseViewer(value)).toBeNull();
    }
    const state = parseViewer({ revision: 1, cards: [], features_revision: 0, view: { feature: 3 } });
    expect(state?.view).toEqual({ ...FIRST_VIEW, feature: 3 });
  });
});
