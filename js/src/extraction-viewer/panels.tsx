/** What opens below the tabs: the menus *Labels* and *Export*, and the forms they lead to. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { Menu } from "../lib/menu";
import { BusyNote, ProblemNote } from "../lib/notes";
import type { OpenExtraction } from "../lib/wire";
import { ExportForm, type Scope } from "./export-form";
import { PANEL, type Store } from "./store";
import { EXPORTS } from "./words";

export function Panels({ store, open }: { store: Store; open: OpenExtraction }) {
  const panel = store.panel.value;
  const { late, problems, done } = store;
  const some = late.value.has(PANEL) || problems.value.has(PANEL) || done.value.has(PANEL);
  if (panel === null && !some) return null;
  const close = () => {
    store.panel.value = null;
  };
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
      <BusyNote store={store} id={PANEL} />
      <ProblemNote store={store} id={PANEL} />
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
          run: () => {
            store.panel.value = { kind: "label_all" };
          },
        },
        {
          label: "Import labels",
          run: () => {
            store.panel.value = { kind: "import" };
          },
        },
        {
          label: "Export labels",
          run: () => {
            store.panel.value = { kind: "export", what: "labels_csv", one: false };
          },
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
  const id = useUid("sw-import");
  const box = useRef<HTMLFormElement>(null);
  const [path, setPath] = useState("");
  const busy = store.working.value;
  useLayoutEffect(() => {
    box.current?.querySelector<HTMLElement>("input")?.focus();
    box.current?.scrollIntoView?.({ block: "nearest" });
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy || path.trim() === "") return;
    if (await store.importLabels(open.id, path.trim())) onClose();
  };
  return (
    <form ref={box} class="inline" aria-label="Import labels" onSubmit={submit}>
      <div class="f grow">
        <label for={`${id}-path`}>File with labels</label>
        <input
          dir="auto"
          id={`${id}-path`}
          class="mono"
          aria-describedby={`${id}-hint`}
          spellcheck={false}
          autocomplete="off"
          value={path}
          onInput={(event) => setPath(event.currentTarget.value)}
        />
        <p class="hint" id={`${id}-hint`}>
          CSV or JSON lines with index and label, on the kernel's machine. All lines are checked before any is taken.
        </p>
      </div>
      <div class="acts">
        <Button submit disabled={busy || path.trim() === ""}>
          {busy ? "Importing…" : "Import"}
        </Button>
        <Button onClick={onClose}>Cancel</Button>
      </div>
    </form>
  );
}

/** What came of something, until it is dismissed. */
export function DoneNote({ store, id }: { store: Store; id: string }) {
  const words = store.done.value.get(id);
  if (!words) return null;
  return (
    <NoteBox
      title="Done."
      actions={
        <Button small onClick={() => store.say(id, undefined)}>
          Dismiss
        </Button>
      }
    >
      {words}
    </NoteBox>
  );
}
