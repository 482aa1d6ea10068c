/** What is asked about all checked runs, and what came of it. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import { BusyNote, ProblemNote } from "../lib/notes";
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
  const close = () => {
    store.bulk.value = null;
  };
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
      <BusyNote store={store} id={SELECTION} />
      <ProblemNote store={store} id={SELECTION} />
      <DoneNote store={store} id={SELECTION} />
      {outcome && <OutcomeNote store={store} />}
    </div>
  );
}

/** A few lines; many of them scroll. */
function Lines({ lines, label }: { lines: readonly string[]; label: string }) {
  if (lines.length === 0) return null;
  return (
    <ul class="names" aria-label={label} tabIndex={lines.length > 4 ? 0 : undefined}>
      {lines.map((line, i) => (
        <li key={`${i} ${line}`}>{line}</li>
      ))}
    </ul>
  );
}

function OutcomeNote({ store }: { store: Store }) {
  const outcome = store.outcome.value;
  if (!outcome) return null;
  const { title, lines } = outcomeWords(outcome.action, outcome.done);
  return (
    <NoteBox
      tone="err"
      title={title}
      actions={
        <Button
          small
          onClick={() => {
            store.outcome.value = null;
          }}
        >
          Dismiss
        </Button>
      }
    >
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
          <Button small onClick={() => store.say(id, undefined)}>
            Dismiss
          </Button>
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
  const uid = useUid("sw-export");
  const box = useRef<HTMLFormElement>(null);
  const [folder, setFolder] = useState(exportFolder(cards));
  const [busy, setBusy] = useState(false);
  useLayoutEffect(() => {
    box.current?.querySelector<HTMLElement>("input")?.focus();
    box.current?.scrollIntoView?.({ block: "nearest" });
  }, []);
  const single = cards.length === 1 ? cards[0] : undefined;
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy || folder.trim() === "") return;
    setBusy(true);
    if (await store.export(id, cards, folder)) onClose();
    else setBusy(false);
  };
  return (
    <form ref={box} class="inline" aria-label={`Export ${single?.name ?? name ?? "selected"}`} onSubmit={submit}>
      <div class="f grow">
        <label for={`${uid}-folder`}>Folder</label>
        <input
          id={`${uid}-folder`}
          class="mono"
          aria-describedby={`${uid}-hint`}
          spellcheck={false}
          autocomplete="off"
          value={folder}
          onInput={(event) => setFolder(event.currentTarget.value)}
        />
        <p class="hint" id={`${uid}-hint`}>
          {`Configuration, metrics (CSV), log and SAE. On the kernel's machine; ${
            single ? "counted from the notebook's folder" : "each training gets a folder in it"
          }`}
        </p>
      </div>
      <div class="acts">
        <Button submit disabled={busy || folder.trim() === ""}>
          {busy ? "Exporting…" : single ? "Write files" : `Write ${cards.length} trainings`}
        </Button>
        <Button onClick={onClose}>Cancel</Button>
      </div>
    </form>
  );
}
