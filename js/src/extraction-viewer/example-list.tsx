/** The examples of a feature: the strongest ones, and some from every interval of activations. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { onEnter, onSubmit } from "../lib/a11y";
import { Button, Checkbox, Segments } from "../lib/controls";
import { copyText } from "../lib/copy";
import * as f from "../lib/format";
import type { IconName } from "../lib/icons";
import { Failed } from "../lib/notes";
import { cut, draw, HiddenNote, line, STEPS, shadeClass } from "../lib/tokens";
import type { Context } from "../lib/wire";
import {
  copyOf,
  copyOfAll,
  type Loaded,
  type Passage,
  rangeOf,
  type ShownExample,
  type ShownGroup,
  textAt,
} from "./feature";
import { rowAfter } from "./grid";
import { PAGE, type Store } from "./store";
import { activation, percent } from "./words";

const CONTEXTS: Record<Context, string> = { short: "Short", snippet: "Snippet", full: "Full" };

const ROWS = 10; // rows that PgUp and PgDn pass

export function Examples({ store, loaded }: { store: Store; loaded: Loaded }) {
  const { context, line_breaks } = store.view.value;
  const { page, groups } = loaded;
  const top = groups.slice(0, 1).filter(hasExamples);
  return (
    <section class="examples" aria-label="Examples">
      <div class="row w">
        <h3>Examples</h3>
        <Segments label="Context" options={CONTEXTS} selected={context} onSelect={(to) => showContext(store, to)} />
        <Checkbox text="Line breaks" checked={line_breaks} onChange={(on) => store.show({ line_breaks: on })} />
        <div class="sp" />
        <Legend max={page.list_max} />
      </div>
      {!groups.some(hasExamples) && <p class="sm t2">No example was kept of it.</p>}
      <Groups store={store} loaded={loaded} groups={top} first />
    </section>
  );
}

/** The examples from all intervals of activations, below what is read first. */
export function Intervals({ store, loaded }: { store: Store; loaded: Loaded }) {
  const groups = loaded.groups.slice(1).filter(hasExamples);
  if (groups.length === 0) return null;
  return (
    <section class="examples" aria-label="Examples by interval">
      <Groups store={store} loaded={loaded} groups={groups} />
    </section>
  );
}

const hasExamples = ({ examples }: ShownGroup): boolean => examples.length > 0;

function Groups({ store, loaded, groups, first = false }: GroupsProps) {
  const { fired, list_max } = loaded.page;
  return (
    <>
      {groups.map((group) => (
        <Group key={group.title} store={store} group={group} fired={fired} max={list_max} first={first} />
      ))}
    </>
  );
}

interface GroupsProps {
  store: Store;
  loaded: Loaded;
  groups: ShownGroup[];
  first?: boolean;
}

export function showContext(store: Store, context: Context): void {
  store.feature.unpoint(true);
  store.feature.opened.value = new Map();
  store.show({ context });
}

function Legend({ max }: { max: number }) {
  const most = activation(max);
  return (
    <span
      class="rmp xs t2"
      role="img"
      aria-label={`Shading: log scale from 0 to ${most}, over all examples of this feature`}
    >
      {"0 "}
      {Array.from({ length: STEPS }, (_, i) => (
        <i key={`${i + 1}`} class={`a${i + 1}`} />
      ))}
      {` ${most}`}
    </span>
  );
}

interface GroupProps {
  store: Store;
  group: ShownGroup;
  fired: number;
  max: number;
  first: boolean;
}

