/** Below a card: what went wrong or stands still, with the button for it. */
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { BusyNote, NoClipboardNote, ProblemNote, placing } from "../lib/notes";
import type { Card } from "../lib/wire";
import { DoneNote } from "./bulk";
import { statusOf } from "./state";
import type { Store } from "./store";

interface CardNotesProps {
  store: Store;
  card: Card;
  /** The run that the note is about, where the card is that of a group. */
  about?: Card;
  copied: string | null;
  onCopied: () => void;
  onResume: () => void;
  /** Is the log of what failed shown? */
  log: boolean;
  onLog: (show: boolean) => void;
}

export function CardNotes({ store, card, about = card, copied, onCopied, onResume, log, onLog }: CardNotesProps) {
  const status = statusOf(card);
  const id = card.id;
  const step = card.last_checkpoint_step;
  const retry = about.retry ?? null;
  const notes = [
    status === "failed" && (
      <NoteBox
        key="failed"
        tone="err"
        {...(card.note ? placing(card.note) : { title: "The training failed." })}
        actions={
          <>
            {retry !== null && Object.keys(retry).length > 0 && (
              <Button small onClick={() => (store.form.value = { from: about, changes: retry })}>
                {"optimizer.lr" in retry ? "Retry with a lower learning rate" : "Change and retry"}
              </Button>
            )}
            {step !== null && retry === null && (
              <Button small disabled={store.pending.value.has(id)} onClick={onResume}>
                {`Resume from step ${f.count(step)}`}
              </Button>
            )}
            <Button small expanded={log} onClick={() => onLog(!log)}>
              Show log
            </Button>
          </>
        }
      >
        {card.note?.hint}
      </NoteBox>
    ),
    status === "interrupted" && (
      <NoteBox key="interrupted" tone="int" title="The kernel that ran it ended.">
        {card.note?.hint
          ? card.note.hint
          : step === null
            ? "Resume starts again from the beginning: it had no checkpoint yet."
            : `Resume continues from step ${f.count(step)} and ends in the same weights as an uninterrupted run.`}
      </NoteBox>
    ),
    card.note && status !== "failed" && status !== "interrupted" && (
      <NoteBox key="note" tone={["info", "warning"].includes(card.note.kind) ? "warn" : "err"} {...placing(card.note)}>
        {card.note.hint}
      </NoteBox>
    ),
    store.late.value.has(id) && <BusyNote key="busy" store={store} id={id} />,
    store.problems.value.has(id) && <ProblemNote key="problem" store={store} id={id} />,
    store.done.value.has(id) && <DoneNote key="done" store={store} id={id} />,
    copied && <NoClipboardNote key="copy" id={copied} onDismiss={onCopied} />,
  ].filter(Boolean);
  return notes.length ? <div class="full notes">{notes}</div> : null;
}
