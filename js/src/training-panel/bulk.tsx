/** What is asked about all checked runs, and what came of it. */
import { Lines, PathForm, put, Question } from "../lib/kit";
import { DoneNote, ItemNotes, OutcomeNote } from "../lib/notes";
import type { Card } from "../lib/wire";
import { able, deleteQuestion, exportFolder, nameLines, stopQuestion } from "./bulk-state";
import { SELECTION, type Store } from "./store";

export function BulkBox({ store }: { store: Store }) {
  const selection = store.selection();
  const what = selection.length > 0 ? store.bulk.value : null;
  if (what === null && !store.noted(SELECTION) && store.outcome.value === null) return null;
  const cards = what === null ? [] : able(what, selection);
  const lines = nameLines(cards, store.shown.value);
  const close = put(store.bulk, null);
  const stop = stopQuestion(cards, (action) => void store.actOn(SELECTION, cards, action));
  const remove = deleteQuestion(cards, () => void store.actOn(SELECTION, cards, "delete"), selection.length);
  return (
    <div class="panel-note notes">
      {what === "stop" && (
        <Question {...stop} onKeep={close}>
          {stop.children}
          <Lines lines={lines} label="What would be stopped" />
        </Question>
      )}
      {what === "delete" && (
        <Question {...remove} onKeep={close}>
          {remove.children}
          <Lines lines={lines} label="What would be deleted" />
        </Question>
      )}
      {what === "export" && <ExportForm store={store} id={SELECTION} cards={selection} onClose={close} />}
      <ItemNotes store={store} id={SELECTION} />
      <DoneNote store={store} id={SELECTION} />
      <OutcomeNote store={store} />
    </div>
  );
}

interface ExportProps {
  store: Store;
  /** The id of the run, or `SELECTION`. */
  id: string;
  cards: readonly Card[];
  /** Of a group. */
  name?: string;
  onClose: () => void;
}

export function ExportForm({ store, id, cards, name, onClose }: ExportProps) {
  const single = cards.length === 1 ? cards[0] : undefined;
  const where = single ? "counted from the notebook's folder" : "each training gets a folder in it";
  return (
    <PathForm
      label={`Export ${single?.name ?? name ?? "selected"}`}
      submit={single ? "Write files" : `Write ${cards.length} trainings`}
      working="Exporting…"
      field="Folder"
      path={exportFolder(cards)}
      hint={`Configuration, metrics (CSV), log and SAE. On the kernel's machine; ${where}`}
      onPath={(folder) => store.export(id, cards, folder)}
      onClose={onClose}
    />
  );
}
