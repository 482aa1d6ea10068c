/** What opens below the tabs: the menus *Labels* and *Export*, and the forms they lead to. */
import { useState } from "preact/hooks";
import * as f from "../lib/format";
import { Choice, PathForm } from "../lib/forms";
import { Menu, put, Question } from "../lib/kit";
import { DoneNote, ItemNotes } from "../lib/notes";
import { type ExportKind, LABELS, type OpenExtraction } from "../lib/wire";
import { LabelJobRow, LabelModel } from "./label-model";
import { PANEL, type Store } from "./store";
import { EXPORTS, slug } from "./words";

export function Panels({ store, open }: { store: Store; open: OpenExtraction }) {
  const panel = store.panel.value;
  const { labelling } = store.state.value;
  const told = labelling !== null && labelling.id !== store.labelling.seen.value;
  if (panel === null && !store.noted(PANEL) && !told) return null;
  const close = put(store.panel, null);
  const labels = [
    { label: "Label with a model", run: put(store.panel, { kind: "label_model" }) },
    { label: "Label all features", run: put(store.panel, { kind: "label_all" }) },
    { label: "Import labels", run: put(store.panel, { kind: "import" }) },
    { label: "Export labels", run: put(store.panel, { kind: "export", what: "labels_csv", one: false }) },
  ];
  const exports = EXPORTS.map(({ label, value }) => ({
    ...{ label, run: put(store.panel, { kind: "export", what: value, one: false }) },
  }));
  return (
    <div class="panel-note notes">
      {panel?.kind === "labels" && <Menu label="Labels" onClose={close} items={labels} />}
      {panel?.kind === "exports" && <Menu label="Export" onClose={close} items={exports} />}
      {panel?.kind === "label_all" && <LabelAll store={store} open={open} onClose={close} />}
      {panel?.kind === "label_model" && <LabelModel store={store} open={open} />}
      {panel?.kind === "import" && (
        <PathForm
          label="Import labels"
          submit="Import"
          working="Importing…"
          field="File with labels"
          hint="CSV or JSON lines with index and label, on the kernel's machine. All lines are checked before any is taken."
          onPath={(path) => store.importLabels(open.id, path)}
          onClose={close}
        />
      )}
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
      <LabelJobRow store={store} />
      <ItemNotes store={store} id={PANEL} />
      <DoneNote store={store} id={PANEL} title="Done." />
    </div>
  );
}

type Scopes = readonly { value: "all" | "query" | "one"; label: string }[];

function scopesOf(store: Store, open: OpenExtraction, one: boolean): Scopes {
  const { feature } = store.view.value;
  const { matching } = store.list.known.value;
  const shown: Scopes = feature === null ? [] : [{ value: "one", label: `Feature ${feature}` }];
  const some = matching > 0 && matching < open.d_sae;
  const listed: Scopes = some ? [{ value: "query", label: `The ${f.count(matching)} in the list` }] : [];
  const all: Scopes = [{ value: "all", label: `All ${f.count(open.d_sae)} features` }, ...listed];
  return one ? [...shown, ...all] : [...all, ...shown];
}

function LabelAll({ store, open, onClose }: { store: Store; open: OpenExtraction; onClose: () => void }) {
  const left = Math.max(0, open.d_sae - open.dead - open.labelled);
  const { problem, busy } = store.labelling.plan.value;
  const go = async () => {
    if (await store.labelling.start(open.id, { ...LABELS, llm: "heuristic", limit: open.d_sae })) onClose();
  };
  return (
    <Question
      tone="plain"
      title="Label all features?"
      answers={[{ label: `Label ${f.plural(left, "feature")}`, disabled: busy, run: () => go() }]}
      keep="Cancel"
      onKeep={onClose}
    >
      {problem?.what ??
        "The offline heuristic names each live feature without a label after the tokens it fires on. Nothing is sent anywhere; labels that are there stay."}
    </Question>
  );
}

interface ExportProps {
  store: Store;
  place: string;
  extraction: string;
  name: string;
  what: ExportKind;
  scopes: Scopes;
  index?: number | undefined;
  onClose: () => void;
}

export function ExportForm({ store, place, extraction, name, what, scopes, index, onClose }: ExportProps) {
  const [kind, setKind] = useState(what);
  const [scope, setScope] = useState(scopes[0]?.value ?? "all");
  const choice = EXPORTS.find((one) => one.value === kind);
  return (
    <PathForm
      label={`Export features of ${name}`}
      submit="Write"
      working="Writing…"
      field="Write to"
      path={`${slug(name)}${scope === "one" ? `-${index}` : ""}${choice?.end ?? ""}`}
      hint="On the kernel's machine; counted from the notebook's folder"
      onPath={(path) =>
        store.export(place, {
          ...{ kind: "export_features", extraction_id: extraction, what: kind, path },
          indices: scope === "one" && index !== undefined ? [index] : null,
          query: scope === "query" ? store.view.value.query : null,
        })
      }
      onClose={onClose}
    >
      <Choice label="Format" options={EXPORTS} value={kind} onPick={setKind} hint={choice?.hint} />
      <Choice label="Features" options={scopes} value={scope} onPick={setScope} />
    </PathForm>
  );
}
