/** Filters and search; below them what is checked, what can be done with it, and the order. */
import { Button } from "../lib/controls";
import { FilterPick, put, Search, SelectAll, Sort } from "../lib/kit";
import { BusyNote, DoneNote, OutcomeNote } from "../lib/notes";
import { DeleteQuestion, ExportForm, Problem } from "./card";
import { choicesOf, FILTERS, labelOf, SORTS } from "./state";
import { type Bulk, SELECTION, type Store } from "./store";

export function Toolbar({ store }: { store: Store }) {
  return (
    <>
      <div class="tb filters">
        {FILTERS.map((one) => (
          <Filter key={one.field} store={store} {...one} />
        ))}
        <div class="sp" />
        <Search
          label="Search SAEs"
          placeholder="Search name, model, notes, tags"
          value={store.query().search}
          onInput={(text) => store.search(text)}
        />
      </div>
      <SelectionBar store={store} />
    </>
  );
}

function Filter({ store, field, label, all, width }: { store: Store } & (typeof FILTERS)[number]) {
  const query = store.query();
  const value = query[field];
  const { facets } = store.state.value;
  return (
    <FilterPick
      {...{ label, all, width }}
      title={value === null ? undefined : labelOf(facets, query, field)}
      value={value === null ? null : String(value)}
      choices={choicesOf(facets, query, field)}
      onPick={(to) => store.browse({ [field]: field === "layer" && to !== null ? Number(to) : to })}
    />
  );
}

function SelectionBar({ store }: { store: Store }) {
  const { cards } = store.state.value;
  const selection = store.selection();
  const none = selection.length === 0;
  const [first, second] = selection;
  const ask = (what: Bulk) => {
    store.dismiss(SELECTION);
    store.bulk.value = store.bulk.value === what ? null : what;
  };
  return (
    <>
      <div class="tb">
        <SelectAll
          shown={cards.map((card) => card.id)}
          checked={store.checkedIds()}
          title={selection.map((sae) => sae.name).join(", ") || undefined}
          onCheck={(ids) => store.check(ids)}
        />
        <Button
          text="Compare"
          small
          label="Compare selected"
          title={selection.length === 2 ? undefined : "Select two SAEs to compare them"}
          disabled={selection.length !== 2}
          onClick={() => {
            if (first && second) store.compared.value = [first, second];
          }}
        />
        <Button
          text="Export"
          small
          label="Export selected"
          disabled={none}
          expanded={store.bulk.value === "export"}
          onClick={() => ask("export")}
        />
        <Button
          text="Delete"
          small
          label="Delete selected"
          disabled={none || store.pending.value.has(SELECTION)}
          expanded={store.bulk.value === "delete"}
          onClick={() => ask("delete")}
        />
        {!none && <Button text="Clear selection" small kind="quiet" onClick={() => store.check([])} />}
        <div class="sp" />
        <Sort label="Sort SAEs" options={SORTS} value={store.query().sort} onPick={(sort) => store.browse({ sort })} />
      </div>
      <BulkBox store={store} />
    </>
  );
}

function BulkBox({ store }: { store: Store }) {
  const selection = store.selection();
  const what = selection.length > 0 ? store.bulk.value : null;
  const close = put(store.bulk, null);
  if (what === null && !store.noted(SELECTION) && store.outcome.value === null) return null;
  return (
    <div class="panel-note notes">
      {what === "export" && <ExportForm store={store} id={SELECTION} saes={selection} onClose={close} />}
      {what === "delete" && (
        <DeleteQuestion saes={selection} onDelete={() => store.delete(SELECTION, selection)} onKeep={close} />
      )}
      <BusyNote store={store} id={SELECTION} />
      <Problem store={store} id={SELECTION} />
      <DoneNote store={store} id={SELECTION} title="Exported." />
      <OutcomeNote store={store} />
    </div>
  );
}
