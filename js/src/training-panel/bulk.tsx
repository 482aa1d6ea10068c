/** What is asked about all checked runs, and what came of it. */

import { useState } from "preact/hooks";
import { Button, NoteBox } from "../lib/controls";
import { Dismiss, Field, InlineForm, Lines, put } from "../lib/kit";
import { ItemNotes } from "../lib/notes";
import type { Card } from "../lib/wire";
import { able, deleteWords, exportFolder, nameLines, outcomeWords, stopWords } from "./bulk-state";
import { DeleteQuestion, StopQuestion } from "./question";
import { SELECTION, type Store } from "./store";

export function BulkBox({ store }: { store: Store }) {
  const selection = store.selection();
  const what = selection.length > 0 ? store.bulk.value : null;
  const cards = what === null ? [] : able(what, selection);
  const outcome = store.outcome.value;
  const done = store.done.value.get(SELECTION);
  const some = store.late.value.has(SELECTION) || store.problems.value.has(SELECTION) || done;
  if (what === null && !some && outcome === null) return null;
  const close = put(store.bulk, null);
  return (
    <div class="panel-note notes">
      {what === "stop" && (
        <StopQuestion
          words={stopWords(cards)}
          onStop={(action) => void store.actOn(SELECTION, cards, action)}
          onKeep={close}
        >
          <Lines lines={nameLines(cards, store.shown.value)} label="What would be stopped" />
        </StopQuestion>
      )}
      {what === "delete" && (
        <DeleteQuestion
          words={deleteWords(cards, selection.length)}
          onYes={() => void store.actOn(SELECTION, cards, "delete")}
          onKeep={close}
        >
          <Lines lines={nameLines(cards, store.shown.value)} label="What would be deleted" />
        </DeleteQuestion>
      )}
      {what === "export" && <ExportForm store={store} id={SELECTION} cards={selection} onClose={close} />}
      <ItemNotes store={store} id={SELECTION} />
      <DoneNote store={store} id={SELECTION} />
      {outcome && <OutcomeNote store={store} />}
    </div>
  );
}

function OutcomeNote({ store }: { store: Store }) {
  const outcome = store.outcome.value;
  if (!outcome) return null;
  const { title, lines } = outcomeWords(outcome.action, outcome.done);
  return (
    <NoteBox tone="err" title={title} actions={<Dismiss onClick={put(store.outcome, null)} />}>
      <Lines lines={lines} label="What was not done, and why" />
    </NoteBox>
  );
}

/** What was done, until it is dismissed. */
export function DoneNote({ store, id }: { store: Store; id: string }) {
  const done = store.done.value.get(id);
  if (!done) return null;
  const { text, sae } = done;
  return (
    <NoteBox
      tone="info"
      title={text}
      actions={
        <>
          {sae !== undefined && (
            <Button small onClick={() => void store.openSae(id, sae)}>
              Open SAE
            </Button>
          )}
          <Dismiss onClick={() => store.say(id, undefined)} />
        </>
      }
    />
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
  const [folder, setFolder] = useState(exportFolder(cards));
  const [busy, setBusy] = useState(false);
  const single = cards.length === 1 ? cards[0] : undefined;
  const where = single ? "counted from the notebook's folder" : "each training gets a folder in it";
  const submit = async () => {
    setBusy(true);
    if (await store.export(id, cards, folder)) onClose();
    else setBusy(false);
  };
  return (
    <InlineForm
      label={`Export ${single?.name ?? name ?? "selected"}`}
      submit={busy ? "Exporting…" : single ? "Write files" : `Write ${cards.length} trainings`}
      disabled={busy || folder.trim() === ""}
      onSubmit={() => void submit()}
      onClose={onClose}
    >
      <Field
        class="grow"
        label="Folder"
        mono
        value={folder}
        onInput={setFolder}
        hint={`Configuration, metrics (CSV), log and SAE. On the kernel's machine; ${where}`}
      />
    </InlineForm>
  );
}
