/** The list of runs, or why it is empty. */
import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button, Tabs, tabId } from "../lib/controls";
import * as f from "../lib/format";
import { flip, into, NothingMatches, Search, SelectAll, Sort } from "../lib/kit";
import { ALL_STATUSES, statusWord, wordOf } from "../lib/statuses";
import type { BulkAction, Card } from "../lib/wire";
import { able, type Bulk, bulkTitle, hiddenWords, losesTokens, whyNot } from "./bulk-state";
import { TrainingCard } from "./card";
import { BulkBox } from "./card-forms";
import { GroupCard } from "./group-card";
import { Columns, inOrder, RunsTable } from "./runs-table";
import { countByStatus, heldOrder, type ListCard, patternOf, SORTS, shownCards } from "./state";
import { SELECTION, type Store } from "./store";

export function Toolbar({ store, panel }: { store: Store; panel: string }) {
  const table = store.table.value;
  const counts = countByStatus(store.entries.value);
  const tabs = [
    { id: "all" as const, label: "All", count: counts.all },
    ...ALL_STATUSES.map((status) => ({ id: status, label: statusWord(status), count: counts[status] })),
  ];
  return (
    <>
      <div class="tb">
        <Tabs
          label="Filter by status"
          tabs={tabs}
          panel={panel}
          selected={store.filter.value}
          onSelect={into(store.filter)}
        />
        <div class="sp" />
        <Search
          label="Search trainings"
          placeholder="Name, model, hook"
          value={store.search.value}
          onInput={into(store.search)}
        />
      </div>
      <div class="tb bulk">
        <SelectionBar store={store} />
        <div class="sp" />
        <span class="row">
          {!table && <Sort label="Sort trainings" options={SORTS} value={store.sort.value} onPick={into(store.sort)} />}
          <Button small title={`Show the runs as ${table ? "cards" : "a table"}`} onClick={flip(store.table)}>
            {table ? "Cards" : "Table"}
          </Button>
        </span>
      </div>
      {table && <Columns store={store} />}
      <BulkBox store={store} />
    </>
  );
}

const BULK: readonly Bulk[] = ["pause", "resume", "stop", "retry", "import", "export", "delete"];

function SelectionBar({ store }: { store: Store }) {
  const selection = store.selection();
  const checked = selection.map((card) => card.id);
  const shown = store.shown.value;
  const hidden = hiddenWords(selection, shown);
  const press = (what: Bulk) => {
    const cards = able(what, selection);
    store.dismiss(SELECTION);
    store.say(SELECTION);
    store.outcome.value = null;
    const unseen = hiddenWords(cards, shown) !== null;
    const asks = what === "export" || what === "delete" || (what === "stop" && (unseen || losesTokens(cards) > 0));
    if (asks) store.bulk.value = store.bulk.value === what ? null : what;
    else void store.actOn(SELECTION, cards, what as BulkAction);
  };
  const charted = `${checked.length > 6 ? "The first six" : "They"} have lines in the charts`;
  return (
    <>
      <SelectAll
        shown={[...shown]}
        checked={checked}
        title={checked.length ? charted : undefined}
        onCheck={(ids) => store.selectAll(ids)}
      />
      {hidden !== null && (
        <span class="sm t2 unseen">
          {hidden}{" "}
          <Button
            text="Deselect hidden"
            kind="link"
            onClick={() => store.selectAll(checked.filter((id) => shown.has(id)))}
          />
        </span>
      )}
      <Button
        small
        title={selection.length > 1 ? undefined : "Select two or more trainings to compare them"}
        disabled={selection.length < 2}
        onClick={() => store.command("panel", "Compare", { kind: "compare", training_ids: checked })}
      >
        Compare
      </Button>
      {BULK.map((what) => {
        const word = wordOf(what);
        const cards = able(what, selection);
        const disabled = cards.length === 0;
        return (
          <Button
            text={word}
            key={what}
            small
            label={what === "import" ? "Import selected to SAEs" : `${word} selected`}
            title={disabled ? whyNot(what, selection) : bulkTitle(word, cards, shown)}
            disabled={disabled}
            expanded={["stop", "export", "delete"].includes(what) ? store.bulk.value === what : undefined}
            onClick={() => press(what)}
          />
        );
      })}
    </>
  );
}

