/** "Add local files", opened in place: a path on the kernel's machine, or files from this one. */
import { useRef, useState } from "preact/hooks";
import { useOpened } from "../lib/a11y";
import { Button, Segments } from "../lib/controls";
import * as f from "../lib/format";
import { asksConvention, Convention, Field } from "../lib/forms";
import { Progress as Bar, Facts } from "../lib/kit";
import { ItemNotes } from "../lib/notes";
import { type About, ADDING, type FileToSend, filesOf, type Upload } from "./adding";
import type { Store } from "./store";

type Way = "path" | "upload";

const WAYS: Record<Way, string> = { path: "On the kernel's machine", upload: "From this computer" };

export function AddForm({ store }: { store: Store }) {
  const { adding } = store;
  const box = useOpened("input[type=text]");
  const [way, setWay] = useState<Way>("path");
  const [path, setPath] = useState("");
  const [files, setFiles] = useState<FileToSend[]>([]);
  const [about, setAbout] = useState<About>({});
  const upload = adding.upload.value;
  const choose = (next: Way) => {
    if (next !== way) store.dismiss(ADDING); // what failed was about the other way
    setWay(next);
  };
  const ready = way === "path" ? path.trim() !== "" : files.length > 0;
  const submit = (event: Event) => {
    event.preventDefault();
    if (!ready || adding.busy) return;
    void (way === "path" ? adding.addPath(path, about) : adding.send(files, about));
  };
  const close = () => {
    adding.cancel();
    adding.shown.value = false;
  };
  return (
    <form ref={box} class="add" aria-label="Add local files" onSubmit={submit}>
      <div class="row">
        <h3>Add local files</h3>
        <div class="sp" />
        <Button small kind="quiet" icon="close" label="Close Add local files" onClick={close} />
      </div>
      <Segments label="Where the files are" options={WAYS} selected={way} onSelect={choose} />
      {way === "path" ? (
        <Field
          label="Folder, file or zip"
          mono
          value={path}
          onInput={setPath}
          hint="A path on the kernel's machine. Its files are checked and copied; the originals stay as they are."
        />
      ) : (
        <ChooseFiles files={files} disabled={adding.busy} onChoose={setFiles} />
      )}
      <AboutFields about={about} asks={asksConvention(store.problems.value.get(ADDING))} onChange={setAbout} />
      {upload && <Progress upload={upload} />}
      <ItemNotes store={store} id={ADDING} />
      <div class="row answers">
        <span class="sm t2" role="status">
          {adding.copying.value ? "Checking and copying…" : ""}
        </span>
        {upload?.phase === "sending" ? (
          <Button onClick={() => adding.cancel()}>Cancel upload</Button>
        ) : (
          <Button text="Cancel" disabled={adding.busy} onClick={close} />
        )}
        <Button
          text={adding.busy ? "Adding…" : "Add to library"}
          kind="primary"
          submit
          disabled={!ready || adding.busy}
        />
      </div>
    </form>
  );
}

interface ChooseProps {
  files: readonly FileToSend[];
  disabled: boolean;
  onChoose: (files: FileToSend[]) => void;
}

function ChooseFiles({ files, disabled, onChoose }: ChooseProps) {
  const picker = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const size = files.reduce((sum, file) => sum + file.data.size, 0);
  const names = files
    .slice(0, 4)
    .map((file) => file.name)
    .join(", ");
  const input = (folderOnly: boolean) => (
    <input
      ref={folderOnly ? folder : picker}
      class="vh"
      type="file"
      tabIndex={-1}
      aria-label={folderOnly ? "Folder of an SAE" : "Files of an SAE"}
      multiple
      {...(folderOnly && { webkitdirectory: true })}
      onChange={(event) => onChoose(filesOf(event.currentTarget.files ?? []))}
    />
  );
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: dropping is a second way; the buttons inside are the first
    <div
      class={`drop${over ? " over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        if (!disabled) onChoose(filesOf(event.dataTransfer?.files ?? []));
      }}
    >
      {input(false)}
      {input(true)}
      <div class="row w">
        <Button text="Choose files or a zip" small disabled={disabled} onClick={() => picker.current?.click()} />
        <Button
          text="Choose a folder"
          small
          icon="folder"
          disabled={disabled}
          onClick={() => folder.current?.click()}
        />
        <span class="sm t2">or drop files here</span>
      </div>
      <p class="sm" role="status">
        {files.length === 0
          ? ""
          : `${f.plural(files.length, "file")}, ${f.bytes(size)}: ${names}${files.length > 4 ? ", …" : ""}`}
      </p>
    </div>
  );
}

const FIELDS: { field: "name" | "model" | "hook_name"; label: string; hint: string; code?: boolean }[] = [
  { field: "name", label: "Name", hint: "Empty: from the files" },
  { field: "model", label: "Model", hint: "If the files do not say: gpt2" },
  { field: "hook_name", label: "Hook name", hint: "Like blocks.6.hook_resid_post", code: true },
];

interface AboutProps {
  about: About;
  asks: boolean;
  onChange: (about: About) => void;
}

function AboutFields({ about, asks, onChange }: AboutProps) {
  const answer = about.apply_b_dec_to_input;
  return (
    <div class="about">
      {FIELDS.map(({ field, label, hint, code }) => (
        <Field
          key={field}
          label={label}
          mono={code}
          value={about[field] ?? ""}
          onInput={(text) => onChange({ ...about, [field]: text || null })}
          hint={hint}
        />
      ))}
      {(asks || answer !== undefined) && (
        <Convention value={answer} onChange={(apply_b_dec_to_input) => onChange({ ...about, apply_b_dec_to_input })} />
      )}
    </div>
  );
}

function Progress({ upload }: { upload: Upload }) {
  const share = upload.total > 0 ? upload.received / upload.total : 1;
  const seconds = (performance.now() - upload.since) / 1000;
  const rate = seconds > 0.5 && upload.received > 0 ? upload.received / seconds : null;
  const words =
    upload.phase === "checking"
      ? ["Checking and converting…"]
      : [
          `${f.bytes(upload.received)} of ${f.bytes(upload.total)}`,
          ...(rate === null
            ? []
            : [`${f.bytes(rate)}/s`, `ETA ${f.duration((upload.total - upload.received) / rate)}`]),
        ];
  return (
    <div class="notes">
      <Bar label={`Upload of ${upload.name}`} fraction={share} status="" />
      <Facts of={words} />
    </div>
  );
}
