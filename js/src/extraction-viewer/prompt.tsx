/** *On a prompt*: which features fire on a text, token by token. */

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { onEnter, onSubmit } from "../lib/a11y";
import { Latest } from "../lib/ask";
import { Button, Checkbox, NoteBox, Segments } from "../lib/controls";
import * as f from "../lib/format";
import { Field } from "../lib/forms";
import { into } from "../lib/kit";
import { Failed } from "../lib/notes";
import type { Rpc } from "../lib/rpc";
import { chipText, HiddenNote, LabelOrTokens, line, shadeClass } from "../lib/tokens";
import type { OpenExtraction, PromptData, RankBy, ViewerCommand } from "../lib/wire";
import { activationsOf } from "./feature";
import { OpenFeature } from "./relations";
import type { Store } from "./store";
import { activation } from "./words";

export interface Reading {
  answer: PromptData;
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

  private rank(by: RankBy, token: number | null = null): void {
    this.rankBy.value = by;
    this.token.value = token;
    this.choosing.value = false;
  }
}

const RANKS: Record<RankBy, string> = { max: "Max over tokens", sum: "Sum", token: "Chosen token" };

export function Prompt({ store, open }: { store: Store; open: OpenExtraction }) {
  const { prompt } = store;
  const { data, problem, busy } = prompt.reading.value;
  const text = prompt.text.value;
  const read = () => {
    if (open.live && text.trim() !== "") void prompt.read();
  };
  return (
    <div class="bd prompt">
      <form class="row end" onSubmit={onSubmit(read)}>
        <Field
          class="grow"
          label="Text"
          rows={1}
          maxLength={100_000}
          disabled={!open.live}
          placeholder="The captain of the ship promised the crew ten dollars each"
          value={text}
          onInput={into(prompt.text)}
          onKeyDown={onEnter(read)}
        />
        <Button
          text={busy ? "Reading…" : "Show features"}
          kind="primary"
          submit
          disabled={!open.live || busy || text.trim() === ""}
        />
      </form>
      <HiddenNote text={text} />
      {!open.live && <NoteBox title="The text cannot be read here.">{open.live_note}</NoteBox>}
      <div class="row w">
        <span class="sm t2">Rank by</span>
        <Segments
          label="Rank by"
          options={RANKS}
          selected={prompt.rankBy.value}
          onSelect={(by) => prompt.rankAgain(by)}
        />
        <Checkbox
          text="Hide features above 1 % density"
          checked={prompt.hideDense.value}
          onChange={(hide) => prompt.setHideDense(hide)}
        />
        <div class="sp" />
        <span class="sm t2" role="status">
          {data ? countWords(data.answer.rows.length, data.answer.firing, data.answer.hidden) : ""}
        </span>
      </div>
      {problem && <Failed problem={problem} />}
      {prompt.choosing.value && data && <p class="sm">Choose a token above its column.</p>}
      {data && (
        <div aria-busy={busy}>
          {data.answer.rows.length > 0 ? (
            <Heat store={store} reading={data} />
          ) : (
            <p class="sm t2">
              {data.answer.hidden > 0
                ? "Only features above 1 % density fire on this text."
                : "No feature fires on this text."}
            </p>
          )}
          <p class="xs t2">
            {["Shade: share of each feature’s own maximum, log scale. Choose a token to rank by it.", data.answer.note]
              .filter(Boolean)
              .join(" ")}
          </p>
        </div>
      )}
      {!data && !problem && !busy && open.live && (
        <p class="sm t2">Every feature that fires on the text is a row, every token a column.</p>
      )}
    </div>
  );
}

/** "7 of 38 features shown". */
function countWords(shown: number, firing: number, hidden: number): string {
  return `${f.count(shown)} of ${f.plural(firing, "feature")} shown${hidden > 0 ? `, ${f.count(hidden)} dense hidden` : ""}`;
}

const LEFT = 268; // px of the columns before the tokens
const COLUMN = 50;

export function Heat({ store, reading }: { store: Store; reading: Reading }) {
  const { answer, values } = reading;
  const { prompt } = store;
  const box = useRef<HTMLDivElement>(null);
  const n = answer.tokens.length;
  const names = answer.tokens.map((token) => answer.texts[token] ?? "");
  useEffect(() => {
    if (prompt.choosing.value) box.current?.querySelector<HTMLElement>(".tkh")?.focus();
  }, [prompt.choosing.value, prompt]);
  return (
    <div class="xs-scroll mtx-box" ref={box}>
      <table class="mtx" aria-label="Features by token" style={{ minWidth: `${LEFT + n * COLUMN}px` }}>
        <thead>
          <tr>
            <th class="num n">#</th>
            <th class="lb">Label</th>
            <th class="num m">Max</th>
            {names.map((name, t) => (
              <th key={t} class="c">
                <button
                  type="button"
                  class="tkh"
                  aria-pressed={reading.rankBy === "token" && reading.token === t}
                  aria-label={`Rank by token ${t + 1}: ${chipText(name).replace(/^·+/, "")}`}
                  title={chipText(name)}
                  onClick={() => prompt.rankAgain("token", t)}
                >
                  {chipText(name, 24).replace(/^·/, "")}
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {answer.rows.map((row, r) => (
            <tr key={row.index}>
              <td class="num n">
                <OpenFeature store={store} index={row.index} />
              </td>
              <td class="lb el" data-preview={row.index} title={line(row.label) || undefined}>
                <LabelOrTokens label={line(row.label)} tokens={row.top_tokens} none="no label" />
              </td>
              <td class="num m">{activation(row.max)}</td>
              {names.map((name, t) => {
                const value = values[r * n + t] ?? 0;
                const shade = shadeClass(value, row.own_max);
                return (
                  <td key={t} class="c" title={value > 0 ? `${chipText(name)}: ${activation(value)}` : undefined}>
                    <span class={shade || "a0"}>{shade ? activation(value) : ""}</span>
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
