/** Completed trainings that are not in the library, on one line, with a way to bring them there. */
import { useState } from "preact/hooks";
import { Button } from "./controls";
import * as f from "./format";
import { line } from "./tokens";
import type { NotImported } from "./wire";

interface Props {
  of: NotImported | undefined;
  busy: boolean;
  /** Without ids: all. */
  onImport: (trainings: readonly string[]) => void;
}

export function NotInLibrary({ of, busy, onImport }: Props) {
  const [open, setOpen] = useState(false);
  if (!of || of.total === 0) return null;
  const { total, runs } = of;
  const one = total === 1;
  const names = runs.map(([, name]) => line(name)).join(", ");
  const button = (ids: readonly string[], text: string, label: string) => (
    <Button small text={busy ? "Importing…" : text} label={label} disabled={busy} onClick={() => onImport(ids)} />
  );
  return (
    // biome-ignore lint/a11y/useSemanticElements: a line with buttons, not fields of a form
    <div role="group" aria-label="Trainings that are not in the library">
      <div class="tb">
        <span class="sm t2 el grow" title={names}>
          {`${f.count(total)} completed ${one ? "training is" : "trainings are"} not in the library: ${names}`}
        </span>
        {one ? (
          button(
            runs.map(([id]) => id),
            "Import",
            `Import ${names}`,
          )
        ) : (
          <>
            <Button small kind="quiet" icon={open ? "up" : "down"} expanded={open} onClick={() => setOpen(!open)}>
              Choose
            </Button>
            {button([], "Import all", "Import all completed trainings")}
          </>
        )}
      </div>
      {open && !one && (
        <ul class="lst under" aria-label="Trainings to import">
          {runs.map(([id, name]) => (
            <li key={id} class="tb">
              <span class="sm el" title={line(name)}>
                {line(name)}
              </span>
              <div class="sp" />
              {button([id], "Import", `Import ${line(name)}`)}
            </li>
          ))}
          {total > runs.length && <li class="tb sm t2">{`and ${f.count(total - runs.length)} older ones`}</li>}
        </ul>
      )}
    </div>
  );
}
