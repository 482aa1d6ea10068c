/** Below a card: what is wrong with its files, what failed, what was done. */

import { NoteBox } from "../lib/controls";
import { Dismiss } from "../lib/kit";
import { BusyNote, NoClipboardNote, ProblemNote } from "../lib/notes";
import { withKey } from "../lib/store";
import type { SaeCard } from "../lib/wire";
import { isInUse, stateNote } from "./state";
import type { Store } from "./store";

interface CardNotesProps {
  store: Store;
  card: SaeCard;
  copied: string | null;
  onCopied: () => void;
}

export function CardNotes({ store, card, copied, onCopied }: CardNotesProps) {
  const { id } = card;
  const files = stateNote(card);
  const notes = [
    files && (
      <NoteBox key="files" tone="warn" title={files.title}>
        {files.text}
      </NoteBox>
    ),
    store.late.value.has(id) && <BusyNote key="busy" store={store} id={id} />,
    store.problems.value.has(id) && <Problem key="problem" store={store} id={id} />,
    store.done.value.has(id) && <DoneNote key="done" store={store} id={id} />,
    copied && <NoClipboardNote key="copy" id={copied} onDismiss={onCopied} />,
  ].filter(Boolean);
  return notes.length ? <div class="full notes">{notes}</div> : null;
}

/** What failed; that something else uses the SAE is no error, one has to wait. */
export function Problem({ store, id }: { store: Store; id: string }) {
  const problem = store.problems.value.get(id);
  if (!problem || !isInUse(problem.what)) return <ProblemNote store={store} id={id} />;
  const [first, ...rest] = problem.what.split(/(?<= is in use)/);
  return (
    <NoteBox tone="warn" title={`${first}.`} actions={<Dismiss onClick={() => store.dismiss(id)} />}>
      {[rest.join("").replace(/^[.:\s]+/, ""), problem.hint].filter(Boolean).map(capitalised).join(" ")}
    </NoteBox>
  );
}

const capitalised = (text: string | null): string => (text ?? "").replace(/^./, (letter) => letter.toUpperCase());

/** Where an export went, until it is dismissed. */
export function DoneNote({ store, id }: { store: Store; id: string }) {
  const words = store.done.value.get(id);
  if (!words) return null;
  const dismiss = () => {
    store.done.value = withKey(store.done.value, id, undefined);
  };
  return (
    <NoteBox title="Exported." actions={<Dismiss onClick={dismiss} />}>
      {words}
    </NoteBox>
  );
}
