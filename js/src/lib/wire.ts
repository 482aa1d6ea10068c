/** Made by tools/wire.py from saewidgets/widgets: change the Python models and commands, then run `make js`. */

export interface PresetRecord { name: string; features: number; saes: string[]; prompt: string; saved_at: number; path: string; problem: string }
export interface HubWarning { kind: string; what: string; hint: string | null }
export interface Preview { repo_id: string; revision: string; path: string; format: string; architecture: string | null; d_in: number | null; d_sae: number | null; d_out: number | null; dtype: string | null; model: string | null; hook_name: string | null; layer: number | null; total_bytes: number; download_bytes: number; memory_bytes: number | null; gpu_bytes: number | null; cached: boolean; gated_model: boolean | null; config: Record<string, unknown>; settings: Record<string, unknown>; warnings: HubWarning[]; requests: number; disk_free_bytes: number | null; from_cache: boolean }
export interface Note { what: string; where: string | null; hint: string | null; kind: string }
export interface JobCard { id: string; status: string; fraction: number; rate: number | null; eta_seconds: number | null; phase: string | null; queue_position: number | null; note: Note | null; created_at: number }
export interface Setting { name: string; value: string; label: string }
export interface Deleted { id: string; name: string }
export interface BulkResult { done: string[]; paths: string[]; problems: Note[] }
export interface Ack { id: string; kind: "ack" }
export interface Result { id: string; kind: "result"; value: unknown; columns: string[] }
export interface Failure { id: string; kind: "failure"; what: string; where: string | null; hint: string | null; fields: Record<string, string> }
export interface DeviceInfo { id: string; label: string; total_bytes: number | null; free_bytes: number | null }
export interface TemplateRecord { id: string; name: string; description: string; favorite: boolean; model: string; corpus: string; hook_name: string; architecture: string; d_sae: number | null; config: Record<string, unknown>; created_at: number; updated_at: number; metadata: Record<string, unknown> }
export interface Advice { kind: "dead" | "flat" | "l0" | "longer" | "nan" | "memory" | "worse"; title: string; text: string; why: string; severity: "warning" | "info"; changes: Record<string, unknown> }
export type Value = number | string | null;
export type XAxis = "tokens" | "steps" | "time";
export type XRange = "active" | "all";
export type Theme = "light" | "dark";
export type YAxis = "fvu" | "ce_loss_score";
export type Action = "pause" | "resume" | "stop" | "stop_without_saving" | "retry" | "delete" | "import" | "checkpoint";
export type Section = "model" | "where" | "sae" | "training" | "advanced";
export type FieldType = "text" | "integer" | "number" | "boolean" | "choice";
export type Figure = "charts" | "pareto";
export type ConfigData = Record<string, unknown>;
export type Over = Record<string, unknown[]>;
export interface Tile { loss: number | string | null; l0: number | string | null; fvu: number | string | null; ce_loss_score: number | string | null; dead: number | string | null; val_dead: number | string | null; ce_tokens: number | string | null }
export interface Card { id: string; status: string; fraction: number; rate: number | null; eta_seconds: number | null; phase: string | null; queue_position: number | null; note: Note | null; created_at: number; name: string; model: string; hook_name: string; hook_name_out: string | null; stored: boolean; architecture: string; d_sae: number; lr: number; device: string; tokens_total: number; tokens_done: number; step: number; tiles: Tile; dead_window_tokens: number; checkpoint_count: number; checkpoint_bytes: number; last_checkpoint_step: number | null; last_checkpoint_tokens: number | null; sae_id: string | null; finished_at: number | null; heartbeat_at: number | null; seconds_running: number; series: number | null; job_id: string | null; group_id: string | null; group_name: string | null; retry_of: string | null; continued_from: string | null; continued_step: number | null; retry: Record<string, unknown> | null; advice: string | null; place: string[]; has_files: boolean }
export interface ChartLook { training_ids: string[]; followed: string[]; x_axis: "tokens" | "steps" | "time"; x_range: "active" | "all"; metrics: [string, string, string]; wide: number; log_x: boolean; log_y: boolean; show_raw: boolean; smoothing: number; theme: "light" | "dark" }
export interface ChartState { training_ids: string[]; followed: string[]; x_axis: "tokens" | "steps" | "time"; x_range: "active" | "all"; metrics: [string, string, string]; wide: number; log_x: boolean; log_y: boolean; show_raw: boolean; smoothing: number; theme: "light" | "dark"; longer: boolean; zoomed: boolean; summaries: string[]; choices: Record<string, string>; figures: string }
export interface ResultRow { label: string; values: string[]; best: boolean[] }
export interface ParetoPoint { id: string; name: string; architecture: string; kind: string; label: string; l0: number; y: number; front: boolean; preliminary: string }
export interface Scope { value: string; label: string; count: number }
export interface CompareState { training_ids: string[]; names: string[]; series: (number | null)[]; results: ResultRow[]; y_axis: "fvu" | "ce_loss_score"; scope: string; scopes: Scope[]; points: ParetoPoint[]; left_out: number; summary: string; zoomed: boolean }
export interface PanelState { revision: number; workspace: string; notice: Note | null; updated_at: number; cards: Card[]; total: number; jobs: number; charts: ChartState; devices: DeviceInfo[]; compare: CompareState | null; templates_revision: number; deleted: Deleted[]; sae_shown: string | null }
export interface StartedRun { training_id: string; group_id: string | null; name: string }
export interface FormField { name: string; label: string; help: string; type: "text" | "integer" | "number" | "boolean" | "choice"; choices: string[]; words: string[]; default: unknown; minimum: number | null; maximum: number | null; optional: boolean; empty: string; section: "model" | "where" | "sae" | "training" | "advanced"; group: string; architectures: string[]; needs: string }
export interface FormData { fields: FormField[]; defaults: Record<string, unknown>; of_model: Record<string, Record<string, unknown>>; devices: DeviceInfo[]; suggestions: Record<string, string[]>; stores: Record<string, string> }
export interface MemoryPartData { label: string; bytes: number }
export interface OtherDeviceData { device: string; memory: MemoryPartData[]; total_bytes: number; free_bytes: number | null }
export interface EstimateData { device: string; memory: MemoryPartData[]; memory_total_bytes: number; device_total_bytes: number | null; device_free_bytes: number | null; elsewhere: OtherDeviceData[]; seconds: number | null; tokens_per_second: number | null; basis: string; disk_bytes: number; disk_free_bytes: number | null; queue: number; queue_seconds: number | null; warnings: string[] }
export interface ModelFactsData { parameters: number | null; layers: number | null; d_model: number | null; context: number | null; d_in: number | null; heads: number | null }
export interface CheckResult { fields: Record<string, string>; hints: Record<string, string>; warned: string[]; pending: string[]; model: ModelFactsData | null; name: string; trainings: string[]; estimate: EstimateData | null }
export interface CheckpointData { id: string; label: string; best: boolean; step: number; tokens: number; fvu: number | null; val_fvu: number | null; val_tokens: number | null; best_by: number | null; size_bytes: number; saved_at: number }
export interface DetailsData { checkpoints: CheckpointData[]; best_by: string; log: string[]; settings: Setting[]; advice: Advice[]; folder: string; traceback: string | null }
export interface Picture { name: string; width: number; height: number; svg: string }
export type CheckpointAction = "continue" | "import" | "delete";
export type TemplateAct = "rename" | "describe" | "favorite" | "unfavorite" | "delete";
export type BulkAction = "pause" | "resume" | "stop" | "stop_without_saving" | "retry" | "import" | "delete";
export type GroupActionName = "pause" | "resume" | "stop" | "stop_without_saving" | "retry" | "delete";
export interface ImportedSae { sae_id: string; name: string }
export interface SettingRow { name: string; label: string; values: string[]; differs: boolean }
export interface ComparisonTableData { columns: string[]; rows: ((string | boolean | number | null)[])[] }
export interface PresetData { name: string; description: string; sources: string[]; ours: string }
export interface TemplatesData { templates: TemplateRecord[]; total: number; presets: PresetData[] }
export interface StoreRow { id: string; name: string; model: string; corpus: string; hook_names: string[]; tokens: number; size_bytes: number | null; problem: string; values: Record<string, unknown> }
export interface KnownRepo { repo_id: string; name: string; model: string; sites: string[]; layers: string; widths: string[]; format: string; gated_model: boolean }
export interface RepoInfo { repo_id: string; revision: string; private: boolean; gated: boolean | string; library: string | null; license: string | null; base_models: string[]; tags: string[]; downloads: number | null; likes: number | null; last_modified: number | null; files: number; size_bytes: number; url: string; from_cache: boolean }
export type DownloadAction = "pause" | "resume" | "cancel" | "retry" | "clear";
export interface DownloadCard { id: string; status: string; fraction: number; rate: number | null; eta_seconds: number | null; phase: string | null; queue_position: number | null; note: Note | null; created_at: number; name: string; repo_id: string; path: string; revision: string | null; bytes_done: number; bytes_total: number; attempt: number | null; wait_seconds: number | null; sae_id: string | null }
export interface HubState { revision: number; workspace: string; notice: Note | null; updated_at: number; repository: string; downloads: DownloadCard[]; devices: DeviceInfo[]; known: number; has_token: boolean; account: string | null; can_open: boolean; embedded: boolean }
export interface ListedSae { repo_id: string; revision: string; path: string }
export interface Release { id: string; label: string; model: string; repo_ids: string[] }
export interface HubKnownData { repositories: KnownRepo[]; releases: Release[] }
export interface VariantRow { repo: number; path: string; format: string; size_bytes: number; site: string | null; layer: number | null; width: string | null; d_sae: number | null; l0: number | null; canonical: boolean; cached: boolean }
export interface Problem { kind: string; what: string; hint: string | null; suggestions: string[] }
export interface HubListing { listing: number; repositories: RepoInfo[]; total: number; rows: VariantRow[]; path: string; problems: Problem[] }
export interface LatentMatch { a: number; b: number; cosine: number }
export type Source = "trained" | "huggingface" | "gemma_scope" | "local";
export type SaeSort = "newest" | "oldest" | "name" | "model" | "layer" | "d_sae" | "size";
export type Below = "download" | "extractions" | "steering";
export interface SelectedSae { id: string; name: string; size_bytes: number; d_in: number; d_sae: number; features_extracted: number; training_id: string | null }
export interface NotImported { total: number; runs: [string, string][] }
export interface SaeCard { id: string; name: string; size_bytes: number; d_in: number; d_sae: number; features_extracted: number; training_id: string | null; source: string; source_label: string; canonical: boolean; model: string | null; layer: number | null; hook_name: string | null; site: string; architecture: string; d_out: number | null; format: string; format_label: string; created_at: number; repo_id: string | null; training_name: string | null; fvu: number | null; fvu_label: string; ce_loss_score: number | null; tags: string[]; state: "ok" | "missing" | "changed"; state_note: string; has_files: boolean }
export interface Choice { value: string; label: string; count: number | null }
export interface SaeQuery { source: "trained" | "huggingface" | "gemma_scope" | "local" | null; model: string | null; layer: number | null; architecture: string | null; format: string | null; search: string; sort: "newest" | "oldest" | "name" | "model" | "layer" | "d_sae" | "size"; offset: number }
export interface About { name: string | null; model: string | null; hook_name: string | null; apply_b_dec_to_input: boolean | null }
export interface SaeFacets { source: Choice[]; model: Choice[]; layer: Choice[]; architecture: Choice[]; format: Choice[] }
export interface SaeBrowserState { revision: number; workspace: string; notice: Note | null; updated_at: number; cards: SaeCard[]; matching: number; matching_bytes: number; total: number; page_size: number; query: SaeQuery; facets: SaeFacets; not_imported: NotImported; selected: SelectedSae[]; export_formats: Choice[]; below: "" | "download" | "extractions" | "steering"; deleted: Deleted[]; revealed: string | null }
export interface UploadFile { name: string; size: number }
export interface SaeFact { label: string; value: string; code: boolean }
export interface Snippet { label: string; code: string }
export interface SaeDetails { facts: SaeFact[]; settings: Setting[]; problem: Note | null; snippets: Snippet[]; name: string; notes: string; tags: string[] }
export interface Histogram { title: string; note: string; x_label: string; edges: number[]; counts: number[]; log: boolean; digits: number; zeros: number; zeros_label: string; summary: string }
export interface SaeStatistics { histograms: Histogram[]; facts: SaeFact[] }
export interface SaeComparison { first: SelectedSae; second: SelectedSae; facts: SaeFact[]; histogram: Histogram | null; matches: LatentMatch[]; differences: [string, string, string][] }
export interface CardPreview { card: string; account: string | null; exists: boolean; asks_base: boolean }
export interface TrainingFacts { name: string; status: string; facts: SaeFact[]; settings: Setting[] }
export interface ExtractionEstimate { seconds: number | null; tokens_per_second: number | null; basis: string; disk_bytes: number; disk_free: number; memory_bytes: number; memory_free: number | null; device: string; warnings: string[] }
export type Tab = "features" | "prompt" | "jobs";
export type Show = "all" | "labelled" | "unlabelled" | "starred" | "dead" | "live" | "dense";
export type SortFeatures = "index" | "density" | "max" | "label" | "score";
export type Context = "short" | "snippet" | "full";
export type Step = "previous" | "next" | "random" | "next_live" | "here";
export type RankBy = "max" | "sum" | "token";
export type LogitsAct = "start" | "pause" | "resume" | "cancel";
export type ExtractionAct = "pause" | "resume" | "cancel" | "delete";
export type ExportKind = "html" | "json" | "csv" | "neuronpedia" | "vectors" | "labels_csv" | "labels_jsonl" | "interpretations";
export interface LogitsJob { id: string; status: string; fraction: number; rate: number | null; eta_seconds: number | null; phase: string | null; queue_position: number | null; note: Note | null; created_at: number; done: number; total: number }
export interface ExtractionCard { id: string; status: string; fraction: number; rate: number | null; eta_seconds: number | null; phase: string | null; queue_position: number | null; note: Note | null; created_at: number; sae_id: string | null; training_id: string | null; name: string; source: string; source_label: string; repo_id: string | null; training_name: string | null; model: string; d_sae: number; tokens_total: number; tokens_done: number; seen: number | null; dead: number | null; dense: number | null; size_bytes: number | null; seconds_running: number; has_logits: boolean; logits: LogitsJob | null; place: string[]; has_files: boolean }
export interface LabelJob { id: string; status: string; fraction: number; rate: number | null; eta_seconds: number | null; phase: string | null; queue_position: number | null; note: Note | null; created_at: number; done: number; total: number; model: string; said: string }
export interface FeatureQuery { search: string; show: "all" | "labelled" | "unlabelled" | "starred" | "dead" | "live" | "dense"; sort: "index" | "density" | "max" | "label" | "score"; descending: boolean }
export interface ViewerView { tab: "features" | "prompt" | "jobs"; extraction_id: string | null; feature: number | null; query: FeatureQuery; context: "short" | "snippet" | "full"; line_breaks: boolean; prompt: string; test: string; dialog_sae: string | null }
export interface OpenExtraction { id: string; name: string; model: string; hook_name: string; d_sae: number; n_tokens: number; context_size: number; dead: number; labelled: number; versions: Choice[]; live: boolean; live_note: string }
export interface ViewerState { revision: number; workspace: string; notice: Note | null; updated_at: number; code: string; below: "" | "steering" | "download"; cards: ExtractionCard[]; total: number; active: number; open: OpenExtraction | null; view: ViewerView; n_saes: number; labelling: LabelJob | null; features_revision: number }
export interface SaeChoice { id: string; name: string; source: string; source_label: string; model: string | null; layer: number | null; d_sae: number; features_extracted: string; state: "ok" | "missing" | "downloading" }
export interface SaeChoices { rows: SaeChoice[]; total: number; sources: Choice[]; models: Choice[]; note: string; not_imported: NotImported }
export interface ExtractionField { name: string; label: string; kind: "text" | "integer" | "share" | "boolean"; value: string | boolean; ticked: boolean | number; hint: string; help: string }
export interface ExtractionFormData { sae_id: string; name: string; d_sae: number; fields: ExtractionField[] }
export interface ExtractionCheck { errors: Record<string, string>; estimate: ExtractionEstimate | null; problem: Note | null }
export interface NamedFeature { index: number; label: string; auto: boolean; top_tokens: string[] }
export interface FeatureListRow { index: number; label: string; auto: boolean; top_tokens: string[]; density: number; max: number; score: number | null; starred: boolean }
export interface FeatureRows { matching: number; max_density: number; rows: FeatureListRow[] }
export interface FeaturePlace { index: number | null; row: number | null }
export interface ExampleData { position: number; value: number; peak: number; tokens: number[]; before: boolean; after: boolean; offset: number; context: number; document: number | null }
export interface ExampleGroup { title: string; low: number | null; high: number | null; count: number; share: number | null; token_share: number | null; examples: ExampleData[] }
export interface LabelRequest { llm: "heuristic" | "openai"; base_url: string | null; model: string | null; key_env: string | null; index: number | null; query: FeatureQuery; limit: number; unlabelled: boolean; score: boolean; price: [number, number] | null; max_cost: number | null }
export interface LabelPlan { features: number; requests: number; skipped: number; tokens_in: number; tokens_out: number; cost: number | null; prompt: string }
export interface FeatureLabel { text: string; tokens: string[]; description: string; source: "user" | "auto" | "imported"; by: string; score_at: number | null; created_at: number }
export interface JudgedLabel { texts: string[]; windows: number[][]; fires: boolean[]; said: (boolean | null)[] }
export interface FeatureNotes { index: number; labels: FeatureLabel[]; notes: string; starred: boolean }
export interface TokenCount { token: string; count: number; share: number; mean: number }
export interface FeaturePage { extraction_id: string; index: number; density: number; fired: number; n_tokens: number; max: number; mean: number; n_documents: number; documents: number; notes: FeatureNotes; row: FeatureListRow; texts: string[]; groups: ExampleGroup[]; histogram: Histogram | null; tokens: TokenCount[]; facts: SaeFact[]; link: string; list_max: number }
export interface FeatureLogitsData { raises: [string, number][]; lowers: [string, number][]; histogram: Histogram | null; problem: Note | null }
export interface RelatedFeature { index: number; label: string; auto: boolean; top_tokens: string[]; value: number }
export interface FeatureRelationsData { similar: RelatedFeature[]; coactive: RelatedFeature[]; sampled: number; note: string; problem: Note | null }
export interface ExampleContext { position: number; peak: number; texts: string[]; tokens: number[]; complete: boolean; note: string }
export interface TestedText { texts: string[]; tokens: number[]; max: number; fired: number; seconds: number; note: string }
export interface PromptRow { index: number; label: string; auto: boolean; top_tokens: string[]; density: number; max: number; own_max: number }
export interface PromptData { texts: string[]; tokens: number[]; rows: PromptRow[]; firing: number; hidden: number; note: string }
export interface WrittenFile { path: string; size_bytes: number }
export interface Suggestion { index: number; text: string; tokens: string[]; by: string; note: string }
export interface LossEffectData { effect: number | null; loss: number | null; problem: Note | null }
export type Mode = "add_max" | "add" | "clamp" | "conditional_clamp" | "scale" | "ablate";
export type PositionWord = "all" | "generated" | "prompt";
export type What = "generate" | "sweep";
export type TextName = "baseline" | "steered";
export type ChatAction = "new" | "edit";
export type PresetAction = "save" | "load" | "delete";
export interface SteeringSae { id: string; name: string; model: string | null; hook_name: string | null; d_sae: number }
export interface SteeringRow { key: string; sae_id: string; sae: string; index: number; label: string; tokens: string[]; mode: "add_max" | "add" | "clamp" | "conditional_clamp" | "scale" | "ablate"; strength: number; a_max: number | null; usual: number | null; basis: string; pending: boolean; problem: Note | null }
export interface SteeringSettings { positions: "all" | "generated" | "prompt" | number[]; steer_bos: boolean; prepend_bos: boolean; chat: boolean; multiplier: number; prompt: string; system: string; new_tokens: number; temperature: number; top_p: number; frequency_penalty: number; seed: number; strengths: number[]; swept: string }
export interface SteeringTurn { user: string; baseline: string; steered: string }
export interface LiveText { run: "baseline" | "steered" | "sweep"; strength: number | null; tokens: number; text: string }
export interface SteeringRun { number: number; kind: "generate" | "sweep"; status: "idle" | "running" | "stopping" | "done" | "stopped" | "failed"; phase: string; turn: number | null; texts: LiveText[]; seconds: number; problem: Note | null }
export interface Gauge { ratio: number | null; over: string }
export interface SteeringState { revision: number; workspace: string; notice: Note | null; updated_at: number; saes: SteeringSae[]; sae_id: string; rows: SteeringRow[]; settings: SteeringSettings; turns: SteeringTurn[]; chat_problem: string; system_problem: string; gauge: Gauge; run: SteeringRun; generated: number; swept: number; presets: number; code: string; can_browse: boolean; can_close: boolean; embedded: boolean }
export interface SteeringEditRow { key: string; mode: "add_max" | "add" | "clamp" | "conditional_clamp" | "scale" | "ablate"; strength: number }
export interface SteeringHit { index: number; label: string; tokens: string[] }
export interface SteeringHits { sae_id: string; text: string; hits: SteeringHit[]; note: string }
export interface SteeringText { pieces: string[]; changed: number[]; finish: "length" | "end" | "stopped"; perplexity: number | null; repetition: number; kl_first: number | null; change_ratio: number | null }
export interface SweptText { strength: number; text: string; perplexity: number | null; repetition: number; change_ratio: number | null }
export interface SteeringTexts { number: number; prompt_pieces: string[]; turn: number | null; baseline: SteeringText; steered: SteeringText | null; first_difference: number | null; sweep: SweptText[]; swept: string; swept_name: string; notes: string[]; seconds: number; stopped: boolean }
export interface NextToken { piece: string; baseline: number; steered: number }
export interface SteeringNextData { number: number; text: "baseline" | "steered"; token: number; piece: string; rows: NextToken[] }
export interface PanelCommands {
  chart(of: { reset_zoom?: boolean; training_ids?: string[]; followed?: string[]; x_axis?: "tokens" | "steps" | "time"; x_range?: "active" | "all"; metrics?: [string, string, string]; wide?: number; log_x?: boolean; log_y?: boolean; show_raw?: boolean; smoothing?: number; theme?: "light" | "dark" }): null;
  check(of: { config: Record<string, unknown>; over?: Record<string, unknown[]> | null }): CheckResult;
  checkpoint_action(of: { action: "continue" | "import" | "delete"; training_id: string; checkpoint_id: string }): StartedRun | ImportedSae;
  compare(of: { training_ids?: string[] }): null;
  comparison(of: { training_ids: string[] }): SettingRow[];
  comparison_table(of: { training_ids: string[] }): ComparisonTableData;
  create(of: { config: Record<string, unknown>; over?: Record<string, unknown[]> | null; retry_of?: string | null; spread?: boolean }): StartedRun;
  details(of: { training_id: string }): DetailsData;
  export_runs(of: { training_ids: string[]; folder: string }): BulkResult;
  export_templates(of: { template_ids?: string[] }): Record<"text", string>;
  form_schema(of: { training_id?: string | null; template_id?: string | null; preset?: string | null }): FormData;
  group_action(of: { action: "pause" | "resume" | "stop" | "stop_without_saving" | "retry" | "delete"; group_id: string }): Record<"group_id", string>;
  import_templates(of: { file: string; text: string }): Record<"names", string[]>;
  list_stores(of: { architecture?: string }): StoreRow[];
  list_templates(of: { search?: string }): TemplatesData;
  metric_table(of: { training_id: string; names?: string[] | null; limit?: number; offset?: number }): Record<"rows" | "total", number>;
  open_sae(of: { sae_id?: string | null }): null;
  pareto(of: { y_axis?: "fvu" | "ce_loss_score" | null; scope?: string | null; reset_zoom?: boolean }): null;
  pictures(of: { figure?: "charts" | "pareto" }): Picture[];
  refresh(of: { revision?: number }): unknown;
  rename(of: { training_id: string; name: string }): null;
  rename_group(of: { group_id: string; name: string }): null;
  run_action(of: { action: "pause" | "resume" | "stop" | "stop_without_saving" | "retry" | "delete" | "import" | "checkpoint"; training_id: string }): StartedRun;
  run_actions(of: { action: "pause" | "resume" | "stop" | "stop_without_saving" | "retry" | "import" | "delete"; training_ids: string[] }): BulkResult;
  run_code(of: { training_id: string }): Record<"text", string>;
  save_template(of: { name: string; config?: Record<string, unknown> | null; training_id?: string | null; replace?: boolean }): Record<"template_id", string>;
  template_action(of: { action: "rename" | "describe" | "favorite" | "unfavorite" | "delete"; template_id: string; name?: string | null; description?: string }): null;
  train_demo(): StartedRun;
  train_longer(of: { training_id: string; tokens: number }): StartedRun;
  undo_delete(of: { ids: string[] }): null;
}
export type PanelCommand = Sent<PanelCommands>;
export interface HubCommands {
  hub_action(of: { action: "pause" | "resume" | "cancel" | "retry" | "clear"; job_ids: string[] }): Record<"job_ids", string[]>;
  hub_download(of: { saes: ListedSae[]; apply_b_dec_to_input?: boolean | null }): Record<"job_ids", string[]>;
  hub_known(): HubKnownData;
  hub_list(of: { text?: string; release?: string; again?: boolean }): HubListing;
  hub_open(of: { sae_id: string }): null;
  hub_preview(of: { sae: ListedSae; device?: string; again?: boolean }): Preview;
  hub_rows(of: { listing: number; offset: number; limit?: number }): VariantRow[];
  hub_token(of: { token?: string | null }): null;
  refresh(of: { revision?: number }): unknown;
}
export type HubCommand = Sent<HubCommands>;
export interface SaeCommands {
  add_local(of: { path: string; name?: string | null; model?: string | null; hook_name?: string | null; apply_b_dec_to_input?: boolean | null }): Record<"sae_id", string>;
  begin_upload(of: { files: UploadFile[] }): Record<"upload_id", string>;
  browse_saes(of: { source?: "trained" | "huggingface" | "gemma_scope" | "local" | null; model?: string | null; layer?: number | null; architecture?: string | null; format?: string | null; search?: string; sort?: "newest" | "oldest" | "name" | "model" | "layer" | "d_sae" | "size"; offset?: number }): null;
  cancel_upload(of: { upload_id: string }): null;
  compare_saes(of: { first: string; second: string }): SaeComparison;
  delete_saes(of: { sae_ids: string[] }): BulkResult;
  describe_sae(of: { sae_id: string }): SaeDetails;
  edit_sae(of: { sae_id: string; name?: string | null; notes?: string | null; tags?: string[] | null }): Record<"sae_id", string>;
  export_saes(of: { sae_ids: string[]; folder: string; format?: string }): BulkResult;
  finish_upload(of: { upload_id: string; name?: string | null; model?: string | null; hook_name?: string | null; apply_b_dec_to_input?: boolean | null }): Record<"sae_id", string>;
  import_trainings(of: { training_ids?: string[] }): BulkResult;
  locate_sae(of: { sae_id: string; path: string }): Record<"sae_id", string>;
  measure_sae(of: { sae_id: string }): SaeStatistics;
  preview_card(of: { sae_id: string; repo_id: string; license?: string; base_model?: string; token?: string | null }): CardPreview;
  publish_sae(of: { sae_id: string; repo_id: string; private?: boolean; license?: string; base_model?: string; card?: string | null; token?: string | null }): Record<"url", string>;
  refresh(of: { revision?: number }): unknown;
  select_saes(of: { sae_ids: string[] }): null;
  show_below(of: { what: "download" | "extractions" | "steering"; shown: boolean; sae_id?: string | null }): null;
  show_training(of: { training_id: string }): TrainingFacts;
  train_demo(): StartedRun;
  undo_delete(of: { ids: string[] }): null;
  upload_chunk(of: { upload_id: string; file: number; offset: number }): Record<"received", number>;
}
export type SaeCommand = Sent<SaeCommands>;
export interface ViewerCommands {
  cancel_labels(of: { job_id: string }): null;
  check_extraction(of: { sae_id: string; values: Record<string, boolean | number | string | null> }): ExtractionCheck;
  edit_feature(of: { extraction_id: string; index: number; label?: string | null; description?: string | null; notes?: string | null; starred?: boolean | null }): FeatureNotes;
  expand_example(of: { extraction_id: string; index: number; position: number }): ExampleContext;
  export_features(of: { extraction_id: string; what: "html" | "json" | "csv" | "neuronpedia" | "vectors" | "labels_csv" | "labels_jsonl" | "interpretations"; path: string; indices?: number[] | null; query?: FeatureQuery | null }): WrittenFile;
  extraction_action(of: { extraction_id: string; action: "pause" | "resume" | "cancel" | "delete" }): null;
  extraction_form(of: { sae_id: string; extraction_id?: string | null }): ExtractionFormData;
  feature_logits(of: { extraction_id: string; index: number }): FeatureLogitsData;
  feature_relations(of: { extraction_id: string; index: number }): FeatureRelationsData;
  import_labels(of: { extraction_id: string; path: string }): Record<"imported" | "skipped", number>;
  import_trainings(of: { training_ids?: string[] }): BulkResult;
  list_saes(of: { source?: string | null; model?: string | null; search?: string }): SaeChoices;
  logits_action(of: { extraction_id: string; action: "start" | "pause" | "resume" | "cancel" }): null;
  open_feature(of: { extraction_id: string; index: number }): FeaturePage;
  plan_labels(of: { extraction_id: string; asked: LabelRequest }): LabelPlan;
  query_features(of: { extraction_id: string; query: FeatureQuery; offset?: number; limit?: number }): FeatureRows;
  read_judged(of: { extraction_id: string; index: number; score_at: number }): JudgedLabel;
  read_loss_effect(of: { extraction_id: string; index: number; position?: number | null; text?: string | null; token?: number | null }): LossEffectData;
  read_prompt(of: { extraction_id: string; text: string; rank_by?: "max" | "sum" | "token"; token?: number | null; hide_dense?: boolean; limit?: number }): PromptData;
  refresh(of: { revision?: number }): unknown;
  show_download(of: { shown: boolean }): null;
  show_view(of: { view: ViewerView; before?: ViewerView | null }): null;
  start_extraction(of: { sae_id: string; values: Record<string, boolean | number | string | null> }): Record<"extraction_id", string>;
  start_labels(of: { extraction_id: string; asked: LabelRequest; key?: string | null }): null;
  steer_feature(of: { extraction_id: string; index: number }): null;
  step_feature(of: { extraction_id: string; query: FeatureQuery; index: number; step: "previous" | "next" | "random" | "next_live" | "here" }): FeaturePlace;
  suggest_label(of: { extraction_id: string; index: number }): Suggestion;
  test_text(of: { extraction_id: string; index: number; text: string }): TestedText;
  try_demo(): Record<"extraction_id", string>;
}
export type ViewerCommand = Sent<ViewerCommands>;
export interface SteeringCommands {
  refresh(of: { revision?: number }): unknown;
  steering_add(of: { sae_id: string; index: number; label?: string }): Record<"key", string>;
  steering_browse(): null;
  steering_chat(of: { action: "new" | "edit" }): null;
  steering_choose(of: { sae_id: string }): null;
  steering_close(): null;
  steering_copy(): Record<"text", string>;
  steering_demo(): Record<"sae_id", string>;
  steering_edit(of: { rows?: SteeringEditRow[]; settings?: SteeringSettings | null }): Record<"revision", number>;
  steering_find(of: { sae_id: string; text: string }): SteeringHits;
  steering_generate(of: { what?: "generate" | "sweep" }): Record<"number", number>;
  steering_next(of: { number: number; text: "baseline" | "steered"; token: number }): SteeringNextData;
  steering_preset(of: { action: "save" | "load" | "delete"; name: string; replace?: boolean }): PresetRecord[];
  steering_presets(): PresetRecord[];
  steering_preview(of: { key: string }): FeaturePage;
  steering_read(of: { what?: "generate" | "sweep" }): SteeringTexts | null;
  steering_remove(of: { key: string }): null;
  steering_reset(): null;
  steering_stop(): null;
  steering_tokens(of: { prompt: string; chat?: boolean }): string[];
}
export type SteeringCommand = Sent<SteeringCommands>;
type Commands = PanelCommands & HubCommands & SaeCommands & ViewerCommands & SteeringCommands;
type Arguments<M> = M extends (of: infer A) => unknown ? A : never;
type Sent<M> = { [K in keyof M & string]: { kind: K } & Arguments<M[K]> }[keyof M & string];
export type Answers = { [K in keyof Commands]: ReturnType<Commands[K]> };
export const EMPTY_STATE: PanelState = {"revision": 0, "workspace": "default workspace", "notice": null, "updated_at": 0.0, "cards": [], "total": 0, "jobs": 0, "charts": {"training_ids": [], "followed": [], "x_axis": "tokens", "x_range": "active", "metrics": ["loss", "l0", "fvu"], "wide": 0, "log_x": false, "log_y": true, "show_raw": true, "smoothing": 40, "theme": "light", "longer": false, "zoomed": false, "summaries": [], "choices": {}, "figures": ""}, "devices": [], "compare": null, "templates_revision": 0, "deleted": [], "sae_shown": null};
export const EMPTY_HUB: HubState = {"revision": 0, "workspace": "default workspace", "notice": null, "updated_at": 0.0, "repository": "", "downloads": [], "devices": [], "known": 0, "has_token": false, "account": null, "can_open": false, "embedded": false};
export const EMPTY_BROWSER: SaeBrowserState = {"revision": 0, "workspace": "default workspace", "notice": null, "updated_at": 0.0, "cards": [], "matching": 0, "matching_bytes": 0, "total": 0, "page_size": 50, "query": {"source": null, "model": null, "layer": null, "architecture": null, "format": null, "search": "", "sort": "newest", "offset": 0}, "facets": {"source": [], "model": [], "layer": [], "architecture": [], "format": []}, "not_imported": {"total": 0, "runs": []}, "selected": [], "export_formats": [], "below": "", "deleted": [], "revealed": null};
export const EMPTY_VIEWER: ViewerState = {"revision": 0, "workspace": "default workspace", "notice": null, "updated_at": 0.0, "code": "", "below": "", "cards": [], "total": 0, "active": 0, "open": null, "view": {"tab": "features", "extraction_id": null, "feature": null, "query": {"search": "", "show": "all", "sort": "index", "descending": false}, "context": "snippet", "line_breaks": false, "prompt": "", "test": "", "dialog_sae": null}, "n_saes": 0, "labelling": null, "features_revision": 0};
export const EMPTY_STEERING: SteeringState = {"revision": 0, "workspace": "default workspace", "notice": null, "updated_at": 0.0, "saes": [], "sae_id": "", "rows": [], "settings": {"positions": "all", "steer_bos": false, "prepend_bos": true, "chat": false, "multiplier": 1.0, "prompt": "", "system": "", "new_tokens": 60, "temperature": 0.7, "top_p": 0.95, "frequency_penalty": 0.0, "seed": 16, "strengths": [-4.0, -2.0, 0.0, 2.0, 4.0], "swept": ""}, "turns": [], "chat_problem": "", "system_problem": "", "gauge": {"ratio": null, "over": ""}, "run": {"number": 0, "kind": "generate", "status": "idle", "phase": "", "turn": null, "texts": [], "seconds": 0.0, "problem": null}, "generated": 0, "swept": 0, "presets": 0, "code": "", "can_browse": false, "can_close": false, "embedded": false};
export const PLAIN_FIELD: FormField = {"name": "", "label": "", "help": "", "type": "text", "choices": [], "words": [], "default": null, "minimum": null, "maximum": null, "optional": false, "empty": "", "section": "where", "group": "", "architectures": [], "needs": ""};
export const LABELS: LabelRequest = {"llm": "openai", "base_url": null, "model": null, "key_env": null, "index": null, "query": {"search": "", "show": "all", "sort": "index", "descending": false}, "limit": 100, "unlabelled": true, "score": false, "price": null, "max_cost": null};
export const PAGE = 2000;
export const NEW_TOKENS = 4096;
export const TEMPLATE_BYTES = 8388608;
export const FORMATS: Record<string, string> = {"saelens": "SAELens", "saelens_legacy": "SAELens before version 6", "mistudio": "miStudio", "mistudio_community": "miStudio export", "gemma_scope": "Gemma Scope", "gemma_scope_2": "Gemma Scope 2", "sparsify": "sparsify", "dictionary_learning": "dictionary_learning", "dictionary_learning_checkpoint": "dictionary_learning checkpoint", "llama_scope": "Llama Scope", "llama_scope_r1": "Llama Scope R1", "llamascopium": "llamascopium", "qwen_scope": "Qwen Scope", "openai": "OpenAI sparse_autoencoder", "ghosttrack": "GhostTrack", "goodfire": "Goodfire", "deepseek_r1": "DeepSeek R1 (qresearch)", "connor_rob": "Attention SAEs (connor_rob)", "circuit_tracer": "circuit-tracer transcoders", "temporal": "Temporal SAEs"};
