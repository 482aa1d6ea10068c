/** What a card (or the bar of all that are checked) asks before it does something: Export, Delete. */
import { useState } from "preact/hooks";
import { Lines, PathForm, Choice as Pick, Question } from "../lib/kit";
import type { Choice, SelectedSae } from "../lib/wire";
import { deleteQuestion, othersOf, slug } from "./state";
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
  const one = saes.length === 1 ? saes[0] : undefined;
  const written = store.state.value.export_formats;
  const formats = own && written.every((one) => one.value !== own.value) ? [own, ...written] : written;
  const [format, setFormat] = useState(own?.value ?? formats[0]?.value ?? "saelens");
  return (
    <PathForm
      label={one ? `Export ${one.name}` : "Export selected"}
      submit={one ? "Write files" : `Write ${saes.length} SAEs`}
      working="Exporting…"
      field="Folder"
      path={one ? slug(one.name) : "saes"}
      hint={`On the kernel's machine; ${one ? "counted from the notebook's folder" : "each SAE gets a folder in it"}`}
      onPath={(folder) => store.export(id, saes, folder, format)}
      onClose={onClose}
    >
      <Pick label="Format" options={formats} value={format} onPick={setFormat} />
    </PathForm>
  );
}

interface DeleteProps {
  saes: readonly SelectedSae[];
  onDelete: () => void;
  onKeep: () => void;
}

export function DeleteQuestion({ saes, onDelete, onKeep }: DeleteProps) {
  const { children, ...question } = deleteQuestion(saes, onDelete);
  const others = othersOf(saes.map((sae) => sae.name));
  return (
    <Question {...question} onKeep={onKeep}>
      {children}
      <Lines lines={others} label={`The ${others.length} more`} short />
    </Question>
  );
}
