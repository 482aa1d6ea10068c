/** A button that copies a text and says whether that worked. */
import { useState } from "preact/hooks";
import { Button } from "./controls";
import { copyText } from "./copy";

export function CopyButton({ text, word }: { text: string; word: string }) {
  const [state, setState] = useState(word);
  const copy = async () => {
    setState((await copyText(text)) ? "Copied" : "Select and copy by hand");
    setTimeout(() => setState(word), 2000);
  };
  return (
    <Button small kind="quiet" icon="copy" label={state === word ? undefined : state} onClick={() => void copy()}>
      {state}
    </Button>
  );
}
