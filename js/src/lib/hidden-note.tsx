/** Below a text box: which of its characters it does not draw. */
import { hiddenIn } from "./tokens";

const SHOWN = 6;

export function HiddenNote({ text }: { text: string }) {
  const found = hiddenIn(text);
  if (found.length === 0) return null;
  const names = `${found.slice(0, SHOWN).join(" ")}${found.length > SHOWN ? " …" : ""}`;
  return <p class="xs t2 hidden-note">{`Not drawn in the box: ${names}`}</p>;
}
