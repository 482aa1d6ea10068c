/** Filters and search; below them what is checked, what can be done with it, and the order. */

import { Button, NoteBox, Sort } from "../lib/controls";
import * as f from "../lib/format";
import { Dismiss, Lines, put, Search, SelectAll } from "../lib/kit";
import { BusyNote } from "../lib/notes";
import type { SaeQuery } from "../lib/wire";
import { DeleteQuestion, ExportForm } from "./card-forms";
import { DoneNote, Problem } from "./card-notes";
import { choicesOf, type Facet, FILTERS, labelOf, outcomeWords, SORTS } from "./state";
import { type Bulk, type Outcome, SELECTION, type Store } from "./store";

export function Toolbar({ store }: { store: Store }) {
  return (
    <>
      <div class="tb filters">
        {FILTERS.map(({ field, label, all }) => (
          <Filter key={field} store={store} field={field} label={label} all={all} />
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

function Filter({ store, field, label, all }: { store: Store; field: Facet; label: string; all: string }) {
  const query = store.query();
  const value = query[field];
  const choose = (text: string): Partial<SaeQuery> =>
    field === "layer" ? { layer: text === "" ? null : Number(text) } : { [field]: text === "" ? null : text };
  return (
    <span class="s24" style={{ "--w": field === "architecture" ? "136px" : "112px" }}>
      <select
        aria-label={label}
        class={value === null ? undefined : "chosen"}
        title={value === null ? undefined : labelOf(store.state.value.facets, query, field)}
        value={value === null ? "" : String(value)}
        onChange={(event) => void store.browse(choose(event.currentTarget.value))}
      >
        <option value="">{all}</option>
        {choicesOf(store.state.value.facets, query, field).map((choice) => (
          <option key={choice.value} value={choice.value}>
            {choice.count === null ? choice.label : `${choice.label} (${f.count(choice.count)})`}
          </option>
        ))}
      </select>
    </span>
  );
}

function SelectionBar({ store }: { store: Store }) {
  const { cards } = store.state.value;
  const selection = store.selection();
  const checked = new Set(store.checkedIds());
  const all = cards.length > 0 && cards.every((card) => checked.has(card.id));
  const none = selection.length === 0;
  const [first, second] = selection;
  const toggleAll = () => {
    const shown = cards.map((card) => card.id);
    const others = [...checked].filter((id) => !shown.includes(id));
    void store.check(all ? others : [...others, ...shown]);
  };
  const ask = (what: Bulk) => {
    store.dismiss(SELECTION);
    store.bulk.value = store.bulk.value === what ? null : what;
  };
  const words = none ? "Select all shown" : `${f.count(selection.length)} selected`;
  return (
    <>
      <div class="tb">
        <SelectAll
          all={all}
          none={none}
          words={words}
          title={selection.map((sae) => sae.name).join(", ") || undefined}
          onToggle={toggleAll}
        />
        <Button
          small
          label="Compare selected"
          title={selection.length === 2 ? undefined : "Select two SAEs to compare them"}
          disabled={selection.length !== 2}
          onClick={() => {
            if (first && second) store.compared.value = [first, second];
          }}
        >
          Compare
        </Button>
        <Button
          small
          label="Export selected"
          disabled={none}
          expanded={store.bulk.value === "export"}
          onClick={() => ask("export")}
        >
          Export
        </Button>
        <Button
          small
          label="Delete selected"
          disabled={none || store.pending.value.has(SELECTION)}
          expanded={store.bulk.value === "delete"}
          onClick={() => ask("delete")}
        >
          Delete
        </Button>
        {!none && (
          <Button small kind="quiet" onClick={() => void store.check([])}>
            Clear selection
          </Button>
        )}
        <div class="sp" />
        <Sort
          label="Sort SAEs"
          options={SORTS}
          value={store.query().sort}
          onSelect={(sort) => void store.browse({ sort })}
        />
      </div>
      <BulkBox store={store} />
    </>
  );
}

/** What is asked about all that are checked, and what came of it. */
function BulkBox({ store }: { store: Store }) {
  const selection = store.selection();
  const what = selection.length > 0 ? store.bulk.value : null;
  const outcome = store.outcome.value;
  const close = put(store.bulk, null);
  const some =
    store.late.value.has(SELECTION) || store.problems.value.has(SELECTION) || store.done.value.has(SELECTION);
  if (what === null && !some && outcome === null) return null;
  return (
    <div class="panel-note notes">
      {what === "export" && <ExportForm store={store} id={SELECTION} saes={selection} onClose={close} />}
      {what === "delete" && (
        <DeleteQuestion saes={selection} onDelete={() => void store.delete(SELECTION, selection)} onKeep={close} />
      )}
      <BusyNote store={store} id={SELECTION} />
      <Problem store={store} id={SELECTION} />
      <DoneNote store={store} id={SELECTION} />
      {outcome && <OutcomeNote store={store} outcome={outcome} />}
    </div>
  );
}

function OutcomeNote({ store, outcome }: { store: Store; outcome: Outcome }) {
  const { title, lines } = outcomeWords(outcome);
  const dismiss = put(store.outcome, null);
  return (
    <NoteBox tone="err" title={title} actions={<Dismiss onClick={dismiss} />}>
      <Lines lines={lines} label="What was not done, and why" />
    </NoteBox>
  );
}
