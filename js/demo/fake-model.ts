/** A stand-in for the anywidget model and the Python half behind it. */
import { fromFloat64 } from "../src/lib/buffers";
import type { Card, ChartState, Command, DetailsData, PanelState } from "../src/lib/protocol";
import { FakeWidget } from "./fake-widget";
import { CHECK, card, FORM } from "./fixtures";

type Sent = Command & { id: string };

const NEXT_STATUS: Record<string, string> = {
  pause: "paused",
  resume: "running",
  stop: "stopped",
  stop_without_saving: "stopped",
};

export class FakeModel extends FakeWidget<PanelState, Command> {
  private peers: FakeModel[] = [this];

  constructor(
    view: string,
    state: PanelState,
    private readonly options: { late?: boolean; silent?: boolean } = {},
  ) {
    super(view, state);
  }

  /** Lets several parts share one state, as the parts of one panel do. */
  static link(models: FakeModel[]): void {
    for (const model of models) model.peers = models;
  }

  override setState(change: Partial<PanelState>): void {
    const before = this.traits.state as PanelState;
    for (const peer of this.peers) {
      peer.traits.state = { ...before, ...change, revision: before.revision + 1 };
      peer.emit("change:state");
    }
  }

  send(content: unknown): void {
    const command = content as Sent;
    this.sent.push(command);
    if (this.options.silent) return;
    setTimeout(() => this.answer(command), this.options.late ? 2500 : 5);
  }

  private answer(command: Sent): void {
    const { id } = command;
    this.emit("msg:custom", { id, kind: "ack" }, []);
    const reply = (value: unknown, columns: string[] = [], buffers: DataView[] = []) =>
      setTimeout(() => this.emit("msg:custom", { id, kind: "result", value, columns }, buffers), 10);
    const state = this.traits.state as PanelState;
    const cards = state.cards;
    switch (command.kind) {
      case "form_schema":
        return void reply(FORM);
      case "check":
        return void reply(this.check(command.config));
      case "create": {
        const fields = this.check(command.config).fields;
        if (Object.keys(fields).length) {
          this.emit("msg:custom", { id, kind: "failure", what: "The configuration is not valid.", fields }, []);
          return;
        }
        const made = card({ name: String(command.config.name ?? "new-run"), status: "queued", queue_position: 2 });
        this.setState({ cards: [...cards, made], total: cards.length + 1 });
        return void reply({ training_id: made.id });
      }
      case "run_action":
        this.act(command.training_id, command.action, () => reply({ training_id: command.training_id }));
        return;
      case "rename":
        this.update(command.training_id, { name: command.name });
        return void reply({ training_id: command.training_id });
      case "chart": {
        const { id: _, kind: __, reset_zoom: ___, ...change } = command;
        const charts = { ...state.charts, ...(change as Partial<ChartState>) };
        this.setState({
          charts,
          cards: cards.map((one) => {
            const place = charts.training_ids.indexOf(one.id);
            return { ...one, series: place >= 0 && place < 6 ? place : null };
          }),
        });
        return void reply(null);
      }
      case "details":
        return void reply(DETAILS);
      case "metric_table":
        return void reply(
          { rows: 3, total: 3 },
          ["step", "tokens", "time", "loss", "l0", "fvu"],
          [
            fromFloat64([10, 20, 30]),
            fromFloat64([40_960, 81_920, 122_880]),
            fromFloat64([1, 2, 3].map((i) => Date.now() / 1000 + i)),
            fromFloat64([1.2, 0.9, 0.7]),
            fromFloat64([32, 32, 32]),
            fromFloat64([0.4, Number.NaN, 0.2]),
          ],
        );
      default:
        return void reply(null);
    }
  }

  private update(id: string, change: Partial<Card>): void {
    const { cards } = this.traits.state as PanelState;
    this.setState({ cards: cards.map((one) => (one.id === id ? { ...one, ...change } : one)) });
  }

  private act(id: string, action: string, reply: () => void): void {
    const { cards } = this.traits.state as PanelState;
    if (action === "delete") {
      const left = cards.filter((one) => one.id !== id);
      this.setState({ cards: left, total: left.length });
    } else if (action === "import") this.update(id, { sae_id: "sae_new" });
    else if (action === "pause" || action === "stop") {
      this.update(id, { status: action === "pause" ? "pausing" : "stopping" });
      setTimeout(() => this.update(id, { status: NEXT_STATUS[action] }), 800);
    } else if (NEXT_STATUS[action]) this.update(id, { status: NEXT_STATUS[action] });
    reply();
  }

  private check(config: Record<string, unknown>) {
    const sae = config.sae as { k?: number; d_sae?: number } | undefined;
    const fields: Record<string, string> = {};
    if (sae?.k && sae.d_sae && sae.k > sae.d_sae) {
      const [k, d_sae] = [sae.k.toLocaleString("en-US"), sae.d_sae.toLocaleString("en-US")];
      fields["sae.k"] = `k is ${k} but d_sae is ${d_sae}. Enter 1 to ${d_sae}; 32 is usual.`;
    }
    return { ...CHECK, fields };
  }
}

const at = (step: number) => Date.now() / 1000 - (1500 - step);

const DETAILS: DetailsData = {
  checkpoints: [
    { id: "a", label: "latest", step: 1500, tokens: 6_144_000, fvu: 0.119, size_bytes: 302e6, saved_at: at(1500) },
    { id: "b", label: "best FVU", step: 1450, tokens: 5_939_200, fvu: 0.118, size_bytes: 302e6, saved_at: at(1450) },
    { id: "c", label: "step 1,000", step: 1000, tokens: 4_096_000, fvu: 0.123, size_bytes: 302e6, saved_at: at(1000) },
  ],
  log: [
    "14:11:51 step 1,490  loss 0.2850  fvu 0.119",
    "14:11:52 step 1,500  loss 0.2841  fvu 0.119",
    "14:11:52 checkpoint saved (302 MB)",
  ],
  settings: [
    { name: "model", value: "gpt2" },
    { name: "sae.k", value: "32" },
    { name: "optimizer.lr", value: "0.0003" },
  ],
  folder: "trainings/train_01",
  traceback: null,
};
