/**
 * Messages and state of the SAE browser: the mirror of `saewidgets/widgets/messages/saes.py`. `tests/wire/*.json` holds golden
 * examples that both test suites read.
 */
import type { Note, Setting } from "./protocol";

// ------------------------------------------------------------------------------------------------ state

export interface SaeCard {
  id: string;
  name: string;
  source: string;
  source_label: string;
  canonical: boolean;
  model: string | null;
  layer: number | null;
  hook_name: string | null;
  site: string;
  architecture: string;
  d_in: number;
  d_sae: number;
  d_out: number | null;
  format: string;
  format_label: string;
  features_extracted: number;
  size_bytes: number;
  created_at: number;
  training_id: string | null;
  training_name: string | null;
  fvu: number | null;
  fvu_label: string;
  ce_loss_score: number | null;
  tags: string[];
  state: "ok" | "missing" | "changed";
  state_note: string;
}

/** What a question about an SAE names; its card may be on another page. */
export interface SelectedSae {
  id: string;
  name: string;
  size_bytes: number;
  d_in: number;
  d_sae: number;
  features_extracted: number;
  training_id: string | null;
}

export interface Choice {
  value: string;
  label: string;
  count: number | null;
}

export type SaeSort = "newest" | "oldest" | "name" | "model" | "layer" | "d_sae" | "size";

export interface SaeQuery {
  source: string | null;
  model: string | null;
  layer: number | null;
  architecture: string | null;
  format: string | null;
  search: string;
  sort: SaeSort;
  offset: number;
}

export interface SaeFacets {
  source: Choice[];
  model: Choice[];
  layer: Choice[];
  architecture: Choice[];
  format: Choice[];
}

export interface SaeBrowserState {
  revision: number;
  workspace: string;
  cards: SaeCard[];
  matching: number;
  matching_bytes: number;
  total: number;
  page_size: number;
  query: SaeQuery;
  facets: SaeFacets;
  selected: SelectedSae[];
  export_formats: Choice[];
  download_shown: boolean;
  extractions_shown: boolean;
  steering_shown: boolean;
  revealed: string | null;
  notice: Note | null;
  updated_at: number;
}

export const ALL_SAES: SaeQuery = {
  source: null,
  model: null,
  layer: null,
  architecture: null,
  format: null,
  search: "",
  sort: "newest",
  offset: 0,
};

export const EMPTY_BROWSER: SaeBrowserState = {
  revision: 0,
  workspace: "default workspace",
  cards: [],
  matching: 0,
  matching_bytes: 0,
  total: 0,
  page_size: 50,
  query: ALL_SAES,
  facets: { source: [], model: [], layer: [], architecture: [], format: [] },
  selected: [],
  export_formats: [],
  download_shown: false,
  extractions_shown: false,
  steering_shown: false,
  revealed: null,
  notice: null,
  updated_at: 0,
};

// ------------------------------------------------------------------------------------------------ page → Python

/** What is typed about an SAE that is added; null or empty leaves it to the files. */
export interface About {
  name?: string | null;
  model?: string | null;
  hook_name?: string | null;
  /** Where the files leave it open. */
  apply_b_dec_to_input?: boolean | null;
}

export interface UploadFile {
  name: string;
  size: number;
}

/** A command without its id; `Rpc` adds that. */
export type SaeCommand =
  | { kind: "refresh"; revision: number }
  | { kind: "train_demo" }
  | ({ kind: "browse_saes" } & Partial<SaeQuery>)
  | { kind: "select_saes"; sae_ids: string[] }
  | { kind: "describe_sae"; sae_id: string }
  | { kind: "measure_sae"; sae_id: string }
  | { kind: "edit_sae"; sae_id: string; name?: string | null; notes?: string | null; tags?: string[] | null }
  | { kind: "locate_sae"; sae_id: string; path: string }
  | { kind: "export_saes"; sae_ids: string[]; folder: string; format?: string }
  | { kind: "delete_saes"; sae_ids: string[] }
  | { kind: "compare_saes"; first: string; second: string }
  | { kind: "show_training"; training_id: string }
  | ({ kind: "add_local"; path: string } & About)
  | { kind: "begin_upload"; files: UploadFile[] }
  | { kind: "upload_chunk"; upload_id: string; file: number; offset: number }
  | ({ kind: "finish_upload"; upload_id: string } & About)
  | { kind: "cancel_upload"; upload_id: string }
  | { kind: "show_download"; shown: boolean }
  | { kind: "show_extractions"; shown: boolean; sae_id?: string | null }
  | { kind: "show_steering"; shown: boolean; sae_id?: string | null };

// ------------------------------------------------------------------------------------------------ Python → page

export interface SaeFact {
  label: string;
  value: string;
  code: boolean;
}

export interface Snippet {
  label: string;
  code: string;
}

export interface SaeDetails {
  sae_id: string;
  facts: SaeFact[];
  settings: Setting[];
  problem: Note | null;
  snippets: Snippet[];
  name: string;
  notes: string;
  tags: string[];
}

export interface Histogram {
  title: string;
  note: string;
  x_label: string;
  edges: number[];
  counts: number[];
  log: boolean;
  /** Significant digits of a value on the x axis. */
  digits: number;
  zeros: number;
  zeros_label: string;
  summary: string;
}

export interface SaeStatistics {
  sae_id: string;
  histograms: Histogram[];
  facts: SaeFact[];
}

export interface SaeMatch {
  first: number;
  second: number;
  cosine: number;
}

export interface SaeComparison {
  first: SelectedSae;
  second: SelectedSae;
  facts: SaeFact[];
  histogram: Histogram | null;
  matches: SaeMatch[];
  differences: [string, string, string][];
}

export interface SaesDone {
  done: string[];
  paths: string[];
  problems: Note[];
}

export interface TrainingFacts {
  training_id: string;
  name: string;
  status: string;
  facts: SaeFact[];
  settings: Setting[];
}

/** The trait or a refresh reply as `SaeBrowserState`; null when it is not one (an older or newer Python half). */
export function parseBrowser(value: unknown): SaeBrowserState | null {
  if (typeof value !== "object" || value === null) return null;
  const state = value as Partial<SaeBrowserState>;
  if (typeof state.revision !== "number" || !Array.isArray(state.cards) || !("matching" in state)) return null;
  return {
    ...EMPTY_BROWSER,
    ...state,
    query: { ...ALL_SAES, ...state.query },
    facets: { ...EMPTY_BROWSER.facets, ...state.facets },
  };
}
