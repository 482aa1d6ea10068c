/** The steering widget on the page: its state, what is being edited, and the commands it sends. */
import { type Signal, signal } from "@preact/signals";
import { loadedOf } from "../extraction-viewer/feature";
import { Preview } from "../extraction-viewer/preview";
import type { Model } from "../lib/rpc";
import { BaseStore, Chosen, during, withKey } from "../lib/store";
import * as wire from "../lib/wire";

const REST = 120; // ms after the last change before it is sent

export const WIDGET = "steering";
export const PRESETS = "presets";

interface Picked {
  text: wire.TextName;
  token: number;
}

export class Store extends BaseStore<wire.SteeringState, wire.SteeringCommand, never> {
  private readonly edited = new Chosen<Record<string, wire.SteeringEditRow>>();
  private readonly set_ = new Chosen<wire.SteeringSettings>();
  private unsent = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private sending: Promise<boolean> = Promise.resolve(true);
  /** What is wrong with a field, by its name: it is not sent. */
  readonly invalid: Signal<ReadonlyMap<string, string>> = signal(new Map());
  /** Chosen is selected; positions follow once a token is. */
  readonly choosing = signal(false);
  readonly tokens: Signal<string[] | null> = signal(null);
  readonly texts: Signal<wire.SteeringTexts | null> = signal(null);
  readonly sweep: Signal<wire.SteeringTexts | null> = signal(null);
  readonly marked = signal(true);
  readonly picked: Signal<Picked | null> = signal(null);
  readonly next: Signal<wire.SteeringNextData | null> = signal(null);
  readonly presetsShown = signal(false);
  readonly presets: Signal<readonly wire.PresetRecord[] | null> = signal(null);
  readonly browseShown = signal(false);
  readonly demoComing = signal(false);
  /** What could not be copied, to be copied by hand. */
  readonly toCopy: Signal<string | null> = signal(null);
  /** A run was asked for and does not show in the state yet. */
  readonly starting = signal(false);
  /** The text of the field that is focused first when something is wrong. */
  readonly focusField: Signal<string | null> = signal(null);
  /** A feature whose slider gets the focus once its row is there. */
  readonly focusRow: Signal<string | null> = signal(null);
  readonly preview: Preview;
  private tokensOf: string | null = null;

  constructor(model: Model, host: Element, stop: AbortSignal) {
    super(model, host, stop, wire.EMPTY_STEERING);
    this.choosing.value = Array.isArray(this.state.value.settings.positions);
    this.preview = new Preview(host, stop, async (key, signal) =>
      loadedOf(await this.rpc.send({ kind: "steering_preview", key }, { signal })),
    );
    this.follow(
      (before, after, first) => {
        if (first || before.generated !== after.generated) void this.readTexts("generate", after.generated);
        if (first || before.swept !== after.swept) void this.readTexts("sweep", after.swept);
        if (before.run.status !== after.run.status) this.sayRun(after);
        if (Array.isArray(after.settings.positions) && !Array.isArray(before.settings.positions)) {
          this.choosing.value = true;
        }
      },
      (state) => state.run.status === "running" || state.run.status === "stopping",
    );
    stop.addEventListener("abort", () => clearTimeout(this.timer));
  }

  // -------------------------------------------------------------------------------------------- what is set

  rows(): wire.SteeringRow[] {
    return this.state.value.rows.map((row) => ({ ...row, ...this.edited.over({})[row.key] }));
  }

  settings(): wire.SteeringSettings {
    return this.set_.over(this.state.value.settings);
  }

  get running(): boolean {
    const { status } = this.state.value.run;
    return this.starting.value || status === "running" || status === "stopping";
  }

  /** Why the model cannot write the chat that is set; "" if it can. */
  get refused(): string {
    const { chat, system } = this.settings();
    const { chat_problem, system_problem } = this.state.value;
    return chat ? chat_problem || (system.trim() && system_problem) : "";
  }

  setRow(row: wire.SteeringRow, change: Partial<Pick<wire.SteeringRow, "mode" | "strength">>): void {
    const { key, mode, strength } = { ...row, ...change };
    this.edited.take({ [key]: { key, mode, strength } });
    this.later();
  }

  set(change: Partial<wire.SteeringSettings>): void {
    this.set_.take(change);
    this.later();
  }

