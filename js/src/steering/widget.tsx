/** Header, prompt, features, settings, result, sweep, footer. */
import { useState } from "preact/hooks";
import { PreviewCard } from "../extraction-viewer/preview";
import { onSubmit, useOpened, useUid } from "../lib/a11y";
import { Button, Cut, NoteBox, useHelp } from "../lib/controls";
import { CodeLine, copyText } from "../lib/copy";
import * as f from "../lib/format";
import { bundleOf, type KeyRow, Keys, mountWidget } from "../lib/host";
import { Dismiss, Empty as EmptyBox, put, Question } from "../lib/kit";
import { BusyNote, placed, useAge, WidgetNotes } from "../lib/notes";
import type { Model } from "../lib/rpc";
import { visible } from "../lib/tokens";
import type { PresetRecord } from "../lib/wire";
import { AddBox, Feature, Gauge, Hits, Positions, type Search, useSearch } from "./feature";
import { Prompt, Settings } from "./prompt";
import { Result, Sweep } from "./result";
import { PRESETS, Store, WIDGET } from "./store";
import { doneWords, progressWords } from "./words";

const KEYS: readonly KeyRow[] = [
  [["/"], "add a feature: its index or words of its label"],
  [["?"], "show or hide the keys"],
  [["←", "→"], "on a slider: 0.1 less, more; on a token or choice: the one before, after"],
  [["PgUp", "PgDn"], "on a slider: 1 more, less"],
  [["0"], "on a slider: back to 0; a double click does the same"],
  [["Enter"], "in the search: add the first; on a token: what could have come there"],
  [["Ctrl", "Enter"], "in the prompt: generate"],
  [["Esc"], "close what is open; then leave"],
];

export function Widget({ store }: { store: Store }) {
  const rows = store.rows();
  const search = useSearch(store);
  return (
    <>
      <Header store={store} />
      <Notes store={store} />
      <Keys rows={KEYS} where="the widget" shown={store.keysShown} />
      {store.presetsShown.value && <Presets store={store} />}
      {rows.length === 0 ? (
        <Empty store={store} search={search} />
      ) : (
        <>
          <Prompt store={store} />
          <Features store={store} search={search} />
          <Settings store={store} />
          <Result store={store} />
          <Sweep store={store} />
        </>
      )}
      <Footer store={store} />
      <PreviewCard preview={store.preview} />
    </>
  );
}

function Header({ store }: { store: Store }) {
  const { rows, saes, sae_id, embedded, can_close } = store.state.value;
  const ids = [...new Set(rows.map((row) => row.sae_id))];
  const sae = saes.find((one) => one.id === (ids[0] ?? sae_id));
  const where = ids.length > 1 ? `${ids.length} SAEs` : sae ? [sae.model, sae.name].filter(Boolean).join(" / ") : "";
  return (
    <div class={`hd${embedded ? " in" : ""}`}>
      <h2>Steering</h2>
      <Cut class="sm t2 sub" text={visible(where)} />
      <div class="sp" />
      <Button
        text="Presets"
        popup="menu"
        expanded={store.presetsShown.value}
        onClick={() => store.showPresets(!store.presetsShown.value)}
      />
      <CopyAll store={store} />
      <Button text="Reset" disabled={store.running} onClick={() => store.reset()} />
      {can_close && <Button kind="quiet" icon="close" label="Close steering" onClick={() => store.close()} />}
    </div>
  );
}

function CopyAll({ store }: { store: Store }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    const text = await store.copy();
    if (text === null) return;
    const done = await copyText(text);
    store.toCopy.value = done ? null : text;
    if (!done) return;
    setCopied(true);
    store.announce("Copied");
    setTimeout(() => setCopied(false), 2000);
  };
  return (
    <Button text={copied ? "Copied" : "Copy all"} icon="copy" label={copied ? "Copied" : undefined} onClick={copy} />
  );
}

