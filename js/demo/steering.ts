/** States of the steering widget, and a stand-in for its Python half. */
import * as wire from "../src/lib/wire";
import { type Answers, type FakeOptions, FakeWidget, sceneOf } from "./fake";
import { SHIP } from "./viewer";

const scene = sceneOf("steering");

export const PROMPT = scene.prompt;
export const ROWS = scene.rows.map((one) => ({ tokens: [], ...one })) as object[] as wire.SteeringRow[];
const FIRST = ROWS[0] as wire.SteeringRow;
export const row = (change: Partial<wire.SteeringRow> = {}) => ({ ...FIRST, ...change });
const TEXTS = { turn: null, ...scene.texts } as wire.SteeringTexts;
export const texts = (change: Partial<wire.SteeringTexts> = {}) => ({ ...TEXTS, ...change });

export const NO_CHAT = "The tokenizer of demo has no chat template.";
export const NO_SYSTEM = "The chat template of demo has no system role.";

const said = (text: wire.SteeringText | null) => (text?.pieces ?? []).join("").trim();

/** A chat of two turns, the second answered by the texts of the scene. */
export const CHAT = {
  settings: { ...wire.EMPTY_STEERING.settings, chat: true, system: "Answer in one short paragraph." },
  turns: [
    {
      user: "What did the old man see from the hill?",
      baseline: "He saw the village, and smoke that rose from its roofs.",
      steered: "He saw the harbour, and a ship that came in under full sail.",
    },
    { user: "Where did he go then?", baseline: said(TEXTS.baseline), steered: said(TEXTS.steered) },
  ],
};

export const steeringState = (change: Partial<wire.SteeringState> = {}): wire.SteeringState => ({
  ...{ ...wire.EMPTY_STEERING, revision: 1, saes: [scene.sae], sae_id: "sae_1", rows: ROWS, updated_at: 1_790_000_000 },
  gauge: { ratio: 0.38, over: "steered tokens" },
  settings: { ...wire.EMPTY_STEERING.settings, prompt: PROMPT },
  ...change,
});

export interface SteeringOptions extends FakeOptions<wire.SteeringCommand> {
  /** Runs stay as they are after they were started, for a test to move on. */
  hold?: boolean;
  presets?: wire.PresetRecord[];
}

export class FakeSteering extends FakeWidget<wire.SteeringState, wire.SteeringCommand, SteeringOptions> {
  protected readonly view = "steering";
  private presets = this.options.presets ?? [];

  protected readonly answers: Answers<wire.SteeringCommand> = {
    steering_edit: ({ rows, settings }) => {
      const edits = new Map((rows ?? []).map((edit) => [edit.key, edit]));
      const edited = this.state.rows.map((one) => ({ ...one, ...edits.get(one.key) }));
      this.setState({ rows: edited, settings: settings ?? this.state.settings });
    },
    steering_add: ({ index, label = "", sae_id }) => {
      const key = `f${this.state.rows.length + 10}`;
      this.setState({ rows: [...this.state.rows, row({ key, index, label, sae_id, strength: 2 })] });
      return { key };
    },
    steering_demo: () => this.setState({ saes: [scene.sae], sae_id: "sae_1" }),
    steering_remove: ({ key }) => this.setState({ rows: this.state.rows.filter((one) => one.key !== key) }),
    steering_find: ({ sae_id, text }) => {
      const number = /^\d+$/.test(text.trim())
        ? [{ index: Number(text), label: "", tokens: [" ship", " sail"] }]
        : null;
      const hits =
        number ?? scene.labels.filter((hit) => hit.label.includes(text.trim())).map((hit) => ({ ...hit, tokens: [] }));
      return { sae_id, text, hits, note: hits.length ? "" : "No label has these words." };
    },
    steering_tokens: ({ prompt }) => ["<|bos|>", ...(prompt.match(/\s*\S+/g) ?? [])],
    steering_generate: ({ what }) => {
      const { run } = this.state;
      const next = { number: run.number + 1, kind: what ?? "generate", status: "running", phase: "writing" } as const;
      const { settings, turns } = this.state;
      const turn = settings.chat && next.kind === "generate" ? turns.length : null;
      if (turn !== null) {
        const pending = { user: settings.prompt, baseline: "", steered: "" };
        this.setState({ turns: [...turns, pending], settings: { ...settings, prompt: "" } });
      }
      this.setState({ run: { ...run, ...next, turn, texts: [], problem: null } });
      if (!this.options.hold) setTimeout(() => this.finish(), 5);
      return { number: next.number };
    },
    steering_preview: () => SHIP,
    steering_stop: () => this.setState({ run: { ...this.state.run, status: "stopping" } }),
    steering_read: ({ what }) =>
      what === "sweep"
        ? { ...scene.sweep, number: this.state.swept, turn: null }
        : {
            ...texts(),
            number: this.state.generated,
            turn: this.state.turns.length ? this.state.turns.length - 1 : null,
          },
    steering_chat: ({ action }) => {
      const { settings, turns } = this.state;
      const prompt = action === "edit" ? (turns.at(-1)?.user ?? "") : settings.prompt;
      this.setState({
        turns: action === "edit" ? turns.slice(0, -1) : [],
        settings: { ...settings, prompt },
        generated: 0,
      });
    },
    steering_preset: ({ action, name }) => {
      const saved = { name, features: 1, saes: ["a"], prompt: "", saved_at: 1_790_000_000, path: "", problem: "" };
      if (action === "delete") this.presets = this.presets.filter((one) => one.name !== name);
      if (action === "save") this.presets = [saved, ...this.presets];
      return this.presets;
    },
    steering_presets: () => this.presets,
  };

  /** Ends what is under way. */
  finish(): void {
    const { run } = this.state;
    const place = run.kind === "sweep" ? { swept: run.number } : { generated: run.number };
    this.setState({ run: { ...run, status: "done" }, ...place });
  }
}
