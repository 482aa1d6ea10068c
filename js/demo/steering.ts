/** States of the steering widget, and a stand-in for its Python half. */
import {
  EMPTY_STEERING,
  type PresetRow,
  type SteeringCommand,
  type SteeringNextData,
  type SteeringRow,
  type SteeringState,
  type SteeringTexts,
} from "../src/lib/wire";
import { type FakeOptions, FakeWidget } from "./fake";

export const HOSTILE = '<img src=x onerror="alert(1)">';
export const PROMPT = "In the morning the old man walked down to the";

export const row = (change: Partial<SteeringRow> = {}): SteeringRow => ({
  ...{ key: "f1", sae_id: "sae_1", sae: "demo-l2-topk-16k", index: 7451, label: "ships and sailing vessels" },
  ...{ mode: "add_max", strength: 2, a_max: 41.7, usual: 2, basis: "over 65,536 tokens (extraction)" },
  ...{ pending: false, problem: null },
  ...change,
});

export const ROWS: SteeringRow[] = [
  row(),
  row({ key: "f2", index: 7487, label: "sums of money: dollars, cents", mode: "clamp", strength: 0, a_max: 30 }),
  row({ key: "f3", index: 310, label: "verbs of promising and agreeing", strength: -1, a_max: 27 }),
];

