/** The keys of a widget, shown by "?", and the handler behind them. */
import type { Signal } from "@preact/signals";
import { isTyping } from "./a11y";
import { Button } from "./controls";
import { put } from "./kit";

export type KeyRow = readonly [readonly string[], string];

interface KeysProps {
  rows: readonly KeyRow[];
  /** What has to have the focus: "the panel". */
  where: string;
  shown: Signal<boolean>;
}

export function Keys({ rows, where, shown }: KeysProps) {
  if (!shown.value) return null;
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of help lines, not of form fields
    <div class="bd panel-note" role="group" aria-label="Keys">
      <div class="row">
        <h3>Keys</h3>
        <span class="sm t2">{`while the focus is in ${where}`}</span>
        <div class="sp" />
        <Button small kind="quiet" icon="close" label="Close keys" onClick={put(shown, false)} />
      </div>
      <dl class="keys">
        {rows.map(([keys, what]) => (
          <>
            <dt key={`${what}-keys`}>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd key={what}>{what}</dd>
          </>
        ))}
      </dl>
    </div>
  );
}

/**
 * Keys of a whole widget; true when one was used. `/` goes to its search box, Esc closes the innermost thing that is
 * open, then leaves; letters (lower case) work only while nothing is typed.
 */
export function widgetKey(
  root: HTMLElement,
  event: KeyboardEvent,
  close: () => boolean,
  letters: Record<string, () => void>,
): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.key === "Escape") {
    if (close()) return true;
    if (!root.contains(document.activeElement)) return false;
    (document.activeElement as HTMLElement).blur();
    return true;
  }
  if (isTyping(event.target)) return false;
  const action = letters[event.key.toLowerCase()];
  if (action) action();
  else if (event.key === "/") root.querySelector<HTMLElement>("input[type=search]")?.focus();
  else return false;
  return true;
}
