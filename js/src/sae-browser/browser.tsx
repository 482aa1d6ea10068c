/** Header, filters, list and footer; or what is opened in the place of the list. */
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useOpened } from "../lib/a11y";
import { Answered, useAnswer } from "../lib/ask";
import { Breakable, Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { Histogram } from "../lib/histogram";
import { type KeyRow, Keys, mountWidget } from "../lib/host";
import { NotInLibrary } from "../lib/imports";
import { Empty as EmptyBox, NothingMatches, put } from "../lib/kit";
import { UndoNote, useAge, WidgetNotes } from "../lib/notes";
import type { Model } from "../lib/rpc";
import { during } from "../lib/store";
import { Facts, num, Table } from "../lib/table";
import type { LatentMatch, SaeBrowserState, SaeComparison, SelectedSae } from "../lib/wire";
import { AddForm } from "./add";
import { Card } from "./card";
import { filterWords, pageWords } from "./state";
import { Store, WIDGET } from "./store";
import { Toolbar } from "./toolbar";

const KEYS: readonly KeyRow[] = [
  [["/"], "search"],
  [["?"], "show or hide the keys"],
  [["Esc"], "close the form, the question or the details; then leave"],
  [["Space", "Enter"], "press, check, expand"],
  [["←", "→"], "previous, next tab or choice"],
  [["N", "P"], "next, previous page of a long list"],
];

export function Browser({ store }: { store: Store }) {
  const state = store.state.value;
  const pair = store.compared.value;
  const empty = state.total === 0;
  if (somethingBelow(state)) {
    return (
      <>
        <Header store={store} />
        <Notes store={store} />
      </>
    );
  }
  return (
    <>
      <Header store={store} />
      <Notes store={store} />
      <Keys rows={KEYS} where="the browser" shown={store.keysShown} />
      {store.adding.shown.value && <AddForm store={store} />}
      {pair && <Compare key={`${pair[0].id} ${pair[1].id}`} store={store} pair={pair} />}
      {!pair && <NotInLibrary of={state.not_imported} by={store} />}
      {!pair && empty && <Empty store={store} />}
      {!pair && !empty && (
        <>
          <Toolbar store={store} />
          {state.cards.length > 0 ? (
            <List store={store} />
          ) : (
            <NothingMatches noun="SAE" onClear={() => store.clearFilters()}>
              {filterWords(state.facets, store.query())}
            </NothingMatches>
          )}
        </>
      )}
      {!empty && <Footer store={store} />}
    </>
  );
}

const somethingBelow = (state: SaeBrowserState) => state.below !== "";

function Header({ store }: { store: Store }) {
  const { total, workspace } = store.state.value;
  const away = somethingBelow(store.state.value);
  const where = `in this workspace${workspace === "default workspace" ? "" : ` (${workspace})`}`;
  return (
    <div class="hd saes">
      <h2>SAEs</h2>
      <span class="sm t2 sub">{`${f.count(total)} ${where}`}</span>
      <div class="sp" />
      {away ? (
        <span data-back=".hd .b.p">
          <Button text="Back to SAEs" icon="left" onClick={() => store.showList()} />
        </span>
      ) : (
        <>
          <AddButton store={store} />
          <DownloadButton store={store} />
        </>
      )}
    </div>
  );
}

function AddButton({ store }: { store: Store }) {
  const { shown } = store.adding;
  return (
    <Button
      text="Add local files"
      icon="folder"
      expanded={shown.value}
      onClick={() => {
        store.compared.value = null;
        shown.value = !shown.value;
      }}
    />
  );
}

function DownloadButton({ store }: { store: Store }) {
  return (
    <Button
      text="Download from Hugging Face"
      kind={store.adding.shown.value ? "plain" : "primary"}
      icon="download"
      onClick={() => store.showBelow("download", null)}
    />
  );
}

const Notes = ({ store }: { store: Store }) => (
  <WidgetNotes store={store} noun="browser" quiet ids={[WIDGET]}>
    {store.state.value.deleted.length > 0 && <UndoNote store={store} id={WIDGET} noun="SAE" />}
  </WidgetNotes>
);

function List({ store }: { store: Store }) {
  const { cards, matching, page_size, query } = store.state.value;
  const list = useRef<HTMLUListElement>(null);
  const page = query.offset;
  useLayoutEffect(() => {
    if (list.current) list.current.scrollTop = 0;
  }, [page]);
  const called = store.inView.value;
  const place = cards.findIndex((card) => card.id === called);
  useLayoutEffect(() => {
    const card = list.current?.children[place] as HTMLElement | undefined;
    if (!list.current || !card) return;
    list.current.scrollTop = card.offsetTop - list.current.offsetTop; // the list only: the notebook stays where it is
    store.inView.value = null;
  }, [called, place, store]);
  return (
    <>
      <ul ref={list} class="lst" aria-label="SAEs" aria-busy={store.browsing}>
        {cards.map((card) => (
          <Card key={card.id} store={store} card={card} />
        ))}
      </ul>
      {matching > page_size && <Pager store={store} />}
    </>
  );
}

function Pager({ store }: { store: Store }) {
  const { matching, page_size } = store.state.value;
  const { offset } = store.query();
  const shown = Math.min(page_size, matching - offset);
  return (
    <nav class="tb pager" aria-label="Pages of SAEs">
      <Button text="Previous" small icon="left" disabled={offset === 0} onClick={() => store.turnPage(-1)} />
      <span class="sm" role="status">
        {pageWords(offset, shown, matching)}
      </span>
      <Button small icon="right" disabled={offset + page_size >= matching} onClick={() => store.turnPage(1)}>
        Next
      </Button>
    </nav>
  );
}

function Empty({ store }: { store: Store }) {
  const [started, setStarted] = useState<string | null>(null);
  const starting = useSignal(false);
  const actions = (
    <>
      <DownloadButton store={store} />
      <AddButton store={store} />
      <Button
        text={starting.value ? "Starting…" : "Train the demo"}
        disabled={starting.value || started !== null}
        onClick={async () => setStarted(await during(starting, store.trainDemo()))}
      />
    </>
  );
  return (
    <>
      <EmptyBox title="No SAEs yet" actions={actions}>
        An SAE you import from a training, download or add from disk appears here, ready to read and to steer with.
      </EmptyBox>
      {started !== null && (
        <div class="bd">
          <NoteBox title={`${started} is training.`}>
            {"It takes about 3 minutes on two CPU cores. Watch it in "}
            <code>sw.TrainingPanel()</code>
            {"; its Import to SAEs brings it here."}
          </NoteBox>
        </div>
      )}
    </>
  );
}

function Footer({ store }: { store: Store }) {
  const age = useAge(store);
  const { cards, matching, matching_bytes, total } = store.state.value;
  const selected = store.selection().length;
  return (
    <div class="ft">
      <span role="status">{`${f.count(cards.length)} of ${f.count(total)} shown, ${f.count(selected)} selected`}</span>
      {cards.length > 0 && (
        <>
          <span class="t3">·</span>
          <span>{`${f.bytes(matching_bytes)}${matching > cards.length ? ` in ${f.count(matching)} SAEs` : ""}`}</span>
        </>
      )}
      <div class="sp" />
      {store.link.value !== "live" && <span>{age}</span>}
      <span class="hw t3">? shows the keys</span>
    </div>
  );
}

export function Compare({ store, pair }: { store: Store; pair: readonly [SelectedSae, SelectedSae] }) {
  const [first, second] = pair;
  const root = useOpened<HTMLElement>("button");
  const command = { kind: "compare_saes", first: first.id, second: second.id } as const;
  const asked = useAnswer(store.rpc, command, `${first.id}\n${second.id}`);
  return (
    <section ref={root} class="compare" aria-label="Comparison">
      <div class="tb">
        <Button text="Back to SAEs" small icon="left" onClick={put(store.compared, null)} />
        <span class="sm el" title={`${first.name} and ${second.name}`}>
          <b>{first.name}</b> <span class="t2">with</span> <b>{second.name}</b>
        </span>
        <div class="sp" />
        <Button text="Swap" small kind="quiet" icon="retry" onClick={put(store.compared, [second, first])} />
      </div>
      <div class="bd stats" aria-busy={asked.busy}>
        <Answered of={asked} wait="Reading the weights of both…">
          {(data) => <Found data={data} />}
        </Answered>
      </div>
    </section>
  );
}

function Found({ data }: { data: SaeComparison }) {
  return (
    <>
      <div class="hists">
        {data.histogram && <Histogram data={data.histogram} />}
        <div class="notes">
          <Facts facts={data.facts.map(({ label, value }) => [label, value])} label="Comparison in numbers" />
          <Differences data={data} />
        </div>
      </div>
      <Matches matches={data.matches} data={data} />
    </>
  );
}

function Differences({ data }: { data: SaeComparison }) {
  if (data.differences.length === 0) return <p class="sm t2">Their settings are the same.</p>;
  return (
    <Table
      label="Differences"
      columns={["", data.first.name, data.second.name]}
      rows={data.differences.map(([label, first, second]) => ({
        key: label,
        cells: [<th scope="row">{label}</th>, <Breakable text={first} />, <Breakable text={second} />],
      }))}
    />
  );
}

function Matches({ matches, data }: { matches: readonly LatentMatch[]; data: SaeComparison }) {
  const bar = (cosine: number) => <i aria-hidden="true" style={{ width: `${Math.max(0, cosine) * 100}%` }} />;
  return (
    <div class="notes">
      <h3>{`Closest decoder directions, ${f.count(matches.length)} pairs`}</h3>
      <Table
        label="Decoder cosine matches"
        box="xs-scroll tall"
        focus
        columns={[
          ...[num(`Feature of ${data.first.name}`), num(`Feature of ${data.second.name}`)],
          ...[
            { head: "Cosine", class: "num nw" },
            { head: "", class: "bar-cell" },
          ],
        ]}
        rows={matches.map(({ a, b, cosine }) => ({ key: `${a}-${b}`, cells: [a, b, cosine.toFixed(3), bar(cosine)] }))}
      />
    </div>
  );
}

export function renderBrowser(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const options = {
    label: "SAE browser",
    close: () => closeInnermost(store),
    letters: () => ({ n: () => store.turnPage(1, true), p: () => store.turnPage(-1, true) }),
  };
  mountWidget(model, parent, store, options, <Browser store={store} />);
}

function closeInnermost(store: Store): boolean {
  if (store.keysShown.value) store.keysShown.value = false;
  else if (store.adding.shown.value && !store.adding.busy) store.adding.shown.value = false;
  else if (store.bulk.value) store.bulk.value = null;
  else if (store.compared.value) store.compared.value = null;
  else if (store.open.value.size) store.open.value = new Map();
  else return false;
  return true;
}