export function List({ store, panel }: { store: Store; panel: string }) {
  const cards = store.entries.value;
  const filter = store.filter.value;
  const [search, sort] = [store.search.value, store.sort.value];
  const [table, order] = [store.table.value, store.order.value];
  const hold = useHold();
  const found = shownCards(cards, filter, search, sort);
  const shown = hold.apply(
    JSON.stringify([filter, search, sort, table, order]),
    table && order ? inOrder(found, order) : found,
    cards,
    store.focusCard.value !== null,
  );
  const drawn = useDrawn(store);
  const room = useRoom(shown.length);
  return (
    <div role="tabpanel" id={panel} aria-labelledby={tabId(panel, filter)} {...hold.handlers}>
      {shown.length === 0 ? (
        <None store={store} />
      ) : table ? (
        <RunsTable store={store} runs={shown} />
      ) : (
        <ul class="lst" aria-label="Trainings">
          {shown.slice(0, room).map(drawn)}
        </ul>
      )}
    </div>
  );
}

/** Draws an entry; one whose runs did not change is the same as before, which Preact then leaves alone. */
function useDrawn(store: Store): (card: ListCard) => VNode {
  const known = useRef(new Map<string, { runs: readonly Card[]; drawn: VNode }>());
  return (card) => {
    const runs = card.members ?? [card];
    const before = known.current.get(card.id);
    if (before?.runs.length === runs.length && runs.every((run, i) => run === before.runs[i])) return before.drawn;
    const drawn = card.members ? (
      <GroupCard key={card.id} store={store} group={card} members={card.members} />
    ) : (
      <TrainingCard key={card.id} store={store} card={card} />
    );
    known.current.set(card.id, { runs, drawn });
    return drawn;
  };
}

const FIRST = 40;

/** How many of `count` entries are drawn: few at first, so that they are seen at once, and in the end all. */
function useRoom(count: number): number {
  const [room, setRoom] = useState(FIRST);
  useEffect(() => {
    if (room >= count) return;
    const timer = setTimeout(() => setRoom(room + FIRST), 20); // the page draws in between
    return () => clearTimeout(timer);
  }, [room, count]);
  return room;
}

/** Keeps the order while pointer or keyboard are in the list: no other run's Pause comes to lie under a click. */
function useHold() {
  const [pointer, setPointer] = useState(false);
  const [focus, setFocus] = useState(false);
  const last = useRef<{ key: string; ids: string[] }>({ key: "", ids: [] });
  return {
    handlers: {
      onPointerEnter: () => setPointer(true),
      onPointerMove: () => setPointer(true), // the list came to lie under a pointer that was there
      onPointerLeave: () => setPointer(false),
      onFocusIn: (event: FocusEvent) => setFocus((event.target as Element).matches(":focus-visible")),
      onFocusOut: () => setFocus(false),
    },
    /** `release`: the user asked for a new run and is taken to it. Another `key` is another list. */
    apply: (key: string, shown: ListCard[], cards: readonly ListCard[], release: boolean): ListCard[] => {
      const held = (pointer || focus) && !release && key === last.current.key;
      const result = held ? heldOrder(last.current.ids, cards, shown) : shown;
      last.current = { key, ids: result.map((card) => card.id) };
      return result;
    },
  };
}

function None({ store }: { store: Store }) {
  const search = store.search.value.trim();
  const filter = store.filter.value;
  const words = [filter !== "all" && `is ${statusWord(filter).toLowerCase()}`, search && `matches “${search}”`].filter(
    Boolean,
  );
  const clear = () => {
    store.search.value = "";
    store.filter.value = "all";
  };
  return (
    <NothingMatches noun="training" onClear={clear}>
      {search.startsWith("/") && !patternOf(search)
        ? `“${search}” is not a regular expression.`
        : `None of the ${f.plural(store.state.value.cards.length, "training")} ${words.join(" and ")}.`}
    </NothingMatches>
  );
}
