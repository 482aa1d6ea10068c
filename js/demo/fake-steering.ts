/** A stand-in for the steering widget's Python half. */
import type { PresetRow, SteeringCommand, SteeringHit, SteeringState, SteeringTexts } from "../src/lib/wire";
import { FakeWidget } from "./fake-widget";
import { NEXT, row, steeringState, swept, texts } from "./steering-fixtures";

type Sent = SteeringCommand & { id: string };

export interface SteeringOptions {
  silent?: boolean;
  /** Runs stay as they are after they were started, for a test to move on. */
  hold?: boolean;
  texts?: SteeringTexts;
  sweep?: SteeringTexts;
  presets?: PresetRow[];
  /** What a command fails with, by its kind. */
  failures?: Partial<Record<SteeringCommand["kind"], { what: string; where?: string; hint?: string }>>;
}

const LABELS: SteeringHit[] = [
  { index: 7451, label: "ships and sailing vessels" },
  { index: 12, label: "" },
  { index: 900, label: '<b>ship</b> <img src=x onerror="alert(1)">' },
];

export class FakeSteering extends FakeWidget<SteeringState, SteeringCommand> {
  private presets: PresetRow[];

  constructor(
    state: SteeringState,
    private readonly options: SteeringOptions = {},
  ) {
    super("steering", state);
    this.presets = options.presets ?? [];
  }

  send(content: unknown): void {
    const command = content as Sent;
    this.sent.push(command);
    if (this.options.silent) return;
    setTimeout(() => this.answer(command), 2);
  }

  private answer(command: Sent): void {
    const { id } = command;
    this.emit("msg:custom", { id, kind: "ack" }, []);
    const failure = this.options.failures?.[command.kind];
    if (failure) {
      this.emit("msg:custom", { id, kind: "failure", where: null, hint: null, fields: {}, ...failure }, []);
      return;
    }
    this.emit("msg:custom", { id, kind: "result", value: this.value(command), columns: [] }, []);
  }

  private value(command: Sent): unknown {
    const { state } = this;
    switch (command.kind) {
      case "steering_edit": {
        const edits = new Map((command.rows ?? []).map((edit) => [edit.key, edit]));
        const rows = state.rows.map((one) => ({ ...one, ...edits.get(one.key) }));
        this.setState({ rows, settings: command.settings ?? state.settings });
        return { revision: this.state.revision };
      }
      case "steering_add": {
        const key = `f${state.rows.length + 10}`;
        const { index, label, sae_id } = command;
        this.setState({ rows: [...state.rows, row({ key, index, label, sae_id, strength: 2 })] });
        return { key };
      }
      case "steering_demo":
        this.setState({ saes: steeringState().saes, sae_id: "sae_1" });
        return { sae_id: "sae_1" };
      case "steering_close":
        return null;
      case "steering_remove":
        this.setState({ rows: state.rows.filter((one) => one.key !== command.key) });
        return null;
      case "steering_choose":
        this.setState({ sae_id: command.sae_id });
        return null;
      case "steering_find": {
        const text = command.text.trim();
        const hits = /^\d+$/.test(text)
          ? [{ index: Number(text), label: "" }]
          : LABELS.filter((hit) => hit.label.includes(text));
        return {
          sae_id: command.sae_id,
          text: command.text,
          hits,
          note: hits.length ? "" : "No label has these words.",
        };
      }
      case "steering_tokens": {
        const pieces = command.prompt.match(/\s*\S+/g) ?? [];
        const bos = { piece: "<|bos|>", bos: true };
        return { prompt: command.prompt, tokens: [bos, ...pieces.map((piece) => ({ piece, bos: false }))] };
      }
      case "steering_generate": {
        const number = state.run.number + 1;
        this.setState({
          run: {
            ...state.run,
            number,
            kind: command.what ?? "generate",
            status: "running",
            phase: "writing",
            texts: [],
            problem: null,
          },
        });
        if (!this.options.hold) setTimeout(() => this.finish(), 5);
        return { number };
      }
      case "steering_stop":
        this.setState({ run: { ...state.run, status: "stopping" } });
        return null;
      case "steering_read": {
        const found = command.what === "sweep" ? (this.options.sweep ?? swept()) : (this.options.texts ?? texts());
        return { ...found, number: command.what === "sweep" ? state.swept : state.generated };
      }
      case "steering_next":
        return { ...NEXT, number: command.number, text: command.text, token: command.token };
      case "steering_copy":
        return { text: "# Steering\nseed 16" };
      case "steering_presets":
        return { presets: this.presets };
      case "steering_preset":
        if (command.action === "delete") this.presets = this.presets.filter((one) => one.name !== command.name);
        if (command.action === "save") {
          const saved = {
            name: command.name,
            features: 1,
            saes: ["a"],
            prompt: "",
            saved_at: 1_790_000_000,
            problem: "",
          };
          this.presets = [saved, ...this.presets];
        }
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
