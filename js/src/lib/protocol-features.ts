/**
 * Messages and state of the extraction viewer: the mirror of `saewidgets/widgets/messages/features.py`. `tests/wire/*.json`
 * holds golden examples that both test suites read.
 */
import type { Note } from "./protocol";
import type { Choice } from "./protocol-saes";

export type * from "./protocol-feature-page";

export type Tab = "features" | "prompt" | "jobs";
export type Show = "all" | "labelled" | "unlabelled" | "starred" | "dead" | "live" | "dense";
export type SortFeatures = "index" | "density" | "max" | "label" | "score";
export type Context = "short" | "snippet" | "full";
export type Step = "previous" | "next" | "random" | "next_live" | "here";
export type RankBy = "max" | "sum" | "token";
export type ExtractionAct = "pause" | "resume" | "cancel" | "delete";
export type ExportKind =
  | "html"
  | "json"
  | "csv"
  | "neuronpedia"
  | "vectors"
  | "labels_csv"
  | "labels_jsonl"
  | "interpretations";

export type LogitsAct = "start" | "pause" | "resume" | "cancel";

// ------------------------------------------------------------------------------------------------ state

/** The job that computes the logit effects of all features. */
export interface LogitsJob {
  status: string;
  fraction: number;
  /** Features. */
  done: number;
  total: number;
  eta_seconds: number | null;
  phase: string | null;
  queue_position: number | null;
  note: Note | null;
}

export interface ExtractionCard {
  id: string;
  sae_id: string | null;
  training_id: string | null;
  name: string;
  source: string;
  source_label: string;
  model: string;
  d_sae: number;
  status: string;
  tokens_total: number;
  tokens_done: number;
  fraction: number;
  rate: number | null;
  eta_seconds: number | null;
  phase: string | null;
  queue_position: number | null;
  seen: number | null;
  dead: number | null;
  dense: number | null;
  size_bytes: number | null;
  seconds_running: number;
  created_at: number;
  note: Note | null;
  /** The logit effects of all its features are stored. */
  has_logits: boolean;
  logits: LogitsJob | null;
}

export interface FeatureQuery {
  search: string;
  show: Show;
  sort: SortFeatures;
  descending: boolean;
}

/** What a view shows: a plain value that restores it. */
export interface ViewerView {
  tab: Tab;
  extraction_id: string | null;
  feature: number | null;
  query: FeatureQuery;
  context: Context;
  line_breaks: boolean;
  prompt: string;
  /** *Start extraction* is asked for with this SAE chosen. */
  dialog_sae: string | null;
}

export interface OpenExtraction {
  id: string;
  sae_id: string | null;
  name: string;
  model: string;
  hook_name: string;
  d_sae: number;
  n_tokens: number;
  n_contexts: number;
  context_size: number;
  n_documents: number;
  dead: number;
  dense: number;
  labelled: number;
  starred: number;
  versions: Choice[];
  /** Whether model and SAE can be loaded here: own text, prompts, whole contexts. */
  live: boolean;
  live_note: string;
}

export interface ViewerState {
  revision: number;
  workspace: string;
  /** What code calls the workspace; "" for the default one. */
  code: string;
  /** What stands below the viewer. */
  below: "" | "steering" | "download";
  cards: ExtractionCard[];
  total: number;
  active: number;
  open: OpenExtraction | null;
  view: ViewerView;
  n_saes: number;
  /** Grows when labels, stars or notes change: lists and pages ask again. */
  features_revision: number;
  notice: Note | null;
  updated_at: number;
}

export const ALL_FEATURES: FeatureQuery = { search: "", show: "all", sort: "index", descending: false };

export const FIRST_VIEW: ViewerView = {
  tab: "features",
  extraction_id: null,
  feature: null,
  query: ALL_FEATURES,
  context: "snippet",
  line_breaks: false,
  prompt: "",
  dialog_sae: null,
};

