/** What people say about a feature: its label, and behind a button all labels, the description and the notes. */
import { useState } from "preact/hooks";
import { onSubmit, useUid } from "../lib/a11y";
import { Button } from "../lib/controls";
import { Field } from "../lib/forms";
import { HiddenNote, line } from "../lib/tokens";
import type { FeatureNotes, FeaturePage } from "../lib/wire";
import type { Draft } from "./feature";
import { PAGE, type Store } from "./store";
import { labelWords } from "./words";

const savedOf = ({ labels, notes }: FeatureNotes): Draft => ({
  label: labels[0]?.text ?? "",
  description: labels[0]?.description ?? "",
  notes,
});

export function LabelForm({ store, page }: { store: Store; page: FeaturePage }) {
  const id = useUid("sw-label");
  const [more, setMore] = useState(false);
  const [said, setSaid] = useState<{ index: number; words: string } | null>(null);
  const { index, notes } = page;
  const saved = savedOf(notes);
  const draft = { ...saved, ...store.feature.draft(index) };
  const changed = draft.label !== saved.label;
  const set = (change: Partial<Draft>) => {
    setSaid(null);
    store.feature.setDraft(index, { ...store.feature.draft(index), ...change });
  };
  const keep = (...names: (keyof Draft)[]) => {
    const left = { ...store.feature.draft(index) };
    for (const name of names) delete left[name];
    store.feature.setDraft(index, Object.keys(left).length ? left : undefined);
  };
  const save = async () => {
    if (store.saving.value) return;
    store.saving.value = true;
    if (await store.edit(index, { label: draft.label.trim() }, "Save label")) {
      keep("label");
      setSaid({ index, words: "Saved." });
    }
    store.saving.value = false;
  };
  const suggest = async () => {
    store.dismiss(PAGE);
    const suggestion = await store.suggest(index);
    if (suggestion?.index !== index) return;
    set({ label: suggestion.text });
    const by = [line(suggestion.by), line(suggestion.note)].filter(Boolean).join(", ");
    setSaid({ index, words: `Suggested${by ? ` by ${by}` : ""}. Save label keeps it.` });
  };
  const [first, second] = notes.labels;
  const words = [first && labelWords(first, true), second && labelWords(second, false)].filter(Boolean).join(" ");
  const n = notes.labels.length;
  const all = `${n > 0 ? `${n} ${n === 1 ? "label" : "labels"} and ` : ""}notes`;
  return (
    <div class="label-form g4">
      <form class="row end" onSubmit={onSubmit(() => save())}>
        <Field
          class="grow"
          label="Label"
          maxLength={1000}
          placeholder="What it fires on"
          aria-describedby={`${id}-said`}
          value={draft.label}
          onInput={(label) => set({ label })}
        />
        <Button text="Save label" submit disabled={!changed || store.saving.value} />
        <Button
          text={store.suggesting.value ? "Suggesting…" : "Suggest"}
          disabled={store.suggesting.value}
          onClick={suggest}
        />
      </form>
      <p class="xs t2" id={`${id}-said`}>
        <span role="status">{said?.index === index ? `${said.words} ` : changed ? "Not saved yet. " : ""}</span>
        {words || (page.fired > 0 ? "No label yet: the list shows its strongest tokens." : "No label yet.")}{" "}
        <Button kind="link" expanded={more} controls={`${id}-all`} onClick={() => setMore(!more)}>
          {more ? `Hide ${all}` : `Show ${n > 1 ? "all " : ""}${all}`}
        </Button>
      </p>
      <HiddenNote text={`${draft.label}${draft.description}${draft.notes}`} />
      {more && (
        <div id={`${id}-all`}>
          <AllNotes store={store} page={page} draft={draft} saved={saved} set={set} keep={keep} />
        </div>
      )}
    </div>
  );
}

interface AllNotesProps {
  store: Store;
  page: FeaturePage;
  draft: Draft;
  saved: Draft;
  set: (change: Partial<Draft>) => void;
  keep: (...names: (keyof Draft)[]) => void;
}

function AllNotes({ store, page, draft, saved, set, keep }: AllNotesProps) {
  const [state, setState] = useState("");
  const changed = draft.description !== saved.description || draft.notes !== saved.notes;
  const { labels } = page.notes;
  const save = async () => {
    setState("Saving…");
    const { description, notes } = draft;
    const done = await store.edit(
      page.index,
      { ...(description !== saved.description && { description }), ...(notes !== saved.notes && { notes }) },
      "Save notes",
    );
    if (done) keep("description", "notes");
    setState(done ? "Saved" : "");
  };
  return (
    <div class="all-notes box notes">
      {labels.length > 0 && (
        <ul aria-label="Labels">
          {labels.map((label, i) => (
            <li key={`${i} ${label.source} ${label.created_at}`} class="sm">
              <bdi>{line(label.text)}</bdi>
              <span class="t2">{` · ${labelWords(label, true)}`}</span>
              {label.description && i > 0 && <p class="xs t2">{line(label.description)}</p>}
            </li>
          ))}
        </ul>
      )}
      <Field
        label="Description"
        rows={2}
        maxLength={20_000}
        value={draft.description}
        onInput={(description) => {
          setState("");
          set({ description });
        }}
      />
      <Field
        label="Notes"
        rows={3}
        maxLength={20_000}
        value={draft.notes}
        onInput={(notes) => {
          setState("");
          set({ notes });
        }}
      />
      <div class="row">
        <Button text="Save notes" small disabled={!changed || state === "Saving…"} onClick={save} />
        <span class="sm t2" role="status">
          {state || (changed ? "Not saved yet" : "")}
        </span>
      </div>
    </div>
  );
}
