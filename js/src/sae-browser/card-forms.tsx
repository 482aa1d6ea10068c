/** What a card (or the bar of all that are checked) asks before it does something: Export, Locate files, Delete. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useFocusLast, useUid } from "../lib/a11y";
import { Button, NoteBox, Options } from "../lib/controls";
import type { Choice, SaeCard, SelectedSae } from "../lib/wire";
import { deleteWords, othersOf, slug } from "./state";
import type { Store } from "./store";

/** Focus goes to the first field when a form opens in place. */
function useFocusFirst() {
  const box = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => {
    box.current?.querySelector<HTMLElement>("input")?.focus();
    box.current?.scrollIntoView?.({ block: "nearest" });
  }, []);
  return box;
}

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
  const uid = useUid("sw-export");
  const box = useFocusFirst();
  const one = saes.length === 1 ? saes[0] : undefined;
  const [folder, setFolder] = useState(one ? slug(one.name) : "saes");
  const written = store.state.value.export_formats;
  const formats = own && written.every((one) => one.value !== own.value) ? [own, ...written] : written;
  const [format, setFormat] = useState(own?.value ?? formats[0]?.value ?? "saelens");
  const busy = store.pending.value.get(id) === "export";
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy || folder.trim() === "") return;
    if (await store.export(id, saes, folder, format)) onClose();
  };
  return (
    <form ref={box} class="inline" aria-label={one ? `Export ${one.name}` : "Export selected"} onSubmit={submit}>
      <div class="f grow">
        <label for={`${uid}-folder`}>Folder</label>
        <input
          id={`${uid}-folder`}
          class="mono"
          aria-describedby={`${uid}-hint`}
          spellcheck={false}
          autocomplete="off"
          value={folder}
          onInput={(event) => setFolder(event.currentTarget.value)}
        />
        <p class="hint" id={`${uid}-hint`}>
          {one
            ? "On the kernel's machine; counted from the notebook's folder"
            : "On the kernel's machine; each SAE gets a folder in it"}
        </p>
      </div>
      <div class="f">
        <label for={`${uid}-format`}>Format</label>
        <FormatSelect id={`${uid}-format`} formats={formats} value={format} onChange={setFormat} />
      </div>
      <div class="acts">
        <Button submit disabled={busy}>
          {busy ? "Exporting…" : one ? "Write files" : `Write ${saes.length} SAEs`}
        </Button>
        <Button onClick={onClose}>Cancel</Button>
      </div>
    </form>
  );
}

interface FormatProps {
  id: string;
  formats: readonly Choice[];
  value: string;
  onChange: (value: string) => void;
}

function FormatSelect({ id, formats, value, onChange }: FormatProps) {
  return (
    <select id={id} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      <Options of={formats} />
    </select>
  );
}

export function LocateForm({ store, card, onClose }: { store: Store; card: SaeCard; onClose: () => void }) {
  const uid = useUid("sw-locate");
  const box = useFocusFirst();
  const [path, setPath] = useState("");
  const busy = store.pending.value.get(card.id) === "locate";
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy || path.trim() === "") return;
    if (await store.locate(card, path)) onClose();
  };
  return (
    <form ref={box} class="inline" aria-label={`Locate the files of ${card.name}`} onSubmit={submit}>
      <div class="f grow">
        <label for={`${uid}-path`}>Folder of the files</label>
        <input
          id={`${uid}-path`}
          class="mono"
          aria-describedby={`${uid}-hint`}
          spellcheck={false}
          autocomplete="off"
          value={path}
          onInput={(event) => setPath(event.currentTarget.value)}
        />
        <p class="hint" id={`${uid}-hint`}>
          Where they are now on the kernel's machine. They are checked before they are used.
        </p>
      </div>
      <div class="acts">
        <Button submit disabled={busy || path.trim() === ""}>
          {busy ? "Checking…" : "Use this folder"}
        </Button>
        <Button onClick={onClose}>Cancel</Button>
      </div>
    </form>
  );
}

interface DeleteProps {
  saes: readonly SelectedSae[];
  onDelete: () => void;
  onKeep: () => void;
}

interface NamesProps {
  names: readonly string[];
  label: string;
  /** One line each: what is too long ends in an ellipsis. */
  short?: boolean;
}

/** A few lines of names; many of them scroll. */
export function Names({ names, label, short }: NamesProps) {
  return (
    <ul class={short ? "names short" : "names"} aria-label={label} tabIndex={names.length > 4 ? 0 : undefined}>
      {names.map((name, i) => (
        <li key={`${i} ${name}`} class={short ? "el" : undefined} title={short ? name : undefined}>
          {name}
        </li>
      ))}
    </ul>
  );
}

export function DeleteQuestion({ saes, onDelete, onKeep }: DeleteProps) {
  const box = useFocusLast();
  const words = deleteWords(saes);
  const others = othersOf(saes.map((sae) => sae.name));
  return (
    <div ref={box}>
      <NoteBox
        tone="err"
        title={words.title}
        actions={
          <>
            <Button small kind="danger" onClick={onDelete}>
              {words.button}
            </Button>
            <Button small onClick={onKeep}>
              Keep
            </Button>
          </>
        }
      >
        {words.text}
        {others.length > 0 && <Names names={others} label={`The ${others.length} more`} short />}
      </NoteBox>
    </div>
  );
}
