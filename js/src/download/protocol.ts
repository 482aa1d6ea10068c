/**
 * Every message and trait of the download widget: the mirror of `saewidgets/widgets/messages/hub.py`, held to it by
 * `tests/wire/hub_*.json`.
 */
import type { DeviceInfo, Note } from "../lib/protocol";

export interface DownloadCard {
  id: string;
  name: string;
  status: string;
  repo_id: string;
  path: string;
  revision: string | null;
  bytes_done: number;
  bytes_total: number;
  fraction: number;
  rate: number | null;
  eta_seconds: number | null;
  phase: string | null;
  attempt: number | null;
  wait_seconds: number | null;
  queue_position: number | null;
  sae_id: string | null;
  note: Note | null;
  created_at: number;
  finished_at: number | null;
}

export interface HubState {
  revision: number;
  workspace: string;
  repository: string;
  downloads: DownloadCard[];
  devices: DeviceInfo[];
  known: number;
  has_token: boolean;
  account: string | null;
  can_open: boolean;
  embedded: boolean;
  notice: Note | null;
  updated_at: number;
}

export const EMPTY_HUB: HubState = {
  revision: 0,
  workspace: "default workspace",
  repository: "",
  downloads: [],
  devices: [],
  known: 0,
  has_token: false,
  account: null,
  can_open: false,
  embedded: false,
  notice: null,
  updated_at: 0,
};

// ------------------------------------------------------------------------------------------------ page → Python

export const PAGE = 2000; // rows of one answer

export interface Chosen {
  repo_id: string;
  revision: string;
  path: string;
}

export type DownloadAction = "pause" | "resume" | "cancel" | "retry" | "clear";

/** A command without its id; `Rpc` adds that. */
export type HubCommand =
  | { kind: "refresh"; revision: number }
  | { kind: "hub_known" }
  | { kind: "hub_token"; token: string | null }
  | { kind: "hub_list"; text: string; release: string; again: boolean; asker: string }
  | { kind: "hub_rows"; listing: number; offset: number; limit: number }
  | { kind: "hub_preview"; sae: Chosen; device: string; again: boolean; asker: string }
  | { kind: "hub_download"; saes: Chosen[]; apply_b_dec_to_input?: boolean | null }
  | { kind: "hub_action"; action: DownloadAction; job_ids: string[] }
  | { kind: "hub_open"; sae_id: string };

// ------------------------------------------------------------------------------------------------ Python → page

export interface KnownRow {
  repo_id: string;
  name: string;
  model: string;
  sites: string[];
  layers: string;
  widths: string[];
  format: string;
  gated_model: boolean;
}

export interface Release {
  id: string;
  label: string;
  model: string;
  repo_ids: string[];
}

export interface HubKnownData {
  repositories: KnownRow[];
  releases: Release[];
}

export interface RepoData {
  repo_id: string;
  revision: string;
  private: boolean;
  gated: boolean;
  license: string | null;
  base_models: string[];
  last_modified: number | null;
  url: string;
}

export interface VariantRow {
  repo: number;
  path: string;
  format: string;
  size_bytes: number;
  site: string | null;
  layer: number | null;
  width: string | null;
  d_sae: number | null;
  l0: number | null;
  canonical: boolean;
  cached: boolean;
}

export interface Problem {
  kind: string;
  what: string;
  hint: string | null;
  suggestions: string[];
}

export interface HubListing {
  listing: number;
  text: string;
  release: string;
  repositories: RepoData[];
  total: number;
  rows: VariantRow[];
  path: string;
  problems: Problem[];
}

export interface HubRowsData {
  listing: number;
  offset: number;
  rows: VariantRow[];
}

export interface WarningData {
  kind: string;
  what: string;
  hint: string | null;
}

export interface HubPreviewData {
  sae: Chosen;
  device: string;
  format: string;
  architecture: string | null;
  d_in: number | null;
  d_sae: number | null;
  d_out: number | null;
  dtype: string | null;
  model: string | null;
  hook_name: string | null;
  layer: number | null;
  total_bytes: number;
  download_bytes: number;
  memory_bytes: number | null;
  gpu_bytes: number | null;
  disk_free_bytes: number | null;
  cached: boolean;
  gated_model: boolean | null;
  config: Record<string, unknown>;
  warnings: WarningData[];
}

// ------------------------------------------------------------------------------------------------ guards

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The trait or a refresh reply as `HubState`; null when it is not one. */
export function parseHub(value: unknown): HubState | null {
  if (!isObject(value) || typeof value.revision !== "number" || !Array.isArray(value.downloads)) return null;
  return { ...EMPTY_HUB, ...(value as Partial<HubState>) };
}
