/** "Save as template": a name, and the question whether one of that name is replaced. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button } from "../lib/controls";
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
  const uid = useUid("sw-template");
  const box = useRef<HTMLElement>(null);
  const [text, setText] = useState(name);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  useLayoutEffect(() => {
    const input = box.current?.querySelector<HTMLInputElement>("input");
    input?.focus();
    input?.select();
    box.current?.scrollIntoView?.({ block: "nearest" });
  }, []);
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
      box.current?.querySelector<HTMLElement>("input")?.focus();
    } finally {
      setBusy(false);
    }
  };
  const taken = problem?.where === "name" && problem.what.startsWith("There is a template");
  const fields = problem ? Object.values(problem.fields)[0] : undefined;
  const body = (
    <>
      <div class="f grow">
        <label for={`${uid}-name`}>Name of the template</label>
        <input
          id={`${uid}-name`}
          maxLength={120}
          autocomplete="off"
          aria-describedby={`${uid}-hint`}
          aria-invalid={problem !== null}
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setProblem(null);
          }}
          onKeyDown={(event) => {
            if (nested && event.key === "Enter") {
              event.preventDefault(); // or the form around it would start a training
              void save(false);
            }
            if (event.key === "Escape") {
              event.preventDefault();
              onClose();
            }
          }}
        />
        <p class={problem ? "err" : "hint"} id={`${uid}-hint`} role={problem ? "alert" : undefined}>
          {problem
            ? [problem.what, fields, problem.hint].filter(Boolean).join(" ")
            : "All settings are kept, but for the name of the run"}
        </p>
      </div>
      <div class="acts">
        {taken && (
          <Button disabled={busy} onClick={() => void save(true)}>
            Replace it
          </Button>
        )}
        <Button
          submit={!nested}
          disabled={busy || text.trim() === ""}
          onClick={nested ? () => void save(false) : undefined}
        >
          {busy ? "Saving…" : "Save template"}
        </Button>
        <Button label="Do not save the template" onClick={onClose}>
          Cancel
        </Button>
      </div>
    </>
  );
  if (nested) {
    return (
      // biome-ignore lint/a11y/useSemanticElements: it stands in a form, where neither form nor fieldset would do
      <div ref={box as never} class="inline nested" role="group" aria-label="Save as template">
        {body}
      </div>
    );
  }
  return (
    <form
      ref={box as never}
      class="inline"
      aria-label="Save as template"
      onSubmit={(event) => {
        event.preventDefault();
        void save(false);
      }}
    >
      {body}
    </form>
  );
}
