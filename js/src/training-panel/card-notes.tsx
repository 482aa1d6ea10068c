/** Below a card: what went wrong or stands still, with the button for it. */
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { BusyNote, NoClipboardNote, ProblemNote, placing } from "../lib/notes";
import type { Card } from "../lib/protocol";
import { DoneNote } from "./bulk";
import { statusOf } from "./state";
import type { Store } from "./store";

export function CardNotes(props: { store: Store; card: Card; copied: string | null; onCopied: () => void }) {
  const { store, card, copied, onCopied } = props;
  const status = statusOf(card);
  const id = card.id;
  const open = store.open.value.get(id);
  const showsLog = open?.kind === "details" && open.tab === "log";
  const step = card.last_checkpoint_step;
  const notes = [
    status === "failed" && (
      <NoteBox
        key="failed"
        tone="err"
        {...(card.note ? placing(card.note) : { title: "The training failed." })}
        actions={
          <>
            {step !== null && (
              <Button small disabled={store.pending.value.has(id)} onClick={() => void store.act(card, "resume")}>
                {`Resume from step ${f.count(step)}`}
              </Button>
            )}
            <Button
              small
              expanded={showsLog}
              onClick={() => store.openFor(id, showsLog ? undefined : { kind: "details", tab: "log" })}
            >
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
      <NoteBox key="note" tone={card.note.kind === "error" ? "err" : "warn"} {...placing(card.note)}>
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
