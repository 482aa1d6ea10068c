// biome-ignore-all lint/a11y/useSemanticElements: rows of a list that is drawn in pieces lie where the pieces lie
// biome-ignore-all lint/a11y/useFocusableInteractive: one tab stop: the row, not its cells
// biome-ignore-all lint/a11y/useKeyWithClickEvents: the grid around it has the keys
// biome-ignore-all lint/a11y/useAriaPropsSupportedByRole: its role comes with the other attributes
// biome-ignore-all lint/a11y/noStaticElementInteractions: its role comes with the other attributes
/** The list of features. Of a long one only the rows in sight are drawn, and one more: the row with the tab stop. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Icon } from "../lib/icons";
import { Empty, Pick, Search } from "../lib/kit";
import { Failed } from "../lib/notes";
import { LabelOrTokens, line } from "../lib/tokens";
import type { FeatureListRow, OpenExtraction } from "../lib/wire";
import type { Store } from "./store";
import { activation, densityBar, percent, queryWords, SHOWS, SORTS } from "./words";

export const ROW = 40; // px, as the style sheet has it
/** Browsers draw nothing beyond some height (Firefox: about 17 million pixels). A longer list is scrolled through faster. */
const TALLEST = 12_000_000;
const SPARE = 8; // rows drawn above and below those in sight

interface Window {
  height: number;
  /** The rows to draw: `first` … `last` − 1. */
  first: number;
  last: number;
  /** px from the top of the list to row `first`. */
  top: number;
  fitting: number;
}

const ends = (count: number, view: number) => {
  const whole = count * ROW;
  const height = Math.min(whole, TALLEST);
  return { whole, height, scroll: Math.max(0, height - view), span: Math.max(0, whole - view) };
};

/** What to draw of `count` rows in a box of `view` px that is scrolled down by `scrollTop`. */
export function windowOf(count: number, view: number, scrollTop: number): Window {
  const { height, scroll, span } = ends(count, view);
  const at = Math.min(Math.max(0, scrollTop), scroll);
  const offset = scroll > 0 ? (at / scroll) * span : 0; // px above the sight, were the list as high as it is long
  const fitting = Math.max(1, Math.floor(view / ROW));
  const first = Math.max(0, Math.floor(offset / ROW) - SPARE);
  const last = Math.min(count, Math.ceil((offset + view) / ROW) + SPARE);
  return { height, first, last, top: at + first * ROW - offset, fitting };
}

/** The `scrollTop` that brings `row` into sight with the least movement; null when it is there. */
export function scrollTo(row: number, count: number, view: number, scrollTop: number): number | null {
  const { scroll, span } = ends(count, view);
  if (scroll === 0) return null;
  const offset = (Math.min(Math.max(0, scrollTop), scroll) / scroll) * span;
  const low = row * ROW;
  let wanted = offset;
  if (low < offset) wanted = low;
  else if (low + ROW > offset + view) wanted = low + ROW - view;
  else return null;
  // far away: into the middle, so that what is around it can be seen
  if (Math.abs(wanted - offset) > view) wanted = low - view / 2 + ROW / 2;
  return (Math.min(Math.max(0, wanted), span) / span) * scroll;
}

export function rowAfter(key: string, row: number, count: number, fitting: number): number | null {
  const to = {
    ArrowDown: row + 1,
    ArrowUp: row - 1,
    PageDown: row + Math.max(1, fitting - 1),
    PageUp: row - Math.max(1, fitting - 1),
    Home: 0,
    End: count - 1,
  }[key];
  return to === undefined || count === 0 ? null : Math.min(count - 1, Math.max(0, to));
}

const TYPING = 250; // ms after the last key of a search

