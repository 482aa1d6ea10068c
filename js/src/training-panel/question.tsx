/** Questions before something is lost; they open where that is, and name it. */
import type { ComponentChildren } from "preact";
import { useFocusLast } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import type { deleteWords, stopWords } from "./bulk-state";

interface DeleteProps {
  words: ReturnType<typeof deleteWords>;
  onYes: () => void;
  onKeep: () => void;
  children?: ComponentChildren;
}

/** A question about something that cannot be undone. */
export function DeleteQuestion({ words, onYes, onKeep, children }: DeleteProps) {
  return (
    <div ref={useFocusLast()}>
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
        {children}
      </NoteBox>
    </div>
  );
}

interface StopProps {
  words: ReturnType<typeof stopWords>;
  onStop: (action: "stop" | "stop_without_saving") => void;
  onKeep: () => void;
  children?: ComponentChildren;
}

export function StopQuestion({ words, onStop, onKeep, children }: StopProps) {
  return (
    <div ref={useFocusLast()}>
      <NoteBox
        tone="info"
        title={words.title}
        actions={
          <>
            <Button small onClick={() => onStop("stop")}>
              Stop and save checkpoint
            </Button>
            <Button small onClick={() => onStop("stop_without_saving")}>
              Stop without saving
            </Button>
            <Button small onClick={onKeep}>
              Keep running
            </Button>
          </>
        }
      >
        {words.text}
        {children}
      </NoteBox>
    </div>
  );
}
