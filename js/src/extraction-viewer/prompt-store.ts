/** Which features fire on a text: the text, how they are ranked, the answer. */
import { signal } from "@preact/signals";
import { Latest } from "../lib/ask";
import type { Rpc } from "../lib/rpc";
import type { PromptReading, RankBy, ViewerCommand } from "../lib/wire";
import { activationsOf } from "./feature";

export interface Reading {
  answer: PromptReading;
  /** Row by row, one per token. */
  values: Float32Array;
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
  readonly reading = new Latest<Reading>();
  /** Says that the text is to be chosen a token of. */
  readonly choosing = signal(false);
  private extraction = "";

  constructor(
    private readonly rpc: Rpc,
    private readonly onRead: (text: string) => void,
  ) {}

  use(extraction: string): void {
    if (extraction === this.extraction) return;
    this.extraction = extraction;
    this.token.value = null;
    this.reading.forget();
  }

  async read(): Promise<void> {
    const text = this.text.value;
    if (text.trim() === "") return;
    // a token of another text is no token of this one
    if (this.reading.value.data?.text !== text) this.rank(this.rankBy.value === "token" ? "max" : this.rankBy.value);
    const [rankBy, token] = [this.rankBy.value, this.token.value];
    const command: ViewerCommand = {
      kind: "read_prompt",
      extraction_id: this.extraction,
      text,
      rank_by: rankBy,
      token,
      hide_dense: this.hideDense.value,
      limit: LIMIT,
    };
    await this.reading.ask(async (signal) => {
      this.onRead(text);
      const answer = await this.rpc.send(command, { signal });
      const { rows, tokens } = answer.value;
      const values = activationsOf(answer, rows.length * tokens.length);
      return { answer: answer.value, values, text, rankBy, token };
    }, true);
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
    this.reading.giveUp();
  }

  private rank(by: RankBy, token: number | null = null): void {
    this.rankBy.value = by;
    this.token.value = token;
    this.choosing.value = false;
  }
}
