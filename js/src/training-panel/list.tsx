/** The list of runs, or why it is empty. */
import { Button, tabId } from "../lib/controls";
import { TrainingCard } from "./card";
import { STATUS_WORDS, shownCards } from "./state";
import type { Store } from "./store";

export function List({ store, panel }: { store: Store; panel: string }) {
  const { cards } = store.state.value;
  const filter = store.filter.value;
  const shown = shownCards(cards, filter, store.search.value, store.sort.value);
  return (
    <div role="tabpanel" id={panel} aria-labelledby={tabId(panel, filter)}>
      {shown.length > 0 ? (
        <ul class="lst" aria-label="Trainings">
          {shown.map((card) => (
            <TrainingCard key={card.id} store={store} card={card} />
          ))}
        </ul>
      ) : (
        <NothingMatches store={store} />
      )}
    </div>
  );
}

function NothingMatches({ store }: { store: Store }) {
  const search = store.search.value.trim();
  const filter = store.filter.value;
  const status = filter === "all" ? "" : ` is ${STATUS_WORDS[filter].toLowerCase()}`;
  const words = search ? `${status ? `${status} and` : ""} matches “${search}”` : status;
  return (
    <div class="empty">
      <h3>No training matches</h3>
      <p>{`None of the ${store.state.value.cards.length} trainings ${words.trim()}.`}</p>
      <Button
        onClick={() => {
          store.search.value = "";
          store.filter.value = "all";
        }}
      >
        Clear filters
      </Button>
    </div>
  );
}