function Group({ store, group, fired, max, first }: GroupProps) {
  const { context } = store.view.value;
  const list = useRef<HTMLUListElement>(null);
  const [active, setActive] = useState(0);
  const stop = Math.min(active, group.examples.length - 1);
  const words =
    group.low === null
      ? `${f.count(group.examples.length)} of ${f.count(fired)}`
      : [
          group.share === null ? "" : `${percent(group.share)} of firings`,
          group.token_share === null ? "" : `${percent(group.token_share)} of tokens`,
        ]
          .filter(Boolean)
          .join(", ");
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = (event.target as HTMLElement).closest<HTMLElement>("li.ex");
    const shown = group.examples[stop];
    if (!row || !shown) return;
    const next = rowAfter(event.key, stop, group.examples.length, ROWS);
    const onToken = (event.target as HTMLElement).dataset.t !== undefined;
    if (next !== null) {
      setActive(next);
      list.current?.querySelectorAll<HTMLElement>("li.ex")[next]?.focus();
    } else if (event.key === "Enter" && onToken) {
      store.feature.pinned.value = !store.feature.pinned.value;
    } else if ((event.key === "Enter" || event.key === " ") && event.target === row) {
      toggle(store, shown.key);
    } else if (!roveTokens(row, event.key, peakOf(store, shown))) return;
    event.preventDefault();
  };
  return (
    <div>
      <div class="exh">
        <b>{group.title}</b>
        <span>{words}</span>
        <span class="sp" />
        {first && (
          <Copy store={store} quiet label="Copy examples" word="Copy" text={() => copyOfAll(group.examples, context)} />
        )}
      </div>
      <ul ref={list} aria-label={group.title} onKeyDown={onKey}>
        {group.examples.map((shown, i) => (
          <Row key={shown.key} store={store} shown={shown} max={max} stop={i === stop} onFocus={() => setActive(i)} />
        ))}
      </ul>
    </div>
  );
}

const isOpen = (store: Store, key: string): boolean =>
  store.feature.opened.value.get(key) ?? store.view.value.context === "full";

/** Of a whole context the strongest token has another place. */
const peakOf = (store: Store, shown: ShownExample): number =>
  (isOpen(store, shown.key) && store.feature.wholes.value.get(shown.key)?.data?.passage.peak) || shown.passage.peak;

function toggle(store: Store, key: string): void {
  const { opened } = store.feature;
  store.feature.unpoint(true);
  opened.value = new Map(opened.value).set(key, !isOpen(store, key));
}

interface RowProps {
  store: Store;
  shown: ShownExample;
  max: number;
  stop: boolean;
  onFocus: () => void;
}

function Row({ store, shown, max, stop, onFocus }: RowProps) {
  const { feature } = store;
  const { context, line_breaks } = store.view.value;
  const { key, example, passage } = shown;
  const row = useRef<HTMLLIElement>(null);
  const open = isOpen(store, key);
  const whole = feature.wholes.value.get(key);
  useWhenSeen(row, open, feature.opened.value.has(key), () => feature.expand(key, example));
  const drawn = open ? (whole?.data?.passage ?? passage) : passage;
  const range = rangeOf(drawn, open ? "full" : context);
  const tab = stop ? 0 : -1;
  const text = () => copyOf(drawn, open ? "full" : context);
  const from = open && whole?.data ? `whole ${key}` : key;
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Enter and Space do the same, in the list around it
    <li
      ref={row}
      class={open ? "ex open" : "ex"}
      tabIndex={tab}
      data-from={from}
      aria-busy={open && whole?.busy === true}
      title={open ? undefined : "Click or press Enter to see the whole context"}
      onFocus={onFocus}
      onClick={() => {
        if (!getSelection()?.toString()) toggle(store, key);
      }}
    >
      <span class="v num" title="largest activation in this example">
        {activation(example.value)}
      </span>
      {open ? (
        <span class="x">
          {range.before && "… "}
          <Tokens passage={drawn} from={range.from} to={range.to} max={max} breaks={line_breaks} wraps bold />
          {range.after && " …"}
          <WholeNote store={store} shown={shown} />
        </span>
      ) : (
        <Concordance passage={drawn} {...range} max={max} breaks={line_breaks} />
      )}
      <span class="row">
        <Button
          small
          kind="quiet"
          icon="play"
          label="Test this"
          tabIndex={tab}
          disabled={!store.opened?.live}
          onClick={(event) => {
            event.stopPropagation(); // the row opens on a click
            feature.text.value = text().trim();
            void feature.test();
            row.current?.closest(".fp-in")?.querySelector<HTMLElement>(".own-text textarea")?.focus();
          }}
        />
        <Copy store={store} quiet label="Copy example" tabIndex={tab} text={text} />
      </span>
    </li>
  );
}

