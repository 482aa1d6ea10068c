/** The examples of a feature: the strongest ones, and some from every interval of activations. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Button, Checkbox, Segments } from "../lib/controls";
import * as f from "../lib/format";
import { STEPS } from "../lib/tokens";
import type { Context } from "../lib/wire";
import { Copy } from "./copy";
import { copyOf, copyOfAll, rangeOf, type ShownExample, type ShownGroup } from "./examples";
import type { Loaded } from "./feature";
import type { Store } from "./store";
import { Concordance, roveTokens, Tokens } from "./token-row";
import { rowAfter } from "./virtual";
import { activation, percent } from "./words";

const CONTEXTS: readonly { value: Context; label: string }[] = [
  { value: "short", label: "Short" },
  { value: "snippet", label: "Snippet" },
  { value: "full", label: "Full" },
];

const PAGE = 10; // rows that PgUp and PgDn pass

export function Examples({ store, loaded }: { store: Store; loaded: Loaded }) {
  const { context, line_breaks } = store.view.value;
  const { page, groups } = loaded;
  const shown = groups.filter((group) => group.examples.length > 0);
  return (
    <section class="examples" aria-label="Examples">
      <div class="row w">
        <h3>Examples</h3>
        <Segments label="Context" options={CONTEXTS} selected={context} onSelect={(to) => showContext(store, to)} />
        <Checkbox label="Line breaks" checked={line_breaks} onChange={(on) => store.show({ line_breaks: on })}>
          Line breaks
        </Checkbox>
        <div class="sp" />
        <Legend max={page.list_max} />
      </div>
      {shown.length === 0 && <p class="sm t2">No example was kept of it.</p>}
      {shown.map((group, i) => (
        <Group key={group.title} store={store} group={group} fired={page.fired} max={page.list_max} first={i === 0} />
      ))}
    </section>
  );
}

/** Another choice of context: what was opened one by one is closed. */
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
    const next = rowAfter(event.key, stop, group.examples.length, PAGE);
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
  /** The tab stop of its list. */
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
  const from = open && whole?.data ? `whole ${key}` : key;
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Enter and Space do the same, in the list around it
    <li
      ref={row}
      class={open ? "ex open" : "ex"}
      tabIndex={stop ? 0 : -1}
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
      <Copy
        store={store}
        quiet
        label="Copy example"
        tabIndex={stop ? 0 : -1}
        text={() => copyOf(drawn, open ? "full" : context)}
      />
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
