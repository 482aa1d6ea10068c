/** Questions before something is lost; they open where that is, and name it. */
import type { ComponentChildren } from "preact";
import { Question } from "../lib/kit";
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
    <Question title={words.title} answers={[{ label: words.button, run: onYes, danger: true }]} onKeep={onKeep}>
      {words.text}
      {children}
    </Question>
  );
}

interface StopProps {
  words: ReturnType<typeof stopWords>;
  onStop: (action: "stop" | "stop_without_saving") => void;
  onKeep: () => void;
  children?: ComponentChildren;
}

export function StopQuestion({ words, onStop, onKeep, children }: StopProps) {
  const answers = [
    { label: "Stop and save checkpoint", run: () => onStop("stop") },
    { label: "Stop without saving", run: () => onStop("stop_without_saving") },
  ];
  return (
    <Question tone="info" title={words.title} answers={answers} keep="Keep running" onKeep={onKeep}>
      {words.text}
      {children}
    </Question>
  );
}
