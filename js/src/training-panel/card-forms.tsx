/** What is asked about all checked runs, and what came of it. */

import { useSignal } from "@preact/signals";
import { useState } from "preact/hooks";
import { onEsc } from "../lib/a11y";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Field, InlineForm, PathForm } from "../lib/forms";
import { Lines, put, Question } from "../lib/kit";
import { DoneNote, ItemNotes, OutcomeNote } from "../lib/notes";
import { asFailure, isAbort } from "../lib/rpc";
import { during } from "../lib/store";
import type { Card, ConfigData } from "../lib/wire";
import { able, deleteQuestion, exportFolder, nameLines, stopQuestion } from "./bulk-state";
import { type Problem, SELECTION, type Store } from "./store";

export function BulkBox({ store }: { store: Store }) {
  const selection = store.selection();
  const what = selection.length > 0 ? store.bulk.value : null;
  if (what === null && !store.noted(SELECTION) && store.outcome.value === null) return null;
  const cards = what === null ? [] : able(what, selection);
  const lines = nameLines(cards, store.shown.value);
  const close = put(store.bulk, null);
  const stop = stopQuestion(cards, (action) => store.actOn(SELECTION, cards, action));
  const remove = deleteQuestion(cards, () => store.actOn(SELECTION, cards, "delete"), selection);
  return (
    <div class="panel-note notes">
      {what === "stop" && (
        <Question {...stop} onKeep={close}>
          {stop.children}
          <Lines lines={lines} label="What would be stopped" />
        </Question>
      )}
      {what === "delete" && (
        <Question {...remove} onKeep={close}>
          {remove.children}
          <Lines lines={lines} label="What would be deleted" />
        </Question>
      )}
      {what === "export" && <ExportForm store={store} id={SELECTION} cards={selection} onClose={close} />}
      <ItemNotes store={store} id={SELECTION} />
      <DoneNote store={store} id={SELECTION} />
      <OutcomeNote store={store} />
    </div>
  );
}

interface ExportProps {
  store: Store;
  id: string;
  cards: readonly Card[];
  name?: string;
  onClose: () => void;
}

export function ExportForm({ store, id, cards, name, onClose }: ExportProps) {
  const single = cards.length === 1 ? cards[0] : undefined;
  const where = single ? "counted from the notebook's folder" : "each training gets a folder in it";
  return (
    <PathForm
      label={`Export ${single?.name ?? name ?? "selected"}`}
      submit={single ? "Write files" : `Write ${cards.length} trainings`}
      working="Exporting…"
      field="Folder"
      path={exportFolder(cards)}
      hint={`Configuration, metrics (CSV), log and SAE. On the kernel's machine; ${where}`}
      onPath={(folder) => store.export(id, cards, folder)}
      onClose={onClose}
    />
  );
}

export function LongerForm({ store, card, onClose }: { store: Store; card: Card; onClose: () => void }) {
  const [text, setText] = useState(f.count(2 * card.tokens_total));
  const busy = useSignal(false);
  const [error, setError] = useState<string | null>(null);
  const submit = async () => {
    const tokens = f.parseInteger(text);
    if (tokens === null || tokens <= card.tokens_done) {
      const why = tokens === null ? `“${text.trim()}” is not a whole number.` : "It has seen so many already.";
      return setError(`${why} Enter more than ${f.count(card.tokens_done)}.`);
    }
    const command = { kind: "train_longer", training_id: card.id, tokens } as const;
    const answer = await during(busy, store.command(card.id, "Train longer", command));
    if (!answer) return;
    store.openFor(card.id, undefined); // and the focus goes to the new run, not back to where it was
    store.focusAnswer(answer);
    store.announce("Training started");
  };
  return (
    <InlineForm
      label={`Train ${card.name} longer`}
      submit={busy.value ? "Starting…" : "Train longer"}
      disabled={busy.value}
      onSubmit={() => submit()}
      onClose={onClose}
      select
      wrong={error}
    >
      <Field
        class="grow"
        label="Tokens in all"
        inputMode="numeric"
        value={text}
        onInput={(typed) => {
          setText(typed);
          setError(null);
        }}
        error={error}
        hint={`A new run goes on from the newest checkpoint, after ${f.tokens(card.last_checkpoint_tokens ?? card.tokens_done)}; this one stays as it is.`}
      />
    </InlineForm>
  );
}

interface SaveProps {
  store: Store;
  name: string;
  of: { training_id: string } | { config: () => ConfigData };
  /** The card that says that it is saved, unless `onSaved` does. */
  at?: string;
  onSaved?: (name: string) => void;
  onClose: () => void;
  nested?: boolean;
}

export function SaveTemplate({ store, name, of, at = "", onClose, nested = false, ...on }: SaveProps) {
  const { onSaved = (saved) => store.say(at, `Saved as template “${saved}”.`) } = on;
  const [text, setText] = useState(name);
  const busy = useSignal(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const save = async (replace: boolean) => {
    const wanted = text.trim();
    if (busy.value || wanted === "") return;
    setProblem(null);
    try {
      const what = "config" in of ? { config: of.config() } : of;
      await during(busy, store.rpc.send({ kind: "save_template", name: wanted, replace, ...what }));
      onSaved(wanted);
      onClose();
    } catch (error) {
      if (!isAbort(error)) setProblem(asFailure(error));
    }
  };
  const taken = problem?.where === "name" && problem.what.startsWith("There is a template");
  const wrong = problem && [problem.what, Object.values(problem.fields)[0], problem.hint].filter(Boolean).join(" ");
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Esc closes it, not what is around it
    <div onKeyDown={onEsc(onClose)}>
      <InlineForm
        label="Save as template"
        submit={busy.value ? "Saving…" : "Save template"}
        cancel="Do not save the template"
        disabled={busy.value || text.trim() === ""}
        onSubmit={() => save(false)}
        onClose={onClose}
        select
        wrong={wrong}
        nested={nested}
        more={taken && <Button text="Replace it" disabled={busy.value} onClick={() => save(true)} />}
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
