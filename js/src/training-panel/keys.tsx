/** The keys, shown by "?". */
import { Button } from "../lib/controls";

const KEYS: [string[], string][] = [
  [["/"], "search"],
  [["N"], "new training"],
  [["?"], "show or hide the keys"],
  [["Esc"], "close the form, the question or the details; then leave"],
  [["Space", "Enter"], "press, check, expand"],
  [["←", "→"], "previous, next tab or choice"],
];

export function Keys({ onClose }: { onClose: () => void }) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of help lines, not of form fields
    <div class="bd panel-note" role="group" aria-label="Keys">
      <div class="row">
        <h3>Keys</h3>
        <span class="sm t2">while the focus is in the panel</span>
        <div class="sp" />
        <Button small kind="quiet" icon="close" label="Close keys" onClick={onClose} />
      </div>
      <dl class="keys">
        {KEYS.map(([keys, what]) => (
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
