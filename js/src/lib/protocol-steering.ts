/**
 * Every message and trait of the steering widget: the mirror of `saewidgets/widgets/messages/steering.py`, held to it by
 * `tests/wire/steering_*.json`.
 */
import type { Note } from "./protocol";

export type Mode = "add_max" | "add" | "clamp" | "conditional_clamp" | "scale" | "ablate";
export type PositionWord = "all" | "generated" | "prompt";
export type What = "generate" | "sweep";
export type TextName = "baseline" | "steered";

export const NEW_TOKENS = 4096; // most of one text

export interface SteeringSae {
  id: string;
  name: string;
  model: string | null;
  hook_name: string | null;
  d_sae: number;
}

export interface SteeringRow {
  key: string;
  sae_id: string;
  sae: string;
  index: number;
  label: string;
  mode: Mode;
  strength: number;
  a_max: number | null;
  usual: number | null;
  basis: string;
  pending: boolean;
  problem: Note | null;
}

export interface SteeringSettings {
  positions: PositionWord | number[];
  steer_bos: boolean;
  prepend_bos: boolean;
  prompt: string;
  new_tokens: number;
  temperature: number;
  top_p: number;
  seed: number;
  strengths: number[];
  swept: string;
}

export interface LiveText {
  run: TextName | "sweep";
  strength: number | null;
  tokens: number;
  text: string;
}

export interface SteeringRun {
  number: number;
  kind: What;
  status: "idle" | "running" | "stopping" | "done" | "stopped" | "failed";
  phase: string;
  texts: LiveText[];
  seconds: number;
  problem: Note | null;
}

export interface Gauge {
  ratio: number | null;
  over: string;
}

export interface SteeringState {
  revision: number;
  workspace: string;
  saes: SteeringSae[];
  sae_id: string;
  rows: SteeringRow[];
  settings: SteeringSettings;
  gauge: Gauge;
  run: SteeringRun;
  generated: number;
  swept: number;
  presets: number;
  /** What code calls the workspace; "" for the default one. */
  code: string;
  can_browse: boolean;
  /** Somebody takes the widget away when asked. */
  can_close: boolean;
  embedded: boolean;
  notice: Note | null;
  updated_at: number;
}

export const EMPTY_STEERING: SteeringState = {
  revision: 0,
  workspace: "default workspace",
  saes: [],
  sae_id: "",
  rows: [],
  settings: {
    positions: "all",
    steer_bos: false,
    prepend_bos: true,
    prompt: "",
    new_tokens: 60,
    temperature: 0.7,
    top_p: 0.95,
    seed: 16,
    strengths: [-4, -2, 0, 2, 4],
    swept: "",
  },
  gauge: { ratio: null, over: "" },
  run: { number: 0, kind: "generate", status: "idle", phase: "", texts: [], seconds: 0, problem: null },
  generated: 0,
  swept: 0,
  presets: 0,
  code: "",
  can_browse: false,
  can_close: false,
  embedded: false,
  notice: null,
  updated_at: 0,
};

// ------------------------------------------------------------------------------------------------ page → Python

export interface SteeringEditRow {
  key: string;
  mode: Mode;
  strength: number;
}

export type PresetAction = "save" | "load" | "delete";

/** A command without its id; `Rpc` adds that. */
export type SteeringCommand =
  | { kind: "refresh"; revision: number }
  | { kind: "steering_edit"; rows: SteeringEditRow[]; settings: SteeringSettings | null }
  | { kind: "steering_add"; sae_id: string; index: number; label: string }
  | { kind: "steering_remove"; key: string }
  | { kind: "steering_demo" }
  | { kind: "steering_close" }
  | { kind: "steering_choose"; sae_id: string }
  | { kind: "steering_find"; sae_id: string; text: string }
  | { kind: "steering_tokens"; prompt: string }
  | { kind: "steering_generate"; what: What }
  | { kind: "steering_stop" }
  | { kind: "steering_read"; what: What }
  | { kind: "steering_next"; number: number; text: TextName; token: number }
  | { kind: "steering_copy" }
  | { kind: "steering_presets" }
  | { kind: "steering_preset"; action: PresetAction; name: string; replace: boolean }
  | { kind: "steering_browse" };

// ------------------------------------------------------------------------------------------------ Python → page

export interface SteeringHit {
  index: number;
  label: string;
}

export interface SteeringHits {
  sae_id: string;
  text: string;
  hits: SteeringHit[];
  note: string;
}

export interface PromptPiece {
  piece: string;
  bos: boolean;
}

export interface SteeringTokensData {
  prompt: string;
  tokens: PromptPiece[];
}

export interface SteeringText {
  pieces: string[];
  changed: number[];
  finish: "length" | "end" | "stopped";
  perplexity: number | null;
  repetition: number;
  kl_first: number | null;
  change_ratio: number | null;
}

export interface SweptText {
  strength: number;
  text: string;
  perplexity: number | null;
  repetition: number;
  change_ratio: number | null;
}

export interface SteeringTexts {
  number: number;
  prompt_pieces: string[];
  baseline: SteeringText;
  steered: SteeringText | null;
  first_difference: number | null;
  sweep: SweptText[];
  swept: string;
  swept_name: string;
  notes: string[];
  seconds: number;
  stopped: boolean;
}

export interface NextToken {
  piece: string;
  baseline: number;
  steered: number;
}

export interface SteeringNextData {
  number: number;
  text: TextName;
  token: number;
  piece: string;
  rows: NextToken[];
}

export interface PresetRow {
  name: string;
  features: number;
  saes: string[];
  prompt: string;
  saved_at: number;
  problem: string;
}

export interface SteeringPresetsData {
  presets: PresetRow[];
}

// ------------------------------------------------------------------------------------------------ guards

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The trait or a refresh reply as `SteeringState`; null when it is not one. */
export function parseSteering(value: unknown): SteeringState | null {
  if (!isObject(value) || typeof value.revision !== "number" || !Array.isArray(value.rows)) return null;
  return { ...EMPTY_STEERING, ...(value as Partial<SteeringState>) };
}
