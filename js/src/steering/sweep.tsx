/** One text per strength of one feature. */
import { useState } from "preact/hooks";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Pick } from "../lib/kit";
import { visible } from "../lib/tokens";
import type { SweptText } from "../lib/wire";
import { useFocusField } from "./prompt";
import { ProblemOf } from "./result";
import type { Store } from "./store";
import { nameOf, parseStrengths, percent, perplexityText, ratioText, shortStrength, strengthsText } from "./words";

const SHOWN = 300; // characters of a text
const WHY = "Enter up to 12 numbers, such as −4 −2 0 2 4.";

export function Sweep({ store }: { store: Store }) {
  const rows = store.rows().filter((row) => row.mode !== "ablate");
  const { swept } = store.settings();
  const { run } = store.state.value;
  if (rows.length === 0) return null;
  const chosen = rows.some((row) => row.key === swept) ? swept : (rows[0]?.key ?? "");
  const running = run.kind === "sweep" && (run.status === "running" || run.status === "stopping");
  const problem = run.status === "failed" && run.kind === "sweep" ? run.problem : null;
  const why = store.invalid.value.get("Strengths");
  return (
    <div class="bd line">
      <div class="row w rh">
        <h3>Strength sweep</h3>
        <Pick
          label="Feature to sweep"
          width={216}
          value={chosen}
          options={rows.map((row) => ({ value: row.key, label: visible(nameOf(row)) }))}
          onPick={(key) => store.set({ swept: key })}
        />
        <Strengths store={store} />
        <div class="sp" />
        <Button
          text="Run sweep"
          small
          disabled={store.running}
          onClick={() => {
            if (chosen !== swept) store.set({ swept: chosen });
            void store.start("sweep");
          }}
        />
      </div>
      {why && (
        <p class="sm bad" role="alert">
          {why}
        </p>
      )}
      {problem && <ProblemOf problem={problem} />}
      {running ? <LiveSweep store={store} /> : <Texts store={store} />}
    </div>
  );
}

function Strengths({ store }: { store: Store }) {
  const input = useFocusField(store, "Strengths");
  const [typed, setTyped] = useState<string | null>(null);
  const wrong = store.invalid.value.has("Strengths");
  return (
    <span class="s24" style={{ "--w": "176px" }}>
      <input
        ref={input}
        aria-label="Strengths"
        aria-invalid={wrong ? "true" : undefined}
        value={typed ?? strengthsText(store.settings().strengths)}
        onInput={(event) => {
          const text = event.currentTarget.value;
          const strengths = parseStrengths(text);
          setTyped(text);
          store.setInvalid("Strengths", strengths ? undefined : WHY);
          if (strengths) store.set({ strengths });
        }}
        onBlur={() => {
          if (!wrong) setTyped(null);
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter") void store.start("sweep");
        }}
      />
    </span>
  );
}

function LiveSweep({ store }: { store: Store }) {
  const { strengths } = store.settings();
  const { texts } = store.state.value.run;
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of texts, not of form fields
    <div class="swp box" role="group" aria-label="Strength sweep" aria-busy="true">
      {strengths.map((strength, at) => {
        const text = texts.find((one) => one.run === "sweep" && one.strength === strength);
        return (
          <div key={at} class="swt g4">
            <b>{shortStrength(strength)}</b>
            <span class="bdy">{text ? `…${visible(text.text).trimStart().slice(-SHOWN)}` : ""}</span>
            <span class="xs t2">{text ? f.plural(text.tokens, "token") : "waiting"}</span>
          </div>
        );
      })}
    </div>
  );
}

function Texts({ store }: { store: Store }) {
  const data = store.sweep.value;
  if (data === null || data.sweep.length === 0) return null;
  const row = store.rows().find((one) => one.key === data.swept);
  return (
    <>
      {/* biome-ignore lint/a11y/useSemanticElements: a group of buttons, not of form fields */}
      <div class="swp box" role="group" aria-label="Strength sweep">
        {data.sweep.map((text, at) => (
          <button
            key={at}
            type="button"
            class="swt g4"
            aria-pressed={row?.strength === text.strength}
            aria-disabled={row ? undefined : "true"}
            aria-label={`Use strength ${shortStrength(text.strength)}`}
            title={visible(text.text.slice(0, 4000))}
            onClick={() => row && store.useStrength(row, text.strength)}
          >
            <span class="row">
              <b>{shortStrength(text.strength)}</b>
              <span class="sp" />
              <span class="xs t2">{`‖Δ‖/‖h‖ ${ratioText(text.change_ratio ?? 0)}`}</span>
            </span>
            <span class="bdy">{start(text)}</span>
            <span class="xs t2">{`ppl ${short(text.perplexity)}, rep. ${percent(text.repetition)}`}</span>
          </button>
        ))}
      </div>
      {row === undefined && <p class="xs t2">{`Sweep of ${data.swept_name}, which was removed.`}</p>}
    </>
  );
}

const start = ({ text }: SweptText): string => `…${visible(text.slice(0, SHOWN)).trimStart()}`;

const short = (value: number | null): string =>
  value !== null && value >= 10 && value < 1000 ? String(Math.round(value)) : perplexityText(value);