export function List({ store, open }: { store: Store; open: OpenExtraction }) {
  const { matching, key } = store.list.known.value;
  return (
    <div class="fl col">
      <Bar store={store} />
      <Grid store={store} open={open} />
      <div class="ft">
        <span role="status">
          {key === ""
            ? "Reading the list…"
            : matching === open.d_sae
              ? f.plural(matching, "feature")
              : `${f.count(matching)} of ${f.plural(open.d_sae, "feature")}`}
        </span>
        <div class="sp" />
        <span class="hw t3">? shows the keys</span>
      </div>
    </div>
  );
}

function Bar({ store }: { store: Store }) {
  const { query } = store.view.value;
  const [typed, setTyped] = useState(query.search);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  // a search from elsewhere; what comes back of one's own may be older than what is typed now
  const own = useRef(query.search);
  useEffect(() => {
    if (query.search !== own.current) setTyped(query.search);
    own.current = query.search;
  }, [query.search]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const search = (text: string, wait: number) => {
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      own.current = text;
      store.setQuery({ search: text });
    }, wait);
  };
  const direction = query.descending ? "descending" : "ascending";
  return (
    <div class="fl-bar">
      <Search
        label="Search features"
        placeholder="Label or top token"
        value={typed}
        onInput={(text) => search(text, text === "" ? 0 : TYPING)}
        onEnter={() => search(typed, 0)}
      />
      <div class="row">
        <Pick
          label="Show"
          chosen={query.show !== "all"}
          value={query.show}
          options={SHOWS}
          onPick={(show) => store.setQuery({ show })}
        />
        <Pick
          label="Sort features"
          value={query.sort}
          options={SORTS}
          // numbers are looked at from the largest on, names and indices from the first on
          onPick={(sort) => store.setQuery({ sort, descending: sort !== "index" && sort !== "label" })}
        />
        <Button
          small
          icon={query.descending ? "down" : "up"}
          label={`Sort direction: ${direction}`}
          onClick={() => store.setQuery({ descending: !query.descending })}
        />
      </div>
    </div>
  );
}

const SETTLE = 160; // ms on a row before its feature is opened
const UNSEEN = 560; // px, until the height is known

export function Grid({ store, open }: { store: Store; open: OpenExtraction }) {
  const { list } = store;
  const { matching, maxDensity, key } = list.known.value;
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(UNSEEN);
  const [seeks, setSeeks] = useState<number | null>(null); // a row that is opened when the keys rest
  const cursor = list.cursor.value;
  const shown = windowOf(matching, height, top);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => setHeight(element.clientHeight || UNSEEN);
    measure();
    if (typeof ResizeObserver === "undefined") return;
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useEffect(() => list.want(shown.first, shown.last), [list, key, shown.first, shown.last]);

  const reveal = list.reveal.value;
  useLayoutEffect(() => {
    const element = box.current;
    if (!element || matching === 0) return;
    const to = scrollTo(list.cursor.value, matching, height, element.scrollTop);
    if (to !== null) {
      element.scrollTop = to;
      setTop(element.scrollTop);
    }
    // whoever is in the list goes along, also when the page was turned
    if (element.contains(document.activeElement))
      element.querySelector<HTMLElement>(`[data-row="${list.cursor.value}"]`)?.focus({ preventScroll: true });
  }, [reveal, matching, height, list]);

  const sought = seeks === null ? null : list.row(seeks);
  useEffect(() => {
    if (seeks === null || sought === null) return;
    const timer = setTimeout(() => {
      if (list.cursor.value !== seeks) return; // a newer key was pressed, and is not drawn yet
      setSeeks(null);
      if (sought.index !== store.view.value.feature) store.openFeature(sought.index, seeks);
    }, SETTLE);
    return () => clearTimeout(timer);
  }, [seeks, sought, store]);

  const openRow = (at: number) => {
    const row = list.row(at);
    setSeeks(null);
    if (row) store.openFeature(row.index, at);
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if ((event.target as HTMLElement).closest("button")) return;
    const next = rowAfter(event.key, cursor, matching, shown.fitting);
    if (next !== null) {
      list.moveTo(next);
      setSeeks(next);
    } else if (event.key === "Enter" || event.key === " ") openRow(cursor);
    else return;
    event.preventDefault();
  };

  if (list.problem.value) {
    return (
      <div class="bd">
        <Failed problem={list.problem.value} onAgain={() => list.again()} />
      </div>
    );
  }
  if (key !== "" && matching === 0) return <NothingMatches store={store} open={open} />;
  const rows = Array.from({ length: shown.last - shown.first }, (_, i) => shown.first + i);
  // its place while it is out of sight does not matter, only that it keeps the focus
  const away = cursor < matching && !rows.includes(cursor);
  if (away) rows.push(cursor);
  return (
    <div
      ref={box}
      class="grid"
      role="grid"
      aria-label="Features"
      aria-rowcount={key === "" ? -1 : matching}
      aria-busy={list.busy.value || key === ""}
      tabIndex={-1}
      onKeyDown={onKey}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
    >
      <div role="presentation" style={{ height: `${shown.height}px` }}>
        {rows.map((at) => (
          <Row
            key={at}
            store={store}
            at={at}
            top={away && at === cursor ? (at / matching) * shown.height : shown.top + (at - shown.first) * ROW}
            row={list.row(at)}
            selected={list.row(at)?.index === store.view.value.feature}
            stop={at === cursor}
            largest={maxDensity}
            tokens={open.n_tokens}
            onOpen={() => openRow(at)}
          />
        ))}
      </div>
    </div>
  );
}

