/** Questions before something is lost; they open in the card and name what is lost. */
import { useFocusLast } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import type { Card } from "../lib/protocol";
import { unsavedTokens } from "./state";

export function DeleteQuestion({ card, onDelete, onKeep }: { card: Card; onDelete: () => void; onKeep: () => void }) {
  const box = useFocusLast();
  const lost = card.checkpoint_count
    ? `Its ${f.plural(card.checkpoint_count, "checkpoint")} (${f.bytes(card.checkpoint_bytes)}) and metrics go too.`
    : "Its metrics go too.";
  return (
    <div ref={box}>
      <NoteBox
        tone="err"
        title={`Delete ${card.name}?`}
        actions={
          <>
            <Button small kind="danger" onClick={onDelete}>
              Delete training
            </Button>
            <Button small onClick={onKeep}>
              Keep
            </Button>
          </>
        }
      >
        {`${lost} This cannot be undone.`}
      </NoteBox>
    </div>
  );
}

export function StopQuestion(props: { card: Card; onStop: (save: boolean) => void; onKeep: () => void }) {
  const { card, onStop, onKeep } = props;
  const box = useFocusLast();
  return (
    <div ref={box}>
      <NoteBox
        tone="info"
        title={`Stop ${card.name}?`}
        actions={
          <>
            <Button small onClick={() => onStop(true)}>
              Stop and save checkpoint
            </Button>
            <Button small onClick={() => onStop(false)}>
              Stop without saving
            </Button>
            <Button small onClick={onKeep}>
              Keep running
            </Button>
          </>
        }
      >
        {`${f.count(unsavedTokens(card))} tokens are not in a checkpoint yet.`}
      </NoteBox>
    </div>
  );
}
