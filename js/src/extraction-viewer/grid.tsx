/** The list of features. Of a long one only the rows in sight are drawn, and one more: the row with the tab stop. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Empty } from "../lib/kit";
import { Failed } from "../lib/notes";
import type { OpenExtraction } from "../lib/wire";
import { Row } from "./row";
import type { Store } from "./store";
import { ROW, rowAfter, scrollTo, windowOf } from "./virtual";
import { queryWords } from "./words";

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

  if (list.problem.value) return <ListFailed store={store} />;
  if (key !== "" && matching === 0) return <NothingMatches store={store} open={open} />;
  const rows = Array.from({ length: shown.last - shown.first }, (_, i) => shown.first + i);
  // its place while it is out of sight does not matter, only that it keeps the focus
  const away = cursor < matching && !rows.includes(cursor);
  if (away) rows.push(cursor);
  return (
    // biome-ignore lint/a11y/useSemanticElements: a list that is drawn in pieces is no table
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

function ListFailed({ store }: { store: Store }) {
  const problem = store.list.problem.value;
  return (
    problem && (
      <div class="bd">
        <Failed problem={problem} onAgain={() => store.list.again()} />
      </div>
    )
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