function Notes({ store }: { store: Store }) {
  const text = store.toCopy.value;
  return (
    <WidgetNotes store={store} noun="widget" quiet={!store.running} ids={[WIDGET, "next"]}>
      {text !== null && (
        <NoteBox title="This page may not use the clipboard." actions={<Dismiss onClick={put(store.toCopy, null)} />}>
          Select and copy by hand:
          <textarea class="by-hand" aria-label="Text to copy" rows={4} readOnly value={text} />
        </NoteBox>
      )}
    </WidgetNotes>
  );
}

function FeaturesBar({ store, search }: { store: Store; search: Search }) {
  const [button, text] = useHelp(
    "Strength",
    "Add × max adds the feature's decoder direction d, in units of the largest activation that was measured. A feature " +
      "begins at a strength that changes the hidden state by a moderate part of its length (0.45), so that text changes " +
      "and stays text; 0 gives exactly the unsteered model. Add is the same in units of activation. Clamp to sets the " +
      "activation at every token, or only where it is active; Scale by multiplies it; Ablate turns it off.",
  );
  return (
    <>
      <div class="row w fb-bar">
        <h3>Features</h3>
        {button}
        <div class="sp" />
        <AddBox store={store} search={search} />
      </div>
      {text}
      <Hits store={store} search={search} />
    </>
  );
}

function Features({ store, search }: { store: Store; search: Search }) {
  const rows = store.rows();
  const several = new Set(rows.map((row) => row.sae_id)).size > 1;
  return (
    <div class="bd line feats">
      <FeaturesBar store={store} search={search} />
      <ul aria-label="Features to steer with">
        {rows.map((row) => (
          <Feature key={row.key} store={store} row={row} several={several} />
        ))}
      </ul>
      <div class="row w gauges">
        <Gauge gauge={store.state.value.gauge} />
        <Positions store={store} />
      </div>
    </div>
  );
}

function Empty({ store, search }: { store: Store; search: Search }) {
  const { saes, sae_id, code } = store.state.value;
  const sae = saes.find((one) => one.id === sae_id);
  if (!sae) return <NoSae store={store} />;
  const index = Math.min(7451, sae.d_sae - 1);
  const where = code ? `, ws=${code}` : "";
  return (
    <>
      <Prompt store={store} />
      <div class="bd line feats">
        <FeaturesBar store={store} search={search} />
      </div>
      <EmptyBox
        title="No feature chosen"
        actions={
          <>
            <Button text="Open features browser" kind="primary" onClick={() => store.browse()} />
            <Button onClick={() => store.showPresets(true)}>Load preset</Button>
            {store.browseShown.value && <CodeLine words="Run this in a cell:" code={`sw.ExtractionViewer(${code})`} />}
          </>
        }
      >
        <p>Add a feature from the features browser, or type its index. Strength 0 gives exactly the unsteered model.</p>
        <pre>{`with sw.steered(model, [("${sae.id}", ${index}, 1.0)]${where}): ...`}</pre>
      </EmptyBox>
    </>
  );
}

function NoSae({ store }: { store: Store }) {
  const { code } = store.state.value;
  const coming = store.demoComing.value;
  return (
    <div class="empty" data-back=".srch input">
      <h3>No SAEs yet</h3>
      <p>
        Steering turns features of an SAE up or down, and the library has none. The package brings one for its own small
        model; others are downloaded, added from files, or trained.
      </p>
      <Button
        text={coming ? "Opening the demo…" : "Use the demo SAE"}
        kind="primary"
        disabled={coming}
        onClick={() => store.useDemo()}
      />
      <CodeLine words="To download one or add files, run in a cell:" code={`sw.SAEBrowser(${code})`} />
      <CodeLine words="To train one:" code={`sw.TrainingPanel(${code})`} />
    </div>
  );
}

function Footer({ store }: { store: Store }) {
  const { run } = store.state.value;
  const age = useAge(store);
  const [swept, written] = [store.sweep.value, store.texts.value];
  const last = run.kind === "sweep" ? (swept ?? written) : (written ?? swept);
  const words = progressWords(run, store.settings()) || doneWords(last);
  return (
    <div class="ft">
      <span>{words || (store.link.value === "live" ? "" : age)}</span>
      <div class="sp" />
      <span class="hw t3">? shows the keys</span>
    </div>
  );
}

