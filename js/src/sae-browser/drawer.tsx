/** Details of an SAE, opened in its card: statistics, configuration, how to load it, notes. */

import { useEffect, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Answered, useAnswer } from "../lib/ask";
import { Button, NoteBox, Tabs, tabId } from "../lib/controls";
import { CopyButton } from "../lib/copy";
import { Field } from "../lib/forms";
import { Histogram } from "../lib/histogram";
import { placed } from "../lib/notes";
import { Facts, Settings as SettingsTable } from "../lib/table";
import type { SaeCard, SaeDetails, SaeFact, Setting, Snippet } from "../lib/wire";
import type { Draft, DrawerTab, Store } from "./store";

const TABS: { id: DrawerTab; label: string }[] = [
  { id: "statistics", label: "Statistics" },
  { id: "configuration", label: "Configuration" },
  { id: "load", label: "Load" },
  { id: "notes", label: "Notes" },
];

export function Drawer({ store, card, tab }: { store: Store; card: SaeCard; tab: DrawerTab }) {
  const panel = useUid("sw-drawer");
  const key = [card.id, card.name, card.state, card.size_bytes, card.tags].join("\n");
  const asked = useAnswer(store.rpc, { kind: "describe_sae", sae_id: card.id }, key);
  const tabs = {
    statistics: (data: SaeDetails) => <Statistics store={store} card={card} details={data} />,
    configuration: (data: SaeDetails) => (
      <div class="notes">
        {data.problem && (
          <NoteBox tone="warn" title={placed(data.problem)}>
            This is what the library knows of it.
          </NoteBox>
        )}
        <Settings of={data.settings} label={`Configuration of ${card.name}`} />
      </div>
    ),
    load: (data: SaeDetails) => <Load snippets={data.snippets} />,
    notes: (data: SaeDetails) => <Notes store={store} card={card} details={data} onSaved={asked.again} />,
  };
  return (
    <div class="details drawer">
      <div class="tb dt">
        <Tabs
          label={`Details of ${card.name}`}
          panel={panel}
          selected={tab}
          tabs={TABS}
          onSelect={(to) => store.openFor(card.id, { kind: "details", tab: to })}
        />
      </div>
      <div class="bd" role="tabpanel" id={panel} aria-labelledby={tabId(panel, tab)} aria-busy={asked.busy}>
        <Answered of={asked}>{tabs[tab]}</Answered>
      </div>
    </div>
  );
}

function Statistics({ store, card, details }: { store: Store; card: SaeCard; details: SaeDetails }) {
  return (
    <div class="stats">
      {card.state === "missing" ? (
        <>
          <p class="sm t2">Statistics need the weights. Locate the files to see them.</p>
          <AllFacts card={card} facts={details.facts} />
        </>
      ) : (
        <Measured store={store} card={card} facts={details.facts} />
      )}
      {card.state !== "missing" && details.snippets[0] && <Code snippet={details.snippets[0]} title="Load this SAE" />}
    </div>
  );
}

const Settings = ({ of, label }: { of: readonly Setting[]; label: string }) =>
  of.length > 0 ? <SettingsTable of={of} label={label} /> : <p class="sm t2">Its files carry no configuration.</p>;

const pairs = (facts: readonly SaeFact[]) =>
  facts.map(({ label, value, code }) => [label, code ? <code>{value}</code> : value] as const);

/** Numbers and words on the left, identifiers on the right. */
function AllFacts({ card, facts }: { card: SaeCard; facts: readonly SaeFact[] }) {
  return (
    <div class="hists">
      <Facts facts={pairs(facts.filter((fact) => !fact.code))} label={`Facts about ${card.name}`} />
      <Facts facts={pairs(facts.filter((fact) => fact.code))} label={`Identifiers of ${card.name}`} />
    </div>
  );
}

function Measured({ store, card, facts }: { store: Store; card: SaeCard; facts: readonly SaeFact[] }) {
  const key = `${card.id}\n${card.state}\n${card.size_bytes}`;
  const asked = useAnswer(store.rpc, { kind: "measure_sae", sae_id: card.id }, key);
  return (
    <>
      <div aria-busy={asked.busy}>
        <Answered of={asked} wait="Reading the weights…">
          {(data) => (
            <div class="hists">
              {data.histograms.map((one) => (
                <Histogram key={one.title} data={one} />
              ))}
            </div>
          )}
        </Answered>
      </div>
      <AllFacts card={card} facts={[...(asked.data?.facts ?? []), ...facts]} />
    </>
  );
}

function Load({ snippets }: { snippets: readonly Snippet[] }) {
  if (snippets.length === 0) return <p class="sm t2">There is no code for this format.</p>;
  return (
    <div class="notes">
      {snippets.map((snippet) => (
        <Code key={snippet.label} snippet={snippet} title={snippet.label} />
      ))}
    </div>
  );
}

function Code({ snippet, title }: { snippet: Snippet; title: string }) {
  return (
    <section class="code" aria-label={title}>
      <div class="row">
        <h3>{title}</h3>
        <div class="sp" />
        <CopyButton text={snippet.code} word="Copy code" />
      </div>
      <pre>{snippet.code}</pre>
    </section>
  );
}

export function TrainingRecord({ store, card, onClose }: { store: Store; card: SaeCard; onClose: () => void }) {
  const command = { kind: "show_training", training_id: card.training_id } as const;
  const asked = useAnswer(store.rpc, command, card.training_id ?? "");
  const { data } = asked;
  return (
    <section class="details drawer" aria-label={`Training record of ${card.name}`} aria-busy={asked.busy}>
      <div class="tb dt">
        <h3 class="el" title={data?.name}>
          {data ? `${data.name}, ${data.status}` : "Training record"}
        </h3>
        <div class="sp" />
        <Button small kind="quiet" icon="close" label="Close training record" onClick={onClose} />
      </div>
      <div class="bd notes">
        <Answered of={asked}>
          {({ facts, settings }) => (
            <>
              <Facts facts={pairs(facts)} label="Training" />
              <Settings of={settings} label="Settings of the training" />
            </>
          )}
        </Answered>
      </div>
    </section>
  );
}

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
          onClick={save}
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
