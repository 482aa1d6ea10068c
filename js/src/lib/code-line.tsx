/** A line of code to run in a cell, where a widget cannot be opened from the page. */
import { CopyButton } from "./copy-button";

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