  setInvalid(field: string, why: string | undefined): void {
    if (this.invalid.value.get(field) !== why) this.invalid.value = withKey(this.invalid.value, field, why);
  }

  private later(): void {
    this.unsent = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), REST);
  }

  flush(): Promise<boolean> {
    clearTimeout(this.timer);
    this.sending = this.sending.then(async () => {
      if (!this.unsent) return true;
      this.unsent = false;
      const [rows, set] = [this.edited.all, this.set_.all];
      const settings = Object.keys(set).length > 0 ? this.settings() : null;
      const command = { kind: "steering_edit", rows: Object.values(rows) as wire.SteeringEditRow[], settings } as const;
      if ((await this.command(WIDGET, "The setting", command)) === null) {
        this.unsent = true;
        return false;
      }
      this.edited.forget(rows, true);
      this.set_.forget(set, true);
      return true;
    });
    return this.sending;
  }

  // -------------------------------------------------------------------------------------------- features

  async add(index: number, label: string): Promise<boolean> {
    const { sae_id } = this.state.value;
    const answer = await this.command("add", "Adding a feature", { kind: "steering_add", sae_id, index, label });
    if (answer === null) return false;
    this.focusRow.value = answer.value.key;
    this.announce(`Feature ${index} added`);
    return true;
  }

  async remove(row: wire.SteeringRow): Promise<void> {
    if (await this.command(WIDGET, "Remove", { kind: "steering_remove", key: row.key })) {
      this.announce(`Feature ${row.index} removed`);
    }
  }

  async reset(): Promise<void> {
    clearTimeout(this.timer);
    this.unsent = false;
    if ((await this.command(WIDGET, "Reset", { kind: "steering_reset" })) === null) return;
    this.forgetTyped();
    this.choosing.value = false;
    this.announce("Reset");
  }

  /** A new chat, or the last message taken back into the prompt. */
  async chat(action: wire.ChatAction): Promise<void> {
    if (!(await this.flush())) return;
    if ((await this.command(WIDGET, "Chat", { kind: "steering_chat", action })) === null) return;
    this.set_.forget({ prompt: this.settings().prompt });
    this.announce(action === "new" ? "New chat" : "The last message is in the prompt");
  }

  private forgetTyped(): void {
    this.edited.forget(this.edited.all);
    this.set_.forget(this.set_.all);
    this.invalid.value = new Map();
  }

  choose(sae_id: string): void {
    void this.command(WIDGET, "The choice of the SAE", { kind: "steering_choose", sae_id });
  }

  /** Takes the demo SAE into the library; features are looked up in it then. */
  async useDemo(): Promise<void> {
    if (this.demoComing.value) return;
    const answer = await during(this.demoComing, this.command(WIDGET, "Use the demo SAE", { kind: "steering_demo" }));
    if (answer) this.announce("The demo SAE is in the library. Add a feature.");
  }

  close(): void {
    void this.command(WIDGET, "Close steering", { kind: "steering_close" });
  }

  browse(): void {
    if (this.state.value.can_browse) void this.command(WIDGET, "Open features browser", { kind: "steering_browse" });
    else this.browseShown.value = !this.browseShown.value;
  }

  // -------------------------------------------------------------------------------------------- positions

  position(value: "all" | "generated" | "prompt" | "chosen"): void {
    this.choosing.value = value === "chosen";
    this.setInvalid("positions", undefined);
    if (value !== "chosen") this.set({ positions: value });
    else void this.loadTokens();
  }

  async loadTokens(): Promise<void> {
    const { prompt, chat, system } = this.settings();
    const key = JSON.stringify([chat, prompt, chat && [system, this.state.value.turns]]);
    if (this.tokensOf === key && this.tokens.value) return;
    this.tokensOf = key;
    const answer = await this.command("tokens", "Reading the prompt", { kind: "steering_tokens", prompt, chat });
    if (this.tokensOf !== key) return; // typed on
    this.tokens.value = answer?.value ?? null;
    if (this.tokens.value === null) this.tokensOf = null;
    const n = this.tokens.value?.length ?? 0;
    const { positions } = this.settings();
    if (n > 0 && Array.isArray(positions) && positions.some((at) => at >= n)) {
      this.chosen(positions.filter((at) => at < n));
    }
  }

  togglePosition(at: number): void {
    const { positions } = this.settings();
    const now = Array.isArray(positions) ? positions : [];
    this.chosen(now.includes(at) ? now.filter((one) => one !== at) : [...now, at].sort((a, b) => a - b));
  }

  private chosen(positions: number[]): void {
    this.setInvalid("positions", undefined);
    this.set({ positions: positions.length ? positions : "all" }); // none: `start` asks for one
  }

  // -------------------------------------------------------------------------------------------- writing

  async start(what: wire.What): Promise<void> {
    if (this.running || this.refused) return;
    if (this.choosing.value && !Array.isArray(this.settings().positions)) {
      this.setInvalid("positions", "Choose at least one token of the prompt.");
    }
    const wrong = [...this.invalid.value.keys()].filter((field) => what === "sweep" || field !== "Strengths");
    if (wrong[0] !== undefined) {
      this.focusField.value = wrong[0];
      return;
    }
    this.starting.value = true;
    this.picked.value = this.next.value = null;
    if (await this.flush()) {
      const word = what === "sweep" ? "Run sweep" : "Generate";
      await this.command(WIDGET, word, { kind: "steering_generate", what });
    }
    this.starting.value = false;
  }

  async stopWriting(): Promise<void> {
    if (this.running) await this.command(WIDGET, "Stop", { kind: "steering_stop" });
  }

  private async readTexts(what: wire.What, number: number): Promise<void> {
    const place = what === "sweep" ? this.sweep : this.texts;
    if (place.value?.number === number) return;
    if (number === 0) {
      place.value = null;
      if (what === "generate") this.picked.value = this.next.value = null;
      return;
    }
    const answer = await this.command(WIDGET, "The texts", { kind: "steering_read", what });
    const found = answer?.value;
    if (!found) return;
    if (what === "generate") this.picked.value = this.next.value = null;
    place.value = found;
  }

  async pick(picked: Picked | null): Promise<void> {
    this.picked.value = picked;
    const texts = this.texts.value;
    if (picked === null || texts === null) {
      this.next.value = null;
      return;
    }
    const { number } = texts;
    const answer = await this.command("next", "Next-token change", { kind: "steering_next", number, ...picked });
    if (this.picked.value === picked) this.next.value = answer?.value ?? null;
  }

  useStrength(row: wire.SteeringRow, strength: number): void {
    this.setRow(row, { strength });
    this.announce(`Strength of feature ${row.index} is ${strength}`);
  }

  private sayRun({ run }: wire.SteeringState): void {
    const words = { running: "Writing", done: "Done", stopped: "Stopped", failed: run.problem?.what ?? "Failed" };
    const say = (words as Record<string, string>)[run.status];
    if (say) this.announce(say);
  }

  async copy(): Promise<string | null> {
    if (!(await this.flush())) return null;
    const answer = await this.command(WIDGET, "Copy all", { kind: "steering_copy" });
    return answer?.value?.text ?? null;
  }

  // -------------------------------------------------------------------------------------------- presets

  async showPresets(shown: boolean): Promise<void> {
    this.presetsShown.value = shown;
    if (!shown) return;
    const answer = await this.command(PRESETS, "Presets", { kind: "steering_presets" });
    if (answer) this.presets.value = answer.value;
  }

  async preset(action: wire.PresetAction, name: string, replace = false): Promise<boolean> {
    if (action === "save" && !(await this.flush())) return false;
    const answer = await this.command(PRESETS, "Presets", { kind: "steering_preset", action, name, replace });
    if (answer === null) return false;
    this.presets.value = answer.value;
    if (action === "load") {
      this.presetsShown.value = false;
      this.choosing.value = Array.isArray(this.state.value.settings.positions);
      this.forgetTyped();
    }
    this.announce({ save: "Preset saved", load: "Preset loaded", delete: "Preset deleted" }[action]);
    return true;
  }

  closeInnermost(): boolean {
    if (this.preview.close()) return true;
    if (this.picked.value !== null) {
      void this.pick(null);
      return true;
    }
    const shown = [this.keysShown, this.presetsShown, this.browseShown].find((one) => one.value);
    if (shown) shown.value = false;
    return shown !== undefined;
  }
}
