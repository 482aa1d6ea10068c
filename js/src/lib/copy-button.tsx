/** Code and other texts to copy. */
import { useState } from "preact/hooks";
import { Button } from "./controls";
import { copyText } from "./copy";

/** A button that copies a text and says whether that worked. */
export function CopyButton({ text, word, large = false }: { text: string; word: string; large?: boolean }) {
  const [state, setState] = useState(word);
  const copy = async () => {
    setState((await copyText(text)) ? "Copied" : "Select and copy by hand");
    setTimeout(() => setState(word), 2000);
  };
  const said = state === word ? undefined : state;
  return <Button text={state} small={!large} kind="quiet" icon="copy" label={said} onClick={() => void copy()} />;
}

/** A line of code to run in a cell, where a widget cannot be opened from the page. */
export function CodeLine({ words, code }: { words: string; code: string }) {
  return (
    <div class="row w code-line">
      <span class="sm t2">{words}</span>
      <span class="row">
        <pre>{code}</pre>
        <CopyButton text={code} word="Copy code" />
      </span>
    </div>
  );
}
