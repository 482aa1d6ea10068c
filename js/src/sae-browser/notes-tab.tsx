/** Name, notes and tags of an SAE; saved by a button, not while typing. */
import { useEffect, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button } from "../lib/controls";
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
  const id = useUid("sw-notes");
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
      <div class="f">
        <label for={`${id}-name`}>Name</label>
        <input
          id={`${id}-name`}
          maxLength={300}
          value={draft.name}
          onInput={(event) => set({ name: event.currentTarget.value })}
        />
      </div>
      <div class="f">
        <label for={`${id}-tags`}>Tags</label>
        <input
          id={`${id}-tags`}
          aria-describedby={`${id}-hint`}
          value={draft.tags}
          onInput={(event) => set({ tags: event.currentTarget.value })}
        />
        <p class="hint" id={`${id}-hint`}>
          Separated by commas
        </p>
      </div>
      <div class="f wide">
        <label for={`${id}-notes`}>Notes</label>
        <textarea
          id={`${id}-notes`}
          rows={4}
          maxLength={20_000}
          value={draft.notes}
          onInput={(event) => set({ notes: event.currentTarget.value })}
        />
      </div>
      <div class="row wide">
        <Button small disabled={!changed || state === "Saving…" || !draft.name.trim()} onClick={() => void save()}>
          Save notes
        </Button>
        {changed && (
          <Button small kind="quiet" onClick={() => store.draft(card.id, undefined)}>
            Discard changes
          </Button>
        )}
        <span class="sm t2" role="status">
          {state || (changed ? "Not saved yet" : "")}
        </span>
      </div>
    </div>
  );
}
