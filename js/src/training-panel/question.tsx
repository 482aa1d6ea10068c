/** Questions before something is lost; they open in the card and name what is lost. */
import { useFocusLast } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import type { Card } from "../lib/protocol";
import { deleteWords } from "./bulk-state";
import { unsavedTokens } from "./state";

export function DeleteQuestion({ card, onDelete, onKeep }: { card: Card; onDelete: () => void; onKeep: () => void }) {
  return <QuestionBox words={deleteWords([card], 1)} onYes={onDelete} onKeep={onKeep} />;
}

interface QuestionProps {
  words: { title: string; text: string; button: string };
  onYes: () => void;
  onKeep: () => void;
}

/** A question about something that cannot be undone. */
export function QuestionBox({ words, onYes, onKeep }: QuestionProps) {
  const box = useFocusLast();
  return (
    <div ref={box}>
      <NoteBox
        tone="err"
        title={words.title}
        actions={
          <>
            <Button small kind="danger" onClick={onYes}>
              {words.button}
            </Button>
            <Button small onClick={onKeep}>
              Keep
            </Button>
          </>
        }
      >
        {words.text}
      </NoteBox>
    </div>
  );
}

interface StopProps {
  card: Card;
  /** Tokens that no checkpoint has, where it is not those of `card`. */
  lost?: number;
  onStop: (save: boolean) => void;
  onKeep: () => void;
}

export function StopQuestion(props: StopProps) {
  const { card, lost = unsavedTokens(card), onStop, onKeep } = props;
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
        {`${f.count(lost)} tokens are not in a checkpoint yet.`}
      </NoteBox>
    </div>
  );
}
