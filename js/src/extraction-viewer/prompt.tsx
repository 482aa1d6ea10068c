/** *On a prompt*: which features fire on a text, token by token. */

import { useEffect, useRef } from "preact/hooks";
import { onEnter, onSubmit } from "../lib/a11y";
import { Button, Checkbox, NoteBox, Segments } from "../lib/controls";
import * as f from "../lib/format";
import { Field } from "../lib/forms";
import { into } from "../lib/kit";
import { Failed } from "../lib/notes";
import { chipText, HiddenNote, LabelOrTokens, line, shadeClass } from "../lib/tokens";
import type { OpenExtraction, RankBy } from "../lib/wire";
import type { Reading } from "./prompt-store";
import { OpenFeature } from "./relations";
import type { Store } from "./store";
import { activation } from "./words";

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
          label="Hide features above 1 % density"
          checked={prompt.hideDense.value}
          onChange={(hide) => prompt.setHideDense(hide)}
        >
          Hide features above 1 % density
        </Checkbox>
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

/** In a cell there is room for two digits: 38, 4.2, 0.61. */
const short = (value: number): string =>
  value >= 9.95 ? Math.round(value).toLocaleString("en-US") : value >= 0.995 ? value.toFixed(1) : activation(value);

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
              <td class="lb el" title={line(row.label) || undefined}>
                <LabelOrTokens label={line(row.label)} tokens={row.top_tokens} none="no label" />
              </td>
              <td class="num m">{activation(row.max)}</td>
              {names.map((name, t) => {
                const value = values[r * n + t] ?? 0;
                const shade = shadeClass(value, row.own_max);
                return (
                  <td key={t} class="c" title={value > 0 ? `${chipText(name)}: ${value.toFixed(4)}` : undefined}>
                    <span class={shade || "a0"}>{shade ? short(value) : ""}</span>
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