function WholeNote({ store, shown }: { store: Store; shown: ShownExample }) {
  const whole = store.feature.wholes.value.get(shown.key);
  if (whole?.problem) {
    return (
      <span class="xs t2 whole-note">
        {`${whole.problem.what} `}
        <Button
          text="Try again"
          kind="link"
          onClick={(event) => {
            event.stopPropagation();
            store.feature.retry(shown.key, shown.example);
          }}
        />
      </span>
    );
  }
  const note = whole?.data?.answer.note;
  return note ? <span class="xs t2 whole-note">{note}</span> : null;
}

/** Calls `act` when the row is in sight while `on`; `now`, or where nobody tells what is in sight, at once. */
function useWhenSeen(row: { current: HTMLElement | null }, on: boolean, now: boolean, act: () => void): void {
  useEffect(() => {
    if (!on || !row.current) return;
    if (now || typeof IntersectionObserver === "undefined") return act();
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) act();
    });
    observer.observe(row.current);
    return () => observer.disconnect();
  }, [on, now]);
}

interface TokensProps {
  passage: Passage;
  from: number;
  to: number;
  max: number;
  breaks: boolean;
  /** The text wraps, and goes on in a new line after a line end. */
  wraps?: boolean;
  bold?: boolean;
}

export function Tokens(props: TokensProps) {
  const spans: ComponentChildren[] = [];
  for (let i = props.from; i < props.to; i += 1) spans.push(<Token key={i} {...props} i={i} />);
  return <>{spans}</>;
}

function Token({ passage, max, breaks, wraps, bold, i }: TokensProps & { i: number }) {
  const text = textAt(passage, i);
  const { space, body } = draw(text, breaks ? (wraps ? "↵\n" : "↵") : " ");
  const shade = shadeClass(passage.values[i] ?? 0, max);
  const peak = bold && i === passage.peak;
  return (
    <span class="tok" data-t={i}>
      {space}
      {shade || peak ? <span class={`${shade}${peak ? " pk" : ""}`}>{body}</span> : body}
    </span>
  );
}

/** A row in which the strongest token starts at the same place as in all other rows. */
export function Concordance({ passage, from, to, max, breaks, before, after }: TokensProps & Ends) {
  const { peak } = passage;
  const { space, body } = draw(textAt(passage, peak), breaks ? "↵" : " ");
  return (
    <span class="x k">
      <span class="kl">
        <span>
          {before && "… "}
          <Tokens passage={passage} from={from} to={peak} max={max} breaks={breaks} />
          {space}
        </span>
      </span>
      <span class="kr">
        <span class="tok" data-t={peak}>
          <span class={`${shadeClass(passage.values[peak] ?? 0, max)} pk`}>{body}</span>
        </span>
        <Tokens passage={passage} from={peak + 1} to={to} max={max} breaks={breaks} />
        {after && " …"}
      </span>
    </span>
  );
}

interface Ends {
  before: boolean;
  after: boolean;
}

/** Moves the focus among the tokens inside `row`; from the row itself it goes to the strongest one. */
export function roveTokens(row: HTMLElement, key: string, peak: number): boolean {
  if (key !== "ArrowLeft" && key !== "ArrowRight") return false;
  const tokens = [...row.querySelectorAll<HTMLElement>("[data-t]")].filter(isInSight);
  const at = tokens.indexOf(document.activeElement as HTMLElement);
  const step = key === "ArrowRight" ? 1 : -1;
  const next = at < 0 ? tokens.find((one) => Number(one.dataset.t) === peak) : tokens[at + step];
  if (next === undefined && at < 0) return false;
  focusToken(next);
  return true;
}

