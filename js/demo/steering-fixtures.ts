/** States of the steering widget as Python sends them, made up. */
import {
  EMPTY_STEERING,
  type SteeringNextData,
  type SteeringRow,
  type SteeringState,
  type SteeringTexts,
} from "../src/lib/wire";

export const HOSTILE = '<img src=x onerror="alert(1)">';
export const PROMPT = "In the morning the old man walked down to the";

export const row = (change: Partial<SteeringRow> = {}): SteeringRow => ({
  key: "f1",
  sae_id: "sae_1",
  sae: "demo-l2-topk-16k",
  index: 7451,
  label: "ships and sailing vessels",
  mode: "add_max",
  strength: 2,
  a_max: 41.7,
  usual: 2,
  basis: "over 65,536 tokens (extraction)",
  pending: false,
  problem: null,
  ...change,
});

export const ROWS: SteeringRow[] = [
  row(),
  row({ key: "f2", index: 7487, label: "sums of money: dollars, cents", mode: "clamp", strength: 0, a_max: 30 }),
  row({ key: "f3", index: 310, label: "verbs of promising and agreeing", strength: -1, a_max: 27 }),
];

export const steeringState = (change: Partial<SteeringState> = {}): SteeringState => ({
  ...EMPTY_STEERING,
  revision: 1,
  saes: [
    { id: "sae_1", name: "demo-l2-topk-16k", model: "demo", hook_name: "blocks.2.hook_resid_post", d_sae: 16_384 },
  ],
  sae_id: "sae_1",
  rows: ROWS,
  settings: { ...EMPTY_STEERING.settings, prompt: PROMPT },
  gauge: { ratio: 0.38, over: "steered tokens" },
  updated_at: 1_790_000_000,
  ...change,
});

const words = (text: string): string[] => text.match(/\s*\S+/g) ?? [];
const BASELINE = words(
  " village and sat for a while beside the well, as he had done every day since his wife had died. The women who came " +
    "for water spoke to him kindly, and he promised one of them ten dollars for a loaf and a little meat.",
);
const STEERED = words(
  " ship and stood a long time upon the quay, where the vessel lay with her sails furled. The sailors who came ashore " +
    "spoke to him kindly, and the captain gave him a berth among the crew of the schooner.",
);
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

export const texts = (change: Partial<SteeringTexts> = {}): SteeringTexts => ({
  number: 1,
  prompt_pieces: words(PROMPT),
  baseline: {
    pieces: BASELINE,
    changed: [0, ...range(2, 19)],
    finish: "length",
    perplexity: 11.2,
    repetition: 0,
    kl_first: 1.31,
    change_ratio: null,
  },
  steered: {
    pieces: STEERED,
    changed: [0, ...range(2, 16), 17, 20, ...range(26, STEERED.length)],
    finish: "length",
    perplexity: 18.7,
    repetition: 0.02,
    kl_first: 1.31,
    change_ratio: 0.38,
  },
  first_difference: 0,
  sweep: [],
  swept: "",
  swept_name: "",
  notes: [],
  seconds: 1.4,
  stopped: false,
  ...change,
});

export const swept = (): SteeringTexts =>
  texts({
    number: 2,
    steered: null,
    swept: "f1",
    swept_name: "feature 7451",
    sweep: [
      [-4, " to the land, and the land was dry, and the land the land of the land", 64, 0.31, 0.76],
      [-2, " to the field where his sons were at work with the hay", 15, 0.01, 0.38],
      [0, " to the village and sat for a while beside the well", 11, 0, 0],
      [2, " to the ship and stood a long time upon the quay", 19, 0.02, 0.38],
      [4, " to the ship ship vessel ship, the ship of the ship", 88, 0.46, 0.76],
    ].map(([strength, text, perplexity, repetition, change_ratio]) => ({
      strength,
      text,
      perplexity,
      repetition,
      change_ratio,
    })) as SteeringTexts["sweep"],
  });

export const NEXT: SteeringNextData = {
  number: 1,
  text: "steered",
  token: 0,
  piece: " ship",
  rows: [
    { piece: " ship", baseline: 0.002, steered: 0.314 },
    { piece: " vessel", baseline: 0, steered: 0.129 },
    { piece: " shore", baseline: 0.011, steered: 0.097 },
    { piece: " village", baseline: 0.186, steered: 0.009 },
    { piece: " river", baseline: 0.113, steered: 0.04 },
  ],
};
