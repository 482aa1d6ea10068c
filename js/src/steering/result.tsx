/** Baseline and steered text side by side. */

import { type ComponentChildren, Fragment } from "preact";
import { useState } from "preact/hooks";
import { rove } from "../lib/a11y";
import { Button, Checkbox } from "../lib/controls";
import * as f from "../lib/format";
import { into, Pick } from "../lib/kit";
import { Failed, Warning } from "../lib/notes";
import { num, Table, unseen } from "../lib/table";
import { chipText, draw, TokenChip, visible } from "../lib/tokens";
import type { LiveText, SteeringText, SteeringTexts, SteeringTurn, SweptText, TextName } from "../lib/wire";
import { useFocusField } from "./prompt";
import type { Store } from "./store";
import {
  differenceWords,
  nameOf,
  parseStrengths,
  percent,
  perplexityText,
  probability,
  progressWords,
  ratioText,
  shortStrength,
  strengthsText,
} from "./words";

const NAMES: Record<TextName, string> = { baseline: "Baseline", steered: "Steered" };

export function Result({ store }: { store: Store }) {
  const { run } = store.state.value;
  const texts = store.texts.value;
  const writing = run.kind === "generate" && (run.status === "running" || run.status === "stopping");
  const live = writing && run.phase === "writing";
  const chat = writing ? run.turn !== null : texts ? texts.turn !== null : store.settings().chat;
  const { turns } = store.state.value;
  const problem = run.status === "failed" && run.kind === "generate" ? run.problem : null;
  if (!texts && !writing && !problem && !(chat && turns.length)) return null;
  return (
    <div class="bd line">
      {problem && <ProblemOf problem={problem} />}
      {(texts || writing || turns.length > 0) && (
        <>
          <div class="row w rh">
            <h3>Result</h3>
            <span class="sm t2">
              {writing ? progressWords(run, store.settings()) : texts ? differenceWords(texts) : ""}
            </span>
            <div class="sp" />
            <Checkbox text="Mark differences" checked={store.marked.value} onChange={into(store.marked)} />
          </div>
          {texts?.notes.map((note) => (
            <div key={note} class="mb8">
              <Warning text={note} />
            </div>
          ))}
          {chat ? (
            <div class="two box" aria-busy={writing}>
              <Chat store={store} name="baseline" writing={writing} />
              <Chat store={store} name="steered" writing={writing} />
            </div>
          ) : live || (writing && !texts) ? (
            <div class="two box" aria-busy="true">
              <Live name="baseline" prompt={store.settings().prompt} texts={run.texts} />
              <Live name="steered" prompt={store.settings().prompt} texts={run.texts} />
            </div>
          ) : (
            texts && (
              <div class="two box">
                <Text store={store} name="baseline" texts={texts} text={texts.baseline} />
                {texts.steered && <Text store={store} name="steered" texts={texts} text={texts.steered} />}
              </div>
            )
          )}
          {!live && <NextTokens store={store} />}
        </>
      )}
    </div>
  );
}

export function ProblemOf({ problem }: { problem: { what: string; where: string | null; hint: string | null } }) {
  return (
    <div class="mb8">
      <Failed problem={problem} title={problem.what} />
    </div>
  );
}

function numbers(name: TextName, text: SteeringText): string {
  const parts = [`perplexity ${perplexityText(text.perplexity)}`];
  if (name === "steered") {
    parts.push(`repetition ${percent(text.repetition)}`);
    if (text.kl_first !== null) parts.push(`KL at first token ${text.kl_first.toFixed(2)}`);
  }
  if (text.finish !== "length") parts.push(text.finish === "end" ? "ended by itself" : "stopped");
  return parts.join(", ");
}

/** The column of a text: its name, what is known of it, and the text. */
function Side({ name, facts, children }: { name: TextName; facts: string; children: ComponentChildren }) {
  return (
    <section aria-label={NAMES[name]}>
      <div class="row">
        <h4>{NAMES[name]}</h4>
        <div class="sp" />
        <span class="xs t2 num">{facts}</span>
      </div>
      {children}
    </section>
  );
}

const written = (text: LiveText | undefined): string => (text ? f.plural(text.tokens, "token") : "waiting");

const Writing = ({ text, prompt = "" }: { text: LiveText | undefined; prompt?: string }) => (
  <p class="gen">
    <span class="t2">{visible(prompt)}</span>
    {visible(text?.text ?? "")}
    <span class="cur" aria-hidden="true" />
  </p>
);

function Live({ name, prompt, texts }: { name: TextName; prompt: string; texts: readonly LiveText[] }) {
  const text = texts.find((one) => one.run === name);
  return (
    <Side name={name} facts={written(text)}>
      <Writing text={text} prompt={prompt} />
    </Side>
  );
}

