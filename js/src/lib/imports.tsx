/** Completed trainings that are not in the library, on one line, with a way to bring them there. */
import type { Signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { Button } from "./controls";
import * as f from "./format";
import { line } from "./tokens";
import type { NotImported } from "./wire";

interface Importer {
  readonly importing: Signal<boolean>;
  /** Without ids: all. */
  importTrainings(ids: readonly string[]): Promise<void>;
}

export function NotInLibrary({ of, by }: { of: NotImported | undefined; by: Importer }) {
  const [open, setOpen] = useState(false);
  const [pressed, setPressed] = useState("");
  if (!of || of.total === 0) return null;
  const { total, runs } = of;
  const names = runs.map(([, name]) => line(name)).join(", ");
  const several = total > 1;
  const button = (text: string, what: string, ids: string[]) => {
    const words = by.importing.value && pressed === what ? "Importing…" : text;
    const run = () => {
      setPressed(what);
      void by.importTrainings(ids);
    };
    return <Button small text={words} label={`Import ${what}`} disabled={by.importing.value} onClick={run} />;
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a line with buttons, not fields of a form
    <div role="group" aria-label="Trainings that are not in the library">
      <div class="tb">
        <span class="sm t2 el grow" title={names}>
          {`${f.count(total)} completed ${several ? "trainings are" : "training is"} not in the library: ${names}`}
        </span>
        {several && (
          <Button small kind="quiet" icon={open ? "up" : "down"} expanded={open} onClick={() => setOpen(!open)}>
            Choose
          </Button>
        )}
        {several ? button("Import all", "all completed trainings", []) : button("Import", names, [runs[0]?.[0] ?? ""])}
      </div>
      {open && several && (
        <ul class="lst under" aria-label="Trainings to import">
          {runs.map(([id, name]) => (
            <li key={id} class="tb">
              <span class="sm el grow">{line(name)}</span>
              {button("Import", line(name), [id])}
            </li>
          ))}
          {total > runs.length && <li class="tb sm t2">{`and ${f.count(total - runs.length)} older ones`}</li>}
        </ul>
      )}
    </div>
  );
}
