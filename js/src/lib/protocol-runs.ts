/** Messages about several trainings, comparisons and templates: the mirror of `saewidgets/widgets/messages/runs.py`. */
import type { Cell } from "./copy";
import type { Command, ConfigData, Note, YAxis } from "./protocol";
import type { SaeCommand } from "./protocol-saes";

export type BulkAction = "pause" | "resume" | "stop" | "stop_without_saving" | "import" | "delete";

export type GroupActionName = "pause" | "resume" | "stop" | "stop_without_saving" | "retry" | "delete";

/** A command without its id; `Rpc` adds that. */
export type RunsCommand =
  | { kind: "run_actions"; action: BulkAction; training_ids: string[] }
  | { kind: "group_action"; action: GroupActionName; group_id: string }
  | { kind: "rename_group"; group_id: string; name: string }
  | { kind: "export_runs"; training_ids: string[]; folder: string }
  | {
      kind: "checkpoint_action";
      action: "continue" | "import" | "delete";
      training_id: string;
      checkpoint_id: string;
    }
  | { kind: "train_longer"; training_id: string; tokens: number }
  | { kind: "compare"; training_ids: string[] }
  | { kind: "comparison"; training_ids: string[] }
  | { kind: "comparison_table"; training_ids: string[] }
  | { kind: "pareto"; y_axis?: YAxis | null; scope?: string | null; reset_zoom?: boolean }
  | { kind: "open_sae"; sae_id: string | null }
  | { kind: "list_stores"; architecture: string }
  | { kind: "list_templates"; search: string }
  | {
      kind: "save_template";
      name: string;
      config?: ConfigData | null;
      training_id?: string | null;
      replace?: boolean;
    }
  | {
      kind: "template_action";
      action: "rename" | "favorite" | "unfavorite" | "delete";
      template_id: string;
      name?: string | null;
    }
  | { kind: "import_templates"; upload_id: string }
  | { kind: "export_templates"; template_ids: string[] };

/** What sends a file, here one of templates. */
type UploadCommand = Extract<SaeCommand, { kind: "begin_upload" | "upload_chunk" | "cancel_upload" }>;

/** All that the training panel sends. */
export type PanelCommand = Command | RunsCommand | UploadCommand;

export interface RunsDone {
  done: string[];
  paths: string[];
  problems: Note[];
}

export interface SettingRow {
  name: string;
  label: string;
  values: string[];
  differs: boolean;
}

export interface ComparisonData {
  training_ids: string[];
  names: string[];
  rows: SettingRow[];
}

export interface ComparisonTableData {
  columns: string[];
  rows: Cell[][];
}

export interface TemplateRow {
  id: string;
  name: string;
  description: string;
  favorite: boolean;
  model: string;
  hook_name: string;
  corpus: string;
  architecture: string;
  d_sae: number | null;
  updated_at: number;
}

export interface TemplatesData {
  templates: TemplateRow[];
  total: number;
}

export interface StoreRow {
  id: string;
  name: string;
  model: string;
  corpus: string;
  hook_names: string[];
  tokens: number;
  size_bytes: number | null;
  problem: string;
  values: ConfigData;
}

export interface StoresData {
  stores: StoreRow[];
}
