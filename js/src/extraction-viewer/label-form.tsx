/** What people say about a feature: their own label, what others offer, and behind buttons all labels and notes. */
import { useState } from "preact/hooks";
import { onSubmit, useUid } from "../lib/a11y";
import { Answered, useAsked } from "../lib/ask";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Field } from "../lib/forms";
import { StatusWord } from "../lib/kit";
import { during } from "../lib/store";
import { Table } from "../lib/table";
import { Chips, HiddenNote, line } from "../lib/tokens";
import type { FeatureLabel, FeatureNotes, FeaturePage } from "../lib/wire";
import { Tokens } from "./example-list";
import { ALONE, activationsOf, type Draft } from "./feature";
import { PAGE, type Store } from "./store";
import { labelWords, sourceOf } from "./words";

const ownOf = (labels: readonly FeatureLabel[]) => labels.find((label) => label.source === "user");

const savedOf = ({ labels, notes }: FeatureNotes): Draft => {
  const own = ownOf(labels);
  return { label: own?.text ?? "", description: own?.description ?? "", notes };
};

type Offer = Pick<FeatureLabel, "text" | "tokens">;

const LabelText = ({ of: { text, tokens } }: { of: Offer }) =>
  tokens.length > 0 ? <Chips of={tokens} /> : <bdi>{`“${line(text)}”`}</bdi>;

export function LabelForm({ store, page }: { store: Store; page: FeaturePage }) {
  const id = useUid("sw-label");
  const [more, setMore] = useState(false);
  const [saidOf, setSaid] = useState<number | null>(null);
  const [suggested, setSuggested] = useState<(Offer & { index: number; by: string }) | null>(null);
  const [judged, setJudged] = useState<number | null>(null);
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
    if (await during(store.saving, store.edit(index, { label: draft.label.trim() }, "Save label"))) {
      keep("label");
      setSaid(index);
    }
  };
  const suggest = async () => {
    store.dismiss(PAGE);
    const found = await store.suggest(index);
    if (found?.index !== index) return;
    setSuggested({ ...found, by: [line(found.by), line(found.note)].filter(Boolean).join(", ") });
  };
  const own = ownOf(notes.labels);
  const other = notes.labels.find((label) => label !== own);
  const n = notes.labels.length;
  const all = `${n > 0 ? `${n} ${n === 1 ? "label" : "labels"} and ` : ""}notes`;
  const none = other ? "" : page.fired > 0 ? "No label yet: the list shows its strongest tokens." : "No label yet.";
  const judgedOf = (label: FeatureLabel | undefined) => {
    if (!label || label.score_at === null) return null;
    const shown = judged === label.score_at;
    return (
      <Button kind="link" expanded={shown} onClick={() => setJudged(shown ? null : label.score_at)}>
        {`${shown ? "Hide" : "Show"} what the judge said`}
      </Button>
    );
  };
  const offer = (word: string, label: Offer, by: string) => (
    <p class="offer xs t2">
      {`${word}: `}
      <LabelText of={label} />
      {by && `, ${line(by)}`}
      {". "}
      <Button text="Use" kind="link" label={`Use ${line(label.text)}`} onClick={() => set({ label: label.text })} />{" "}
      {label === other && judgedOf(other)}
    </p>
  );
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
      {suggested?.index === index && offer("Suggested", suggested, suggested.by)}
      {other && offer(sourceOf(other), other, other.by)}
      <p class="xs t2" id={`${id}-said`}>
        <span role="status">{saidOf === index ? "Saved. " : changed ? "Not saved yet. " : ""}</span>
        {own ? labelWords(own) : none} {judgedOf(own)}{" "}
        <Button kind="link" expanded={more} controls={`${id}-all`} onClick={() => setMore(!more)}>
          {more ? `Hide ${all}` : `Show ${n > 1 ? "all " : ""}${all}`}
        </Button>
      </p>
      <HiddenNote text={`${draft.label}${draft.description}${draft.notes}`} />
      {judged !== null && notes.labels.some((label) => label.score_at === judged) && (
        <Judged store={store} page={page} at={judged} />
      )}
      {more && (
        <div id={`${id}-all`}>
          <AllNotes store={store} page={page} draft={draft} saved={saved} set={set} keep={keep} />
        </div>
      )}
    </div>
  );
}

const RIGHT = [
  { status: "failed", word: "Wrong" },
  { status: "completed", word: "Right" },
  { status: "stopped", word: "Not judged" },
] as const;

/** The windows on which a label was judged, those that were judged wrongly first. */
function Judged({ store, page, at }: { store: Store; page: FeaturePage; at: number }) {
  const { extraction_id, index, list_max } = page;
  const asked = useAsked(
    async (signal) => {
      const answer = await store.rpc.send({ kind: "read_judged", extraction_id, index, score_at: at }, { signal });
      const { texts, windows, fires, said } = answer.value;
      const values = activationsOf(answer);
      let start = 0;
      return windows.map((tokens, i) => {
        start += tokens.length;
        const passage = { texts, tokens, values: values.subarray(start - tokens.length, start), peak: -1, ...ALONE };
        return { passage, fires: fires[i] ?? false, said: said[i] ?? null };
      });
    },
    JSON.stringify([extraction_id, index, at]),
  );
  return (
    <Answered of={asked} wait="Reading the windows…">
      {(rows) => (
        <>
          <p class="xs t2">{`${f.plural(rows.length, "window")} that the label was not made from. The judge was asked whether the label describes them.`}</p>
          <Table
            label="What the judge said"
            class="pad judged"
            box="scroll judged-box"
            columns={["Judge", "Feature", "Answer", "Window"]}
            rows={rows.map(({ passage, fires, said }, i) => ({
              key: `${i}`,
              cells: [
                <StatusWord key="right" {...(RIGHT[said === null ? 2 : Number(said === fires)] ?? RIGHT[2])} />,
                fires ? "fires" : "silent",
                said === null ? "none" : said ? "yes" : "no",
                <span key="window" class="x">
                  <Tokens passage={passage} from={0} to={passage.tokens.length} max={list_max} breaks={false} />
                </span>,
              ],
            }))}
          />
        </>
      )}
    </Answered>
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
  const edit = (change: Partial<Draft>) => {
    setState("");
    set(change);
  };
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
              <LabelText of={label} />
              <span class="t2">{` · ${labelWords(label)}`}</span>
              {label.description && label.source !== "user" && <p class="xs t2">{line(label.description)}</p>}
            </li>
          ))}
        </ul>
      )}
      <Field
        label="Description"
        rows={2}
        maxLength={20_000}
        value={draft.description}
        onInput={(description) => edit({ description })}
      />
      <Field label="Notes" rows={3} maxLength={20_000} value={draft.notes} onInput={(notes) => edit({ notes })} />
      <div class="row">
        <Button text="Save notes" small disabled={!changed || state === "Saving…"} onClick={save} />
        <span class="sm t2" role="status">
          {state || (changed ? "Not saved yet" : "")}
        </span>
      </div>
    </div>
  );
}
