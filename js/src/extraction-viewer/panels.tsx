/** What opens below the tabs: the menus *Labels* and *Export*, and the forms they lead to. */

import { useState } from "preact/hooks";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { Dismiss, Field, InlineForm, put } from "../lib/kit";
import { Menu } from "../lib/menu";
import { ItemNotes } from "../lib/notes";
import type { OpenExtraction } from "../lib/wire";
import { ExportForm, type Scope } from "./export-form";
import { PANEL, type Store } from "./store";
import { EXPORTS } from "./words";

export function Panels({ store, open }: { store: Store; open: OpenExtraction }) {
  const panel = store.panel.value;
  const { late, problems, done } = store;
  const some = late.value.has(PANEL) || problems.value.has(PANEL) || done.value.has(PANEL);
  if (panel === null && !some) return null;
  const close = put(store.panel, null);
  return (
    <div class="panel-note notes">
      {panel?.kind === "labels" && <LabelsMenu store={store} onClose={close} />}
      {panel?.kind === "exports" && (
        <Menu
          label="Export"
          onClose={close}
          items={EXPORTS.map((one) => ({
            label: one.label,
            run: () => {
              store.panel.value = { kind: "export", what: one.value, one: false };
            },
          }))}
        />
      )}
      {panel?.kind === "label_all" && <LabelAll store={store} open={open} onClose={close} />}
      {panel?.kind === "import" && <ImportForm store={store} open={open} onClose={close} />}
      {panel?.kind === "export" && (
        <ExportForm
          key={`${panel.what} ${panel.one}`}
          store={store}
          place={PANEL}
          extraction={open.id}
          name={open.name}
          what={panel.what}
          scopes={scopesOf(store, open, panel.one)}
          index={store.view.value.feature ?? undefined}
          onClose={close}
        />
      )}
      <ItemNotes store={store} id={PANEL} />
      <DoneNote store={store} id={PANEL} />
    </div>
  );
}

/** All features, those that match, the one that is shown. */
function scopesOf(store: Store, open: OpenExtraction, one: boolean): { value: Scope; label: string }[] {
  const { feature } = store.view.value;
  const { matching } = store.list.known.value;
  const scopes: { value: Scope; label: string }[] = [{ value: "all", label: `All ${f.count(open.d_sae)} features` }];
  if (matching > 0 && matching < open.d_sae)
    scopes.push({ value: "query", label: `The ${f.count(matching)} in the list` });
  const shown: { value: Scope; label: string }[] =
    feature === null ? [] : [{ value: "one", label: `Feature ${feature}` }];
  return one ? [...shown, ...scopes] : [...scopes, ...shown];
}

function LabelsMenu({ store, onClose }: { store: Store; onClose: () => void }) {
  return (
    <Menu
      label="Labels"
      onClose={onClose}
      items={[
        {
          label: "Label all features",
          run: put(store.panel, { kind: "label_all" }),
        },
        {
          label: "Import labels",
          run: put(store.panel, { kind: "import" }),
        },
        {
          label: "Export labels",
          run: put(store.panel, { kind: "export", what: "labels_csv", one: false }),
        },
      ]}
    />
  );
}

function LabelAll({ store, open, onClose }: { store: Store; open: OpenExtraction; onClose: () => void }) {
  const left = Math.max(0, open.d_sae - open.dead - open.labelled);
  const busy = store.working.value;
  const go = async () => {
    await store.labelAll(open.id);
    onClose();
  };
  return (
    <NoteBox
      title="Label all features?"
      actions={
        <>
          <Button small disabled={busy} onClick={() => void go()}>
            {busy ? "Labelling…" : `Label ${f.plural(left, "feature")}`}
          </Button>
          <Button small onClick={onClose}>
            Cancel
          </Button>
        </>
      }
    >
      The offline heuristic names each live feature without a label after the tokens it fires on. Nothing is sent
      anywhere; labels that are there stay.
    </NoteBox>
  );
}

function ImportForm({ store, open, onClose }: { store: Store; open: OpenExtraction; onClose: () => void }) {
  const [path, setPath] = useState("");
  const busy = store.working.value;
  const submit = async () => {
    if (await store.importLabels(open.id, path.trim())) onClose();
  };
  return (
    <InlineForm
      label="Import labels"
      submit={busy ? "Importing…" : "Import"}
      disabled={busy || path.trim() === ""}
      onSubmit={() => void submit()}
      onClose={onClose}
    >
      <Field
        class="grow"
        label="File with labels"
        mono
        value={path}
        onInput={setPath}
        hint="CSV or JSON lines with index and label, on the kernel's machine. All lines are checked before any is taken."
      />
    </InlineForm>
  );
}

/** What came of something, until it is dismissed. */
export function DoneNote({ store, id }: { store: Store; id: string }) {
  const words = store.done.value.get(id);
  if (!words) return null;
  return (
    <NoteBox title="Done." actions={<Dismiss onClick={() => store.say(id, undefined)} />}>
      {words}
    </NoteBox>
  );
}