/** One side of a chat, a bubble for each message; the newest answer token by token. */
function Chat({ store, name, writing }: { store: Store; name: TextName; writing: boolean }) {
  const { run, turns } = store.state.value;
  const { system } = store.settings();
  const texts = writing ? null : store.texts.value;
  const text = texts?.[name];
  const live = run.texts.find((one) => one.run === name);
  const answer = (turn: SteeringTurn, at: number) =>
    writing && at === run.turn ? (
      <Writing text={live} />
    ) : texts && text && at === texts.turn ? (
      <Tokens store={store} name={name} texts={texts} text={text} />
    ) : (
      <p class="gen">{visible(turn[name])}</p>
    );
  return (
    <Side name={name} facts={writing ? written(live) : text ? numbers(name, text) : ""}>
      <ol class="chat">
        {system.trim() && <Bubble of="System">{<p class="gen">{visible(system)}</p>}</Bubble>}
        {turns.map((turn, at) => (
          <Fragment key={at}>
            <Bubble of="User">{<p class="gen">{visible(turn.user)}</p>}</Bubble>
            <Bubble of="Assistant">{answer(turn, at)}</Bubble>
          </Fragment>
        ))}
      </ol>
    </Side>
  );
}

const Bubble = ({ of, children }: { of: "System" | "User" | "Assistant"; children: ComponentChildren }) => (
  <li class={`bub ${of.toLowerCase()}`} aria-label={of}>
    <span class="xs t2">{of}</span>
    {children}
  </li>
);

interface TextProps {
  store: Store;
  name: TextName;
  texts: SteeringTexts;
  text: SteeringText;
}

const Text = (props: TextProps) => (
  <Side name={props.name} facts={numbers(props.name, props.text)}>
    <Tokens {...props} prompt={props.texts.prompt_pieces.map(visible).join("")} />
  </Side>
);

function Tokens({ store, name, texts, text, prompt = "" }: TextProps & { prompt?: string }) {
  const changed = new Set(text.changed);
  const picked = store.picked.value;
  const marked = store.marked.value;
  const first = texts.first_difference;
  const tab = picked?.text === name ? picked.token : Math.min(first ?? 0, text.pieces.length - 1);
  return (
    <p class="gen" onKeyDown={(event) => rove(event, "[role=button]")}>
      <span class="t2">{prompt}</span>
      {text.pieces.map((piece, at) => (
        <Token
          key={at}
          piece={piece}
          at={at}
          first={marked && at === first}
          changed={marked && changed.has(at)}
          goesOn={changed.has(at - 1) && at - 1 !== first}
          picked={picked?.text === name && picked.token === at}
          tab={at === tab}
          onPick={() =>
            void store.pick(picked?.text === name && picked.token === at ? null : { text: name, token: at })
          }
        />
      ))}
    </p>
  );
}

interface TokenProps {
  piece: string;
  at: number;
  first: boolean;
  changed: boolean;
  /** The one before is marked too: the line under them has no gap. */
  goesOn: boolean;
  picked: boolean;
  tab: boolean;
  onPick: () => void;
}

function Token({ piece, at, first, changed, goesOn, picked, tab, onPick }: TokenProps) {
  const { space, body } = draw(piece, " ");
  const mark = first ? "fd" : changed ? "df" : "";
  return (
    <>
      {space && changed && goesOn && !first ? <span class="df">{space}</span> : space}
      {/* biome-ignore lint/a11y/useSemanticElements: a button of its own would not wrap with the text around it */}
      <span
        class={`gt${mark ? ` ${mark}` : ""}${picked ? " on" : ""}`}
        role="button"
        tabIndex={tab ? 0 : -1}
        aria-pressed={picked}
        aria-label={`Token ${at + 1}: ${chipText(piece)}`}
        onClick={onPick}
        onKeyDown={(event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          onPick();
        }}
      >
        {body}
      </span>
      {/[\n\u2028\u2029]/.test(piece) && <br />}
    </>
  );
}

function NextTokens({ store }: { store: Store }) {
  const data = store.next.value;
  if (store.picked.value === null || data === null) return null;
  const most = Math.max(1e-9, ...data.rows.flatMap((row) => [row.baseline, row.steered]));
  const given =
    data.token === 0 ? "the prompt" : `the prompt and ${f.plural(data.token, "token")} of the ${data.text} text`;
  return (
    <div class="nxt">
      <div class="row">
        <h4>{`Next-token change after ${given}`}</h4>
        <div class="sp" />
        <Button small kind="quiet" icon="close" label="Close next-token change" onClick={() => store.pick(null)} />
      </div>
      <Table
        label="Next-token change"
        columns={[
          data.token === 0 ? "First token" : `Token ${data.token + 1}`,
          ...[num("Baseline"), num("Steered"), unseen("Bars", "brs")],
        ]}
        rows={data.rows.map(({ piece, baseline, steered }, at) => ({
          key: at,
          cells: [
            <TokenChip key="token" text={piece} most={40} />,
            ...[probability(baseline), probability(steered)],
            <>
              <i aria-hidden="true" style={{ width: `${(100 * baseline) / most}%` }} />
              <i aria-hidden="true" style={{ width: `${(100 * steered) / most}%`, "--c": "var(--sw-accent)" }} />
            </>,
          ],
        }))}
      />
    </div>
  );
}

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
