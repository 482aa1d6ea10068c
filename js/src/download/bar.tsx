/** What is chosen, its configuration, and the button that fetches it. */
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { flip } from "../lib/kit";
import type { VariantRow } from "../lib/wire";
import { type Finding, MOST } from "./listing";
import type { Store } from "./store";

interface BarProps {
  store: Store;
  finding: Finding;
  rows: readonly VariantRow[];
  words: string;
  onStarted?: () => void;
}

export function DownloadBar({ store, finding, rows, words, onStarted }: BarProps) {
  const tooMany = rows.length > MOST;
  const said = tooMany ? `${words}; at most ${MOST} at once` : words;
  const start = async () => {
    if (await store.download(rows.map((row) => finding.chosen(row)))) onStarted?.();
  };
  return (
    <>
      {finding.configShown.value && finding.preview.value && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard
        <section class="config line" aria-label="Configuration" tabIndex={0}>
          <pre class="scroll tall">
            {Object.keys(finding.preview.value.config).length
              ? JSON.stringify(finding.preview.value.config, null, 2)
              : "This SAE comes without a configuration file."}
          </pre>
        </section>
      )}
      <div class="ft2" aria-busy={store.starting.value}>
        <span class="sm t2 el" title={said}>
          {said}
        </span>
        <div class="sp" />
        {finding.current.value && (
          <Button
            text="Show configuration"
            expanded={finding.configShown.value}
            disabled={finding.preview.value === null}
            onClick={flip(finding.configShown)}
          />
        )}
        <Button
          text={
            store.starting.value ? "Starting…" : rows.length > 1 ? `Download ${f.count(rows.length)} SAEs` : "Download"
          }
          kind="primary"
          icon="download"
          disabled={rows.length === 0 || tooMany || store.starting.value}
          onClick={() => void start()}
        />
      </div>
    </>
  );
}
