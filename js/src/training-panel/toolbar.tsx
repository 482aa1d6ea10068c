/** Filter by status, search; below them what is checked, what can be done with it, and the order. */
import { Button, Sort, Tabs } from "../lib/controls";
import { into, Search, SelectAll } from "../lib/kit";
import { BulkBox } from "./bulk";
import { able, type Bulk, bulkTitle, hiddenWords, losesTokens, whyNot } from "./bulk-state";
import { listCards } from "./groups";
import { countByStatus, type Filter, SORTS, STATUS_WORDS, STATUSES } from "./state";
import { SELECTION, type Store } from "./store";

export function Toolbar({ store, panel }: { store: Store; panel: string }) {
  const { cards } = store.state.value;
  const counts = countByStatus(listCards(cards)); // what the list shows: runs of one job are one entry
  const tabs = [
    { id: "all", label: "All", count: counts.all },
    ...STATUSES.map((status) => ({ id: status, label: STATUS_WORDS[status], count: counts[status] })),
  ];
  return (
    <>
      <div class="tb">
        <Tabs
          label="Filter by status"
          tabs={tabs}
          panel={panel}
          selected={store.filter.value}
          onSelect={(id) => {
            store.filter.value = id as Filter;
          }}
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
        <Sort label="Sort trainings" options={SORTS} value={store.sort.value} onSelect={into(store.sort)} />
      </div>
      <BulkBox store={store} />
    </>
  );
}

const BULK: readonly { what: Bulk; word: string }[] = [
  { what: "pause", word: "Pause" },
  { what: "resume", word: "Resume" },
  { what: "stop", word: "Stop" },
  { what: "export", word: "Export" },
  { what: "delete", word: "Delete" },
];

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
    else void store.actOn(SELECTION, cards, what as "pause" | "resume" | "stop");
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
        onClick={() => void store.command("panel", "Compare", { kind: "compare", training_ids: checked })}
      >
        Compare
      </Button>
      {BULK.map(({ what, word }) => {
        const cards = able(what, selection);
        const disabled = cards.length === 0;
        return (
          <Button
            text={word}
            key={what}
            small
            label={`${word} selected`}
            title={disabled ? whyNot(what, selection.length) : bulkTitle(word, cards, shown)}
            disabled={disabled}
            expanded={["stop", "export", "delete"].includes(what) ? store.bulk.value === what : undefined}
            onClick={() => press(what)}
          />
        );
      })}
    </>
  );
}
