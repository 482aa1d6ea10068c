/** The list of runs, or why it is empty. */
import type { VNode } from "preact";
import { useRef, useState } from "preact/hooks";
import { tabId } from "../lib/controls";
import * as f from "../lib/format";
import { NothingMatches } from "../lib/kit";
import type { Card } from "../lib/wire";
import { TrainingCard } from "./card";
import { GroupCard } from "./group-card";
import { listCards } from "./groups";
import { heldOrder, type ListCard, STATUS_WORDS, shownCards } from "./state";
import type { Store } from "./store";

export function List({ store, panel }: { store: Store; panel: string }) {
  const cards = listCards(store.state.value.cards);
  const filter = store.filter.value;
  const [search, sort] = [store.search.value, store.sort.value];
  const hold = useHold();
  const shown = hold.apply(
    JSON.stringify([filter, search, sort]),
    shownCards(cards, filter, search, sort),
    cards,
    store.focusCard.value !== null,
  );
  const drawn = useDrawn(store);
  return (
    <div role="tabpanel" id={panel} aria-labelledby={tabId(panel, filter)} {...hold.handlers}>
      {shown.length > 0 ? (
        <ul class="lst" aria-label="Trainings">
          {shown.map(drawn)}
        </ul>
      ) : (
        <None store={store} />
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

/**
 * Keeps the order of the list while the pointer is over it or the keyboard is in it: after Pause, another run's Pause must
 * not come to lie there. What a click has focused does not count: that focus stays long after the pointer has left.
 */
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
  const words = [
    filter !== "all" && `is ${STATUS_WORDS[filter].toLowerCase()}`,
    search && `matches “${search}”`,
  ].filter(Boolean);
  const clear = () => {
    store.search.value = "";
    store.filter.value = "all";
  };
  return (
    <NothingMatches noun="training" onClear={clear}>
      {`None of the ${f.plural(store.state.value.cards.length, "training")} ${words.join(" and ")}.`}
    </NothingMatches>
  );
}
