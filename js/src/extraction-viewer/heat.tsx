/** Features by tokens: how strongly each fires on each. */
import { useEffect, useRef } from "preact/hooks";
import { LabelOrTokens } from "../lib/token-chip";
import { chipText, line, shadeClass } from "../lib/tokens";
import type { Reading } from "./prompt-store";
import { OpenFeature } from "./relations";
import type { Store } from "./store";
import { activation } from "./words";

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