export const EMPTY_VIEWER: ViewerState = {
  revision: 0,
  workspace: "default workspace",
  code: "",
  below: "",
  cards: [],
  total: 0,
  active: 0,
  open: null,
  view: FIRST_VIEW,
  n_saes: 0,
  features_revision: 0,
  notice: null,
  updated_at: 0,
};

// ------------------------------------------------------------------------------------------------ page → Python

/** What was typed, by field of an extraction's configuration. */
export type Typed = Record<string, string | boolean>;

type OfFeature<K extends string> = { kind: K; extraction_id: string; index: number };

/** A command without its id; `Rpc` adds that. */
export type ViewerCommand =
  | { kind: "refresh"; revision: number }
  | { kind: "list_saes"; source: string | null; model: string | null; search: string }
  | { kind: "extraction_form"; sae_id: string; extraction_id?: string | null }
  | { kind: "check_extraction"; sae_id: string; values: Typed }
  | { kind: "start_extraction"; sae_id: string; values: Typed }
  | { kind: "try_demo" }
  | { kind: "extraction_action"; extraction_id: string; action: ExtractionAct }
  | { kind: "show_download"; shown: boolean }
  | { kind: "logits_action"; extraction_id: string; action: LogitsAct }
  | { kind: "show_view"; view: ViewerView }
  | { kind: "query_features"; extraction_id: string; query: FeatureQuery; offset: number; limit: number }
  | (OfFeature<"step_feature"> & { query: FeatureQuery; step: Step })
  | OfFeature<"open_feature">
  | OfFeature<"feature_logits">
  | OfFeature<"feature_relations">
  | (OfFeature<"expand_example"> & { position: number })
  | (OfFeature<"test_text"> & { text: string })
  | (OfFeature<"read_loss_effect"> & { position?: number | null; text?: string | null; token?: number | null })
  | {
      kind: "read_prompt";
      extraction_id: string;
      text: string;
      rank_by: RankBy;
      token: number | null;
      hide_dense: boolean;
      limit: number;
    }
  | (OfFeature<"edit_feature"> & {
      label?: string | null;
      description?: string | null;
      notes?: string | null;
      starred?: boolean | null;
    })
  | OfFeature<"suggest_label">
  | { kind: "label_features"; extraction_id: string }
  | {
      kind: "export_features";
      extraction_id: string;
      what: ExportKind;
      path: string;
      indices?: number[] | null;
      query?: FeatureQuery | null;
    }
  | { kind: "import_labels"; extraction_id: string; path: string }
  | OfFeature<"steer_feature">;

// ------------------------------------------------------------------------------------------------ Python → page

export interface SaeChoice {
  id: string;
  name: string;
  source: string;
  source_label: string;
  model: string | null;
  layer: number | null;
  d_sae: number;
  features_extracted: string;
  state: "ok" | "missing" | "downloading";
}

export interface SaeChoices {
  rows: SaeChoice[];
  total: number;
  sources: Choice[];
  models: Choice[];
  note: string;
}

export interface ExtractionField {
  name: string;
  label: string;
  value: string | boolean;
  hint: string;
  help: string;
}

export interface ExtractionFormData {
  sae_id: string;
  name: string;
  d_sae: number;
  fields: ExtractionField[];
}

export interface ExtractionCheck {
  errors: Record<string, string>;
  device: string;
  seconds: number | null;
  disk_bytes: number | null;
  disk_free: number | null;
  memory_bytes: number | null;
  memory_free: number | null;
  warnings: Note[];
}

// ------------------------------------------------------------------------------------------------ guards

/** The trait or a refresh reply as `ViewerState`; null when it is not one (an older or newer Python half). */
export function parseViewer(value: unknown): ViewerState | null {
  if (typeof value !== "object" || value === null) return null;
  const state = value as Partial<ViewerState>;
  if (typeof state.revision !== "number" || !Array.isArray(state.cards) || !("features_revision" in state)) return null;
  const view = { ...FIRST_VIEW, ...state.view };
  return { ...EMPTY_VIEWER, ...state, view: { ...view, query: { ...ALL_FEATURES, ...view.query } } };
}
