/** Which features fire on a text: the text, how they are ranked, the answer. */
import { signal } from "@preact/signals";
import { asFailure, isAbort, type Rpc } from "../lib/rpc";
import type { PromptReading, RankBy, ViewerCommand } from "../lib/wire";
import { type Asked, activationsOf } from "./feature";

export interface Reading {
  answer: PromptReading;
  /** Row by row, one per token. */
  values: Float32Array;
  /** What was asked. */
  text: string;
  rankBy: RankBy;
  token: number | null;
}

const LIMIT = 50;

export class PromptStore {
  readonly text = signal("");
  readonly rankBy = signal<RankBy>("max");
  readonly token = signal<number | null>(null);
  readonly hideDense = signal(true);
  readonly reading = signal<Asked<Reading>>({ data: null, problem: null, busy: false });
  /** Says that the text is to be chosen a token of. */
  readonly choosing = signal(false);
  private extraction = "";
  private stop = new AbortController();

  constructor(
    private readonly rpc: Rpc,
    private readonly onRead: (text: string) => void,
  ) {}

  use(extraction: string): void {
    if (extraction === this.extraction) return;
    this.extraction = extraction;
    this.stop.abort();
    this.token.value = null;
    this.reading.value = { data: null, problem: null, busy: false };
  }

  async read(): Promise<void> {
    this.stop.abort();
    const stop = new AbortController();
    this.stop = stop;
    const text = this.text.value;
    if (text.trim() === "") return;
    // a token of another text is no token of this one
    if (this.reading.value.data?.text !== text) this.rank(this.rankBy.value === "token" ? "max" : this.rankBy.value);
    const [rankBy, token] = [this.rankBy.value, this.token.value];
    this.reading.value = { data: this.reading.value.data, problem: null, busy: true };
    this.onRead(text);
    const command: ViewerCommand = {
      kind: "read_prompt",
      extraction_id: this.extraction,
      text,
      rank_by: rankBy,
      token,
      hide_dense: this.hideDense.value,
      limit: LIMIT,
    };
    try {
      const answer = await this.rpc.send(command, { signal: stop.signal });
      const reading = answer.value;
      const values = activationsOf(answer);
      if (values.length !== reading.rows.length * reading.tokens.length) {
        throw new RangeError(
          `${reading.rows.length} rows of ${reading.tokens.length} tokens came with ${values.length} activations.`,
        );
      }
      this.reading.value = { data: { answer: reading, values, text, rankBy, token }, problem: null, busy: false };
    } catch (error) {
      if (isAbort(error) || stop.signal.aborted) return;
      this.reading.value = { data: this.reading.value.data, problem: asFailure(error), busy: false };
    }
  }

  /** Ranks by the largest value, by the sum, or by a token; without a token, one has to be chosen first. */
  rankAgain(by: RankBy, token: number | null = null): void {
    if (by === "token" && token === null) {
      this.choosing.value = true;
      this.rankBy.value = "token";
      return;
    }
    this.rank(by, token);
    void this.read();
  }

  setHideDense(hide: boolean): void {
    this.hideDense.value = hide;
    if (this.reading.value.data) void this.read();
  }

  close(): void {
    this.stop.abort();
  }

  private rank(by: RankBy, token: number | null = null): void {
    this.rankBy.value = by;
    this.token.value = token;
    this.choosing.value = false;
  }
}
