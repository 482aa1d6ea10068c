/** What a feature does to the model's loss on the next token, asked for one token at a time while its card is open. */
import { signal } from "@preact/signals";
import { asFailure, isAbort, type Rpc } from "../lib/rpc";
import type { LossEffectData, ViewerCommand } from "../lib/wire";
import type { TokenInfo } from "./examples";
import { signed } from "./words";

type LossCommand = Extract<ViewerCommand, { kind: "read_loss_effect" }>;

const REST = 150; // ms on a token before it is asked for: a pointer passes many
const KEPT = 500; // answers

export class LossEffects {
  /** In words; "" where there is nothing to say. */
  readonly words = signal("");
  private readonly known = new Map<string, string>();
  private current = "";
  private stop = new AbortController();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly rpc: Rpc,
    private readonly isLive: () => boolean,
  ) {}

  /** The card of a token is open. */
  ask(extraction_id: string, index: number, { value, place }: TokenInfo): void {
    const key = JSON.stringify([extraction_id, index, place]);
    if (key === this.current) return; // from one part of a token to another
    this.leave();
    this.current = key;
    if (place === null) return;
    if (value === 0) {
      this.words.value = "none, it is silent here";
      return;
    }
    if (!this.isLive()) {
      this.words.value = "needs the model, which is not here";
      return;
    }
    const known = this.known.get(key);
    this.words.value = known ?? "…";
    if (known !== undefined) return;
    const { stop } = this;
    const command: LossCommand = { kind: "read_loss_effect", extraction_id, index, ...place };
    this.timer = setTimeout(() => void this.read(key, command, stop), REST);
  }

  private async read(key: string, command: LossCommand, stop: AbortController): Promise<void> {
    let words: string;
    try {
      const data = (await this.rpc.send(command, { signal: stop.signal })).value;
      words = lossWords(data);
      if (this.known.size >= KEPT) this.known.clear();
      if (!data.problem) this.known.set(key, words);
    } catch (error) {
      if (isAbort(error)) return;
      words = `not known: ${asFailure(error).what}`;
    }
    if (!stop.signal.aborted) this.words.value = words;
  }

  /** The card was closed, or shows another token. */
  leave(): void {
    clearTimeout(this.timer);
    this.stop.abort();
    this.stop = new AbortController();
    this.words.value = "";
    this.current = "";
  }

  /** Another feature is shown, or the same with other weights. */
  forget(): void {
    this.leave();
    this.known.clear();
  }
}

/** "−0.184 nats (helps)". */
function lossWords({ effect, problem }: LossEffectData): string {
  if (problem) return `not known: ${problem.what}`;
  if (effect === null) return "not known";
  if (Math.abs(effect) < 0.0005) return "0.000 nats";
  return `${signed(effect, 3)} nats (${effect < 0 ? "helps" : "hurts"})`;
}
