/** Baseline and steered text side by side. */
import { rove } from "../lib/a11y";
import { Button, Checkbox, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { into } from "../lib/kit";
import { num, Table, unseen } from "../lib/table";
import { TokenChip } from "../lib/token-chip";
import { chipText, draw, visible } from "../lib/tokens";
import type { LiveText, SteeringText, SteeringTexts, TextName } from "../lib/wire";
import type { Store } from "./store";
import { differenceWords, percent, perplexityText, probability, progressWords } from "./words";

const NAMES: Record<TextName, string> = { baseline: "Baseline", steered: "Steered" };

export function Result({ store }: { store: Store }) {
  const { run } = store.state.value;
  const texts = store.texts.value;
  const writing = run.kind === "generate" && (run.status === "running" || run.status === "stopping");
  const live = writing && run.phase === "writing";
  const problem = run.status === "failed" && run.kind === "generate" ? run.problem : null;
  if (!texts && !writing && !problem) return null;
  return (
    <div class="bd line">
      {problem && <ProblemOf problem={problem} />}
      {(texts || writing) && (
        <>
          <div class="row w rh">
            <h3>Result</h3>
            <span class="sm t2">
              {writing ? progressWords(run, store.settings()) : texts ? differenceWords(texts) : ""}
            </span>
            <div class="sp" />
            <Checkbox label="Mark differences" checked={store.marked.value} onChange={into(store.marked)}>
              Mark differences
            </Checkbox>
          </div>
          {texts?.notes.map((note) => (
            <Warning key={note} text={note} />
          ))}
          {live || (writing && !texts) ? (
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
      <NoteBox tone="err" title={problem.what}>
        {problem.hint}
      </NoteBox>
    </div>
  );
}

/** A note whose first sentence is what happened. */
function Warning({ text }: { text: string }) {
  const end = /\.\s/.exec(text)?.index ?? text.length - 1;
  return (
    <div class="mb8">
      <NoteBox tone="warn" title={text.slice(0, end + 1)}>
        {text.slice(end + 1)}
      </NoteBox>
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

function Live({ name, prompt, texts }: { name: TextName; prompt: string; texts: readonly LiveText[] }) {
  const text = texts.find((one) => one.run === name);
  return (
    <section aria-label={NAMES[name]}>
      <div class="row">
        <h4>{NAMES[name]}</h4>
        <div class="sp" />
        <span class="xs t2">{text ? f.plural(text.tokens, "token") : "waiting"}</span>
      </div>
      <p class="gen">
        <span class="t2">{visible(prompt)}</span>
        {visible(text?.text ?? "")}
        <span class="cur" aria-hidden="true" />
      </p>
    </section>
  );
}

interface TextProps {
  store: Store;
  name: TextName;
  texts: SteeringTexts;
  text: SteeringText;
}

function Text({ store, name, texts, text }: TextProps) {
  const changed = new Set(text.changed);
  const picked = store.picked.value;
  const marked = store.marked.value;
  const first = texts.first_difference;
  const tab = picked?.text === name ? picked.token : Math.min(first ?? 0, text.pieces.length - 1);
  return (
    <section aria-label={NAMES[name]}>
      <div class="row">
        <h4>{NAMES[name]}</h4>
        <div class="sp" />
        <span class="xs t2 num">{numbers(name, text)}</span>
      </div>
      <p class="gen" onKeyDown={(event) => rove(event, "[role=button]")}>
        <span class="t2">{texts.prompt_pieces.map(visible).join("")}</span>
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
    </section>
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
        <Button small kind="quiet" icon="close" label="Close next-token change" onClick={() => void store.pick(null)} />
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
