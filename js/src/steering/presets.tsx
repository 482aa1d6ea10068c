/** Settings that were saved under a name. */
import { useState } from "preact/hooks";
import { onSubmit, useOpened, useUid } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { Question } from "../lib/kit";
import { BusyNote, placed } from "../lib/notes";
import { visible } from "../lib/tokens";
import type { PresetRecord } from "../lib/wire";
import { PRESETS, type Store } from "./store";

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