const SAE = {
  id: "sae_1",
  name: "demo-l2-topk-16k",
  model: "demo",
  hook_name: "blocks.2.hook_resid_post",
  d_sae: 16_384,
};
export const steeringState = (change: Partial<SteeringState> = {}): SteeringState => ({
  ...EMPTY_STEERING,
  ...{ revision: 1, saes: [SAE], sae_id: "sae_1", rows: ROWS, gauge: { ratio: 0.38, over: "steered tokens" } },
  settings: { ...EMPTY_STEERING.settings, prompt: PROMPT },
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
const text = (pieces: string[], changed: number[], perplexity: number, more: object) => ({
  ...{
    pieces,
    changed,
    finish: "length" as const,
    perplexity,
    repetition: 0,
    kl_first: 1.31,
    change_ratio: null,
    ...more,
  },
});

export const texts = (change: Partial<SteeringTexts> = {}): SteeringTexts => ({
  ...{ number: 1, prompt_pieces: words(PROMPT), first_difference: 0, seconds: 1.4, stopped: false, notes: [] },
  baseline: text(BASELINE, [0, ...range(2, 19)], 11.2, {}),
  steered: text(STEERED, [0, ...range(2, 16), 17, 20, ...range(26, STEERED.length)], 18.7, {
    ...{ repetition: 0.02, change_ratio: 0.38 },
  }),
  ...{ sweep: [], swept: "", swept_name: "" },
  ...change,
});

const swept = (): SteeringTexts => {
  const of = (strength: number, text: string, perplexity: number, repetition: number, change_ratio: number) => ({
    ...{ strength, text, perplexity, repetition, change_ratio },
  });
  const sweep = [
    of(-4, " to the land, and the land was dry, and the land the land of the land", 64, 0.31, 0.76),
    of(-2, " to the field where his sons were at work with the hay", 15, 0.01, 0.38),
    of(0, " to the village and sat for a while beside the well", 11, 0, 0),
    of(2, " to the ship and stood a long time upon the quay", 19, 0.02, 0.38),
    of(4, " to the ship ship vessel ship, the ship of the ship", 88, 0.46, 0.76),
  ];
  return texts({ number: 2, steered: null, swept: "f1", swept_name: "feature 7451", sweep });
};

const next = (piece: string, baseline: number, steered: number) => ({ piece, baseline, steered });
const NEXT: SteeringNextData = {
  ...{ number: 1, text: "steered", token: 0, piece: " ship" },
  rows: [
    next(" ship", 0.002, 0.314),
    next(" vessel", 0, 0.129),
    next(" shore", 0.011, 0.097),
    next(" village", 0.186, 0.009),
    next(" river", 0.113, 0.04),
  ],
};

export interface SteeringOptions extends FakeOptions<SteeringCommand> {
  /** Runs stay as they are after they were started, for a test to move on. */
  hold?: boolean;
  texts?: SteeringTexts;
  sweep?: SteeringTexts;
  presets?: PresetRow[];
}

const LABELS = [
  { index: 7451, label: "ships and sailing vessels" },
  { index: 12, label: "" },
  { index: 900, label: '<b>ship</b> <img src=x onerror="alert(1)">' },
];

export class FakeSteering extends FakeWidget<SteeringState, SteeringCommand> {
  private presets: PresetRow[];

  constructor(
    state: SteeringState,
    private readonly how: SteeringOptions = {},
  ) {
    super("steering", state, how);
    this.presets = how.presets ?? [];
  }

  protected answer(command: SteeringCommand): unknown {
    const { state } = this;
    switch (command.kind) {
      case "steering_edit": {
        const edits = new Map((command.rows ?? []).map((edit) => [edit.key, edit]));
        const rows = state.rows.map((one) => ({ ...one, ...edits.get(one.key) }));
        this.setState({ rows, settings: command.settings ?? state.settings });
        return { revision: this.state.revision };
      }
      case "steering_add": {
        const { index, label = "", sae_id } = command;
        const key = `f${state.rows.length + 10}`;
        this.setState({ rows: [...state.rows, row({ key, index, label, sae_id, strength: 2 })] });
        return { key };
      }
      case "steering_demo":
        this.setState({ saes: [SAE], sae_id: "sae_1" });
        return { sae_id: "sae_1" };
      case "steering_remove":
        return this.setState({ rows: state.rows.filter((one) => one.key !== command.key) }) ?? null;
      case "steering_choose":
        return this.setState({ sae_id: command.sae_id }) ?? null;
      case "steering_find": {
        const { sae_id, text } = command;
        const number = /^\d+$/.test(text.trim()) ? [{ index: Number(text), label: "" }] : null;
        const hits = number ?? LABELS.filter((hit) => hit.label.includes(text.trim()));
        return { sae_id, text, hits, note: hits.length ? "" : "No label has these words." };
      }
      case "steering_tokens": {
        const pieces = words(command.prompt).map((piece) => ({ piece, bos: false }));
        return { prompt: command.prompt, tokens: [{ piece: "<|bos|>", bos: true }, ...pieces] };
      }
      case "steering_generate": {
        const number = state.run.number + 1;
        const run = { number, kind: command.what ?? "generate", status: "running", phase: "writing" } as const;
        this.setState({ run: { ...state.run, ...run, texts: [], problem: null } });
        if (!this.how.hold) setTimeout(() => this.finish(), 5);
        return { number };
      }
      case "steering_stop":
        return this.setState({ run: { ...state.run, status: "stopping" } }) ?? null;
      case "steering_read":
        return command.what === "sweep"
          ? { ...(this.how.sweep ?? swept()), number: state.swept }
          : { ...(this.how.texts ?? texts()), number: state.generated };
      case "steering_next":
        return { ...NEXT, number: command.number, text: command.text, token: command.token };
      case "steering_copy":
        return { text: "# Steering\nseed 16" };
      case "steering_preset": {
        const saved = {
          name: command.name,
          features: 1,
          saes: ["a"],
          prompt: "",
          saved_at: 1_790_000_000,
          problem: "",
        };
        if (command.action === "delete") this.presets = this.presets.filter((one) => one.name !== command.name);
        if (command.action === "save") this.presets = [saved, ...this.presets];
        return { presets: this.presets };
      }
      case "steering_presets":
        return { presets: this.presets };
      default:
        return null;
    }
  }

  /** Ends what is under way. */
  finish(): void {
    const { run } = this.state;
    const place = run.kind === "sweep" ? { swept: run.number } : { generated: run.number };
    this.setState({ run: { ...run, status: "done" }, ...place });
  }
}
