/** "Save as template": a name, and the question whether one of that name is replaced. */
import { useState } from "preact/hooks";
import { onEsc } from "../lib/a11y";
import { Button } from "../lib/controls";
import { Field, InlineForm } from "../lib/kit";
import { asFailure, isAbort } from "../lib/rpc";
import type { ConfigData } from "../lib/wire";
import type { Problem, Store } from "./store";

interface SaveProps {
  store: Store;
  /** The name that is offered. */
  name: string;
  of: { training_id: string } | { config: () => ConfigData };
  onSaved: (name: string) => void;
  onClose: () => void;
  /** Inside of another form, where a form cannot stand. */
  nested?: boolean;
}

export function SaveTemplate({ store, name, of, onSaved, onClose, nested = false }: SaveProps) {
  const [text, setText] = useState(name);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const save = async (replace: boolean) => {
    const wanted = text.trim();
    if (busy || wanted === "") return;
    setBusy(true);
    setProblem(null);
    try {
      const what = "config" in of ? { config: of.config() } : of;
      await store.rpc.send({ kind: "save_template", name: wanted, replace, ...what });
      onSaved(wanted);
      onClose();
    } catch (error) {
      if (!isAbort(error)) setProblem(asFailure(error));
    } finally {
      setBusy(false);
    }
  };
  const taken = problem?.where === "name" && problem.what.startsWith("There is a template");
  const wrong = problem && [problem.what, Object.values(problem.fields)[0], problem.hint].filter(Boolean).join(" ");
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Esc closes it, not what is around it
    <div onKeyDown={onEsc(onClose)}>
      <InlineForm
        label="Save as template"
        submit={busy ? "Saving…" : "Save template"}
        cancel="Do not save the template"
        disabled={busy || text.trim() === ""}
        onSubmit={() => void save(false)}
        onClose={onClose}
        select
        wrong={wrong}
        nested={nested}
        more={taken && <Button text="Replace it" disabled={busy} onClick={() => void save(true)} />}
      >
        <Field
          class="grow"
          label="Name of the template"
          maxLength={120}
          value={text}
          onInput={(typed) => {
            setText(typed);
            setProblem(null);
          }}
          error={wrong}
          hint="All settings are kept, but for the name of the run"
        />
      </InlineForm>
    </div>
  );
}
