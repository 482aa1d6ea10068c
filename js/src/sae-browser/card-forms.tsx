/** What a card (or the bar of all that are checked) asks before it does something: Export, Locate files, Delete. */

import { useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Options } from "../lib/controls";
import { Field, InlineForm, Lines, Question } from "../lib/kit";
import type { Choice, SaeCard, SelectedSae } from "../lib/wire";
import { deleteWords, othersOf, slug } from "./state";
import type { Store } from "./store";

interface ExportProps {
  store: Store;
  /** The id of the SAE, or where what concerns all that are checked is kept. */
  id: string;
  saes: readonly SelectedSae[];
  /** The format in which the one SAE is kept: it can always be written in that. */
  own?: Choice;
  onClose: () => void;
}

export function ExportForm({ store, id, saes, own, onClose }: ExportProps) {
  const uid = useUid("sw-format");
  const one = saes.length === 1 ? saes[0] : undefined;
  const [folder, setFolder] = useState(one ? slug(one.name) : "saes");
  const written = store.state.value.export_formats;
  const formats = own && written.every((one) => one.value !== own.value) ? [own, ...written] : written;
  const [format, setFormat] = useState(own?.value ?? formats[0]?.value ?? "saelens");
  const busy = store.pending.value.get(id) === "export";
  const submit = async () => {
    if (await store.export(id, saes, folder, format)) onClose();
  };
  return (
    <InlineForm
      label={one ? `Export ${one.name}` : "Export selected"}
      submit={busy ? "Exporting…" : one ? "Write files" : `Write ${saes.length} SAEs`}
      disabled={busy || folder.trim() === ""}
      onSubmit={() => void submit()}
      onClose={onClose}
    >
      <Field
        class="grow"
        label="Folder"
        mono
        value={folder}
        onInput={setFolder}
        hint={`On the kernel's machine; ${one ? "counted from the notebook's folder" : "each SAE gets a folder in it"}`}
      />
      <div class="f">
        <label for={uid}>Format</label>
        <select id={uid} value={format} onChange={(event) => setFormat(event.currentTarget.value)}>
          <Options of={formats} />
        </select>
      </div>
    </InlineForm>
  );
}

export function LocateForm({ store, card, onClose }: { store: Store; card: SaeCard; onClose: () => void }) {
  const [path, setPath] = useState("");
  const busy = store.pending.value.get(card.id) === "locate";
  const submit = async () => {
    if (await store.locate(card, path)) onClose();
  };
  return (
    <InlineForm
      label={`Locate the files of ${card.name}`}
      submit={busy ? "Checking…" : "Use this folder"}
      disabled={busy || path.trim() === ""}
      onSubmit={() => void submit()}
      onClose={onClose}
    >
      <Field
        class="grow"
        label="Folder of the files"
        mono
        value={path}
        onInput={setPath}
        hint="Where they are now on the kernel's machine. They are checked before they are used."
      />
    </InlineForm>
  );
}

interface DeleteProps {
  saes: readonly SelectedSae[];
  onDelete: () => void;
  onKeep: () => void;
}

export function DeleteQuestion({ saes, onDelete, onKeep }: DeleteProps) {
  const words = deleteWords(saes);
  const others = othersOf(saes.map((sae) => sae.name));
  return (
    <Question title={words.title} answers={[{ label: words.button, run: onDelete, danger: true }]} onKeep={onKeep}>
      {words.text}
      <Lines lines={others} label={`The ${others.length} more`} short />
    </Question>
  );
}