export function Presets({ store }: { store: Store }) {
  const id = useUid("sw-preset");
  const root = useOpened<HTMLElement>("button, input");
  const [name, setName] = useState("");
  const [asked, setAsked] = useState<string | null>(null);
  const presets = store.presets.value;
  const empty = store.state.value.rows.length === 0;
  const save = async (replace = false) => {
    const text = name.trim();
    if (text && (await store.preset("save", text, replace))) setName("");
  };
  const remove = (name: string) => {
    setAsked(null);
    void store.preset("delete", name);
  };
  return (
    <section class="bd panel-note notes presets" aria-label="Presets" ref={root}>
      <div class="row">
        <h3>Presets</h3>
        <div class="sp" />
        <Button small kind="quiet" icon="close" label="Close presets" onClick={() => store.showPresets(false)} />
      </div>
      <BusyNote store={store} id={PRESETS} />
      <Problem store={store} name={name.trim()} onReplace={() => save(true)} />
      {presets?.length === 0 && <p class="sm t2">No presets yet</p>}
      {presets && presets.length > 0 && (
        <ul aria-label="Presets" class="plist">
          {presets.map((preset) => (
            <li key={preset.name} class="under" aria-label={visible(preset.name)}>
              {asked === preset.name ? (
                <Question
                  tone="warn"
                  title={`Delete ${visible(preset.name)}?`}
                  answers={[{ label: "Delete preset", run: () => remove(preset.name), danger: true }]}
                  onKeep={() => setAsked(null)}
                >
                  This cannot be undone.
                </Question>
              ) : (
                <Preset store={store} preset={preset} onDelete={() => setAsked(preset.name)} />
              )}
            </li>
          ))}
        </ul>
      )}
      <form class="row" onSubmit={onSubmit(() => save())}>
        <label class="sm t2" for={id}>
          Name
        </label>
        <span class="s24" style={{ "--w": "240px" }}>
          <input
            dir="auto"
            id={id}
            aria-label="Preset name"
            maxLength={120}
            value={name}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </span>
        <Button
          text="Save preset"
          small
          submit
          disabled={!name.trim() || empty}
          title={empty ? "Add a feature first: a preset without one says nothing." : undefined}
        />
      </form>
    </section>
  );
}

function Problem({ store, name, onReplace }: { store: Store; name: string; onReplace: () => void }) {
  const problem = store.problems.value.get(PRESETS);
  if (!problem) return null;
  const taken = problem.where === "name" && problem.what.startsWith("There is a preset") && name !== "";
  return (
    <NoteBox
      tone={taken ? "warn" : "err"}
      title={taken ? problem.what : placed(problem)}
      actions={
        <>
          {taken && <Button text="Replace preset" small onClick={onReplace} />}
          <Button text={taken ? "Keep" : "Dismiss"} small onClick={() => store.dismiss(PRESETS)} />
        </>
      }
    >
      {!taken && problem.hint}
    </NoteBox>
  );
}

function Preset({ store, preset, onDelete }: { store: Store; preset: PresetRecord; onDelete: () => void }) {
  const name = visible(preset.name);
  const facts = [f.plural(preset.features, "feature"), preset.saes.map(visible).join(", "), f.clock(preset.saved_at)];
  return (
    <div class="row">
      <bdi class="el sm nm" title={preset.prompt ? visible(preset.prompt) : undefined}>
        <b>{name}</b>
      </bdi>
      <span class="xs t2 el">{preset.problem ? `damaged: ${preset.problem}` : facts.filter(Boolean).join(" · ")}</span>
      <div class="sp" />
      <Button
        text="Load"
        small
        label={`Load ${name}`}
        disabled={preset.problem !== "" || store.running}
        onClick={() => store.preset("load", preset.name)}
      />
      <Button small kind="quiet" icon="trash" label={`Delete ${name}`} onClick={onDelete} />
    </div>
  );
}

function render(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const frame = store.state.value.embedded ? "part" : "whole";
  const close = () => store.closeInnermost();
  mountWidget(model, parent, store, { label: "Steering", frame, close }, <Widget store={store} />);
}

export const VIEWS = { steering: render };
export default bundleOf(VIEWS);