function isInSight(token: HTMLElement): boolean {
  const half = token.closest(".kl, .kr");
  if (half === null) return true;
  const [own, around] = [token.getBoundingClientRect(), half.getBoundingClientRect()];
  return around.width === 0 || (own.right > around.left && own.left < around.right);
}

/** Tokens are no controls; the one with the focus takes it for as long as it has it. */
function focusToken(token: HTMLElement | undefined): void {
  if (!token) return;
  token.tabIndex = -1;
  token.focus();
  token.scrollIntoView?.({ block: "nearest", inline: "nearest" });
}

export function OwnText({ store, max }: { store: Store; max: number }) {
  const { feature } = store;
  const { data, problem, busy } = feature.tested.value;
  const open = store.opened;
  const live = open?.live ?? false;
  const words = data
    ? `max ${activation(data.answer.max)}, fires on ${f.count(data.answer.fired)} of ${f.plural(data.answer.tokens.length, "token")}`
    : "";
  return (
    <section class="own-text" aria-label="Test your text">
      <div class="row">
        <h3>Test your text</h3>
        <div class="sp" />
        <span class="xs t2" role="status">
          {busy ? "Reading…" : words}
        </span>
      </div>
      <form class="row top" onSubmit={onSubmit(() => feature.test())}>
        <textarea
          dir="auto"
          rows={1}
          aria-label="Text to test"
          placeholder={live ? "Type a sentence" : "The model is not here"}
          disabled={!live}
          maxLength={100_000}
          value={feature.text.value}
          onInput={(event) => feature.type(event.currentTarget.value)}
          onKeyDown={onEnter(() => feature.test())}
        />
        <Button
          text="Test"
          submit
          disabled={!live || busy || feature.text.value.trim() === ""}
          onClick={() => feature.test()}
        />
      </form>
      <HiddenNote text={feature.text.value} />
      {!live && open && <p class="xs t2">{line(open.live_note)}</p>}
      {problem && <Failed problem={problem} />}
      {data && (
        // biome-ignore lint/a11y/useSemanticElements: a line of tokens, not of form fields
        <div
          class="x mono tested"
          role="group"
          aria-label="Tested text"
          aria-busy={busy}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: its tokens are walked through with the arrows
          tabIndex={0}
          data-from="test"
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.target as HTMLElement).dataset.t !== undefined) {
              feature.pinned.value = !feature.pinned.value;
            } else if (!roveTokens(event.currentTarget, event.key, data.passage.peak)) return;
            event.preventDefault();
          }}
        >
          <Tokens
            passage={data.passage}
            from={0}
            to={data.passage.tokens.length}
            max={Math.max(max, data.answer.max)}
            breaks={store.view.value.line_breaks}
            wraps
          />
        </div>
      )}
      {data?.answer.note && <p class="xs t2">{data.answer.note}</p>}
    </section>
  );
}

interface CopyProps {
  store: Store;
  label: string;
  word?: string;
  icon?: IconName;
  quiet?: boolean;
  tabIndex?: number;
  text: () => string;
}

export function Copy({ store, label, word, icon = "copy", quiet, tabIndex, text }: CopyProps) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    const what = text();
    if (await copyText(what)) {
      setDone(true);
      setTimeout(() => setDone(false), 1500);
      store.announce("Copied.");
    } else {
      const hint = `Copy it by hand: ${cut(what, 2000)}`;
      store.refuse(PAGE, "This page may not use the clipboard.", hint);
    }
  };
  return (
    <Button
      text={word}
      small
      kind={quiet ? "quiet" : "plain"}
      icon={done ? "check" : icon}
      label={label}
      title={done ? "Copied" : label}
      tabIndex={tabIndex}
      onClick={(event) => {
        event.stopPropagation(); // a row that opens on a click
        void copy();
      }}
    />
  );
}
