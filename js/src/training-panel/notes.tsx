/** Notes below a card or on top of the panel: a failed command, a busy kernel. */
import { Button, NoteBox } from "../lib/controls";
import type { Store } from "./store";

/** What happened, and after it where. */
export const placed = ({ what, where }: { what: string; where: string | null }): string =>
  where ? `${what} (${where})` : what;

export function ProblemNote({ store, id }: { store: Store; id: string }) {
  const problem = store.problems.value.get(id);
  if (!problem) return null;
  return (
    <NoteBox
      tone="err"
      title={placed(problem)}
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
