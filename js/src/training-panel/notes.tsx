/** Notes below a card or on top of the panel: a failed command, a busy kernel. */
import { Button, NoteBox } from "../lib/controls";
import type { Store } from "./store";

export function ProblemNote({ store, id }: { store: Store; id: string }) {
  const problem = store.problems.value.get(id);
  if (!problem) return null;
  return (
    <NoteBox
      tone="err"
      title={problem.where ? `${problem.what} (${problem.where})` : problem.what}
      actions={
        <Button small onClick={() => store.dismiss(id)}>
          Dismiss
        </Button>
      }
    >
      {problem.hint}
    </NoteBox>
  );
}

export function BusyNote({ store, id }: { store: Store; id: string }) {
  const word = store.late.value.get(id);
  if (!word) return null;
  return <NoteBox title="Kernel busy.">{`${word} is queued and takes effect when the running cell ends.`}</NoteBox>;
}
