/** Name, notes and tags of an SAE; saved by a button, not while typing. */
import { useEffect, useState } from "preact/hooks";
import { Button } from "../lib/controls";
import { Field } from "../lib/kit";
import type { SaeCard, SaeDetails } from "../lib/wire";
import type { Draft, Store } from "./store";

export const tagsOf = (text: string): string[] => [
  ...new Set(
    text
      .split(",")
      .map((tag) => tag.trim())
      .filter(Boolean),
  ),
];

interface NotesProps {
  store: Store;
  card: SaeCard;
  details: SaeDetails;
  /** What is shown has to be read again. */
  onSaved: () => void;
}

export function Notes({ store, card, details, onSaved }: NotesProps) {
  const saved: Draft = { name: details.name, notes: details.notes, tags: details.tags.join(", ") };
  const draft = store.drafts.value.get(card.id) ?? saved;
  const [state, setState] = useState<"" | "Saving…" | "Saved">("");
  const changed = draft.name !== saved.name || draft.notes !== saved.notes || draft.tags !== saved.tags;
  useEffect(() => {
    if (!changed) store.draft(card.id, undefined); // what was typed is what is saved
  }, [changed, store, card.id]);
  const set = (change: Partial<Draft>) => {
    store.draft(card.id, { ...draft, ...change });
    setState("");
  };
  const save = async () => {
    setState("Saving…");
    const done = await store.edit(card, {
      ...(draft.name.trim() !== saved.name && { name: draft.name.trim() }),
      ...(draft.notes !== saved.notes && { notes: draft.notes }),
      ...(draft.tags !== saved.tags && { tags: tagsOf(draft.tags) }),
    });
    if (done) {
      store.draft(card.id, { name: draft.name.trim(), notes: draft.notes, tags: tagsOf(draft.tags).join(", ") });
      onSaved();
    }
    setState(done ? "Saved" : "");
  };
  return (
    <div class="notes-form">
      <Field label="Name" maxLength={300} value={draft.name} onInput={(name) => set({ name })} />
      <Field label="Tags" value={draft.tags} onInput={(tags) => set({ tags })} hint="Separated by commas" />
      <Field
        class="wide"
        label="Notes"
        rows={4}
        maxLength={20_000}
        value={draft.notes}
        onInput={(notes) => set({ notes })}
      />
      <div class="row wide">
        <Button
          text="Save notes"
          small
          disabled={!changed || state === "Saving…" || !draft.name.trim()}
          onClick={() => void save()}
        />
        {changed && (
          <Button text="Discard changes" small kind="quiet" onClick={() => store.draft(card.id, undefined)} />
        )}
        <span class="sm t2" role="status">
          {state || (changed ? "Not saved yet" : "")}
        </span>
      </div>
    </div>
  );
}
