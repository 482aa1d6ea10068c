/** Filter by status, search, sort. */
import { Tabs } from "../lib/controls";
import * as f from "../lib/format";
import { Icon } from "../lib/icons";
import { countByStatus, type Filter, SORTS, type Sort, STATUS_WORDS, STATUSES } from "./state";
import type { Store } from "./store";

export function Toolbar({ store, panel }: { store: Store; panel: string }) {
  const { cards } = store.state.value;
  const counts = countByStatus(cards);
  const known = new Set(cards.map((card) => card.id));
  const selected = store.charts().training_ids.filter((id) => known.has(id)).length;
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
        <div class="srch">
          <Icon name="search" />
          <input
            type="search"
            aria-label="Search trainings"
            placeholder="Name, model, hook"
            value={store.search.value}
            onInput={(event) => {
              store.search.value = event.currentTarget.value;
            }}
            onKeyDown={(event) => {
              if (event.key !== "Escape" || store.search.value === "") return;
              event.preventDefault();
              store.search.value = "";
            }}
          />
        </div>
      </div>
      <div class="tb">
        <span class="sm t2">
          {selected > 0 ? `${f.count(selected)} selected for the charts` : "Select runs to chart them"}
        </span>
        <div class="sp" />
        <span class="sm t2 hw" aria-hidden="true">
          Sort
        </span>
        <span class="s24 sort">
          <select
            aria-label="Sort trainings"
            value={store.sort.value}
            onChange={(event) => {
              store.sort.value = event.currentTarget.value as Sort;
            }}
          >
            {SORTS.map((sort) => (
              <option key={sort.value} value={sort.value}>
                {sort.label}
              </option>
            ))}
          </select>
        </span>
      </div>
    </>
  );
}