function NothingMatches({ store, open }: { store: Store; open: OpenExtraction }) {
  const { query } = store.view.value;
  return (
    <Empty
      title="No feature matches"
      actions={<Button text="Show all features" small onClick={() => store.setQuery({ search: "", show: "all" })} />}
    >
      {`None of ${f.count(open.d_sae)}: ${queryWords(query) || "the list is empty"}.`}
    </Empty>
  );
}

interface RowProps {
  store: Store;
  at: number;
  top: number;
  row: FeatureListRow | null;
  selected: boolean;
  stop: boolean;
  largest: number;
  tokens: number;
  onOpen: () => void;
}

export function Row({ store, at, top, row, selected, stop, largest, tokens, onOpen }: RowProps) {
  const common = {
    class: "fr",
    role: "row" as const,
    "aria-rowindex": at + 1,
    "data-row": at,
    "data-preview": selected ? undefined : row?.index,
    tabIndex: stop ? 0 : -1,
    style: { top: `${top}px` },
  };
  if (row === null) {
    return (
      <div {...common} aria-busy="true">
        <span class="t3" role="gridcell">
          …
        </span>
      </div>
    );
  }
  const starred = store.isStarred(row.index, row.starred);
  const dead = row.density === 0;
  const byScore = store.view.value.query.sort === "score";
  const label = line(row.label);
  return (
    <div {...common} aria-selected={selected} onClick={onOpen} onFocus={() => (store.list.cursor.value = at)}>
      <span class="n" role="gridcell">
        {row.index}
      </span>
      <span class={row.auto ? "lb el auto" : "lb el"} role="gridcell" title={label || undefined}>
        <LabelOrTokens label={label} tokens={row.top_tokens} none={dead ? "did not fire" : "no label"} />
      </span>
      <span class="stc" role="gridcell">
        <button
          type="button"
          class="star"
          tabIndex={-1}
          aria-label={`Star feature ${row.index}`}
          aria-pressed={starred}
          onClick={(event) => {
            event.stopPropagation();
            void store.star(row.index, !starred);
          }}
        >
          <Icon name={starred ? "starred" : "star"} />
        </button>
      </span>
      <span class="l2" role="gridcell">
        <span class="db" aria-hidden="true">
          <i style={{ width: `${densityBar(row.density, largest, tokens) * 100}%` }} />
        </span>
        <span class="num">{percent(row.density)}</span>
        <span class="num">
          {byScore && row.score !== null ? `score ${row.score.toFixed(2)}` : dead ? "" : `max ${activation(row.max)}`}
        </span>
      </span>
    </div>
  );
}
