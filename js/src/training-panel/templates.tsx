/** Templates: opens in place, above the list of runs. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useAnswer } from "../lib/ask";
import { Button, NoteBox } from "../lib/controls";
import { saveFile } from "../lib/copy";
import * as f from "../lib/format";
import { Dismiss, Pick, put, Search } from "../lib/kit";
import { Failed, ItemNotes } from "../lib/notes";
import { isAbort } from "../lib/rpc";
import { sendFiles } from "../lib/upload";
import type { PanelCommand, TemplateRow } from "../lib/wire";
import { SaveTemplate } from "./save-template";
import type { Store } from "./store";
import { TemplateItem } from "./template-item";

const KEY = "templates"; // where failures show up
const TYPING = 250; // ms after the last key of a search

type Asking = { what: "rename" | "delete"; id: string } | null;

export function Templates({ store }: { store: Store }) {
  const root = useRef<HTMLElement>(null);
  const [search, setSearch] = useState("");
  const [asked, setAsked] = useState("");
  const [asking, setAsking] = useState<Asking>(null);
  const [saving, setSaving] = useState(false);
  const [said, setSaid] = useState<string | null>(null);
  const { data, problem, again } = useAnswer(
    store.rpc,
    { kind: "list_templates", search: asked },
    `${store.state.value.templates_revision} ${asked}`, // somebody else may change them, too
  );

  useEffect(() => {
    const timer = setTimeout(() => setAsked(search.trim()), TYPING);
    return () => clearTimeout(timer);
  }, [search]);
  useLayoutEffect(() => {
    root.current?.querySelector<HTMLElement>("button")?.focus();
    root.current?.scrollIntoView?.({ block: "nearest" });
    return () => store.dismiss(KEY);
  }, []);

  const close = put(store.templates, false);
  const act = async (word: string, command: PanelCommand): Promise<boolean> => {
    setSaid(null);
    const answer = await store.command(KEY, word, command);
    if (answer) {
      setAsking(null);
      again();
    }
    return answer !== null;
  };
  const takeIn = async (file: File | undefined) => {
    if (!file) return;
    setSaid(null);
    store.dismiss(KEY);
    let upload_id: string;
    try {
      upload_id = await sendFiles(store.rpc, [{ name: file.name, data: file }], {
        signal: store.stop,
        onProgress() {},
      });
    } catch (error) {
      if (!isAbort(error)) store.fail(KEY, error);
      return;
    }
    const answer = await store.command(KEY, "Import", { kind: "import_templates", upload_id });
    if (!answer) return;
    const { names } = answer.value;
    again();
    setSaid(names.length === 1 ? `Imported ${names[0]}.` : `Imported ${names.length} templates.`);
  };
  const giveOut = async (rows: readonly TemplateRow[]) => {
    setSaid(null);
    const template_ids = rows.map((row) => row.id);
    const answer = await store.command(KEY, "Export", { kind: "export_templates", template_ids });
    if (!answer) return;
    const name = rows.length === 1 ? `${(rows[0]?.name ?? "").replace(/[^\w.-]+/g, "-")}.json` : "templates.json";
    saveFile(name, answer.value.text, "application/json");
  };
  const rows = data?.templates ?? [];
  return (
    <section
      ref={root}
      class="templates"
      aria-label="Templates"
      onKeyDown={(event) => {
        if (event.key !== "Escape" || event.defaultPrevented) return;
        event.preventDefault();
        if (asking) setAsking(null);
        else close();
      }}
    >
      <div class="hd">
        <h2>Templates</h2>
        <div class="sp" />
        <Button expanded={saving} onClick={() => setSaving(!saving)}>
          Save as template
        </Button>
        <ImportButton onFile={(file) => void takeIn(file)} />
        <Button
          disabled={rows.length === 0}
          label={asked ? "Export the templates found" : "Export templates"}
          onClick={() => void giveOut(asked ? rows : [])}
        >
          Export
        </Button>
        <Button kind="quiet" icon="close" label="Close templates" onClick={close} />
      </div>
      {saving && (
        <SaveFrom
          store={store}
          onSaved={(name) => {
            again();
            setSaid(`Saved ${name}.`);
          }}
          onClose={() => setSaving(false)}
        />
      )}
      <Notes store={store} said={said} onDismiss={() => setSaid(null)} />
      {problem && (
        <div class="panel-note notes">
          <Failed problem={problem} title={problem.what} onAgain={again} />
        </div>
      )}
      {!data && !problem && <p class="bd sm t2">Asking the kernel…</p>}
      {data && data.total > 0 && (
        <div class="tb">
          <span class="sm t2">{f.plural(data.total, "template")}</span>
          <div class="sp" />
          <Search label="Search templates" placeholder="Name, model, hook" value={search} onInput={setSearch} />
        </div>
      )}
      {data && data.total === 0 && (
        <div class="empty">
          <h3>No templates yet</h3>
          <p>
            A template keeps all settings of a training under a name. Save one from the form of a new training, or from
            a training's More actions; or import a file that somebody gave you.
          </p>
          <Button
            icon="plus"
            onClick={() => {
              close();
              store.form.value = {};
            }}
          >
            New training
          </Button>
        </div>
      )}
      {data && data.total > 0 && rows.length === 0 && (
        <div class="empty">
          <h3>No template matches</h3>
          <p>{`None of the ${f.plural(data.total, "template")} matches “${asked}”.`}</p>
          <Button onClick={() => setSearch("")}>Clear search</Button>
        </div>
      )}
      {rows.length > 0 && (
        <ul class="lst under" aria-label="Templates">
          {rows.map((row) => (
            <TemplateItem
              key={row.id}
              row={row}
              asking={asking?.id === row.id ? asking.what : null}
              onAsk={(what) => setAsking(what && { what, id: row.id })}
              onUse={() => {
                close();
                store.form.value = { template: { id: row.id, name: row.name } };
              }}
              onRename={(name) =>
                act("Rename", { kind: "template_action", action: "rename", template_id: row.id, name })
              }
              onFavorite={() => {
                const action = row.favorite ? "unfavorite" : "favorite";
                void act("Favourite", { kind: "template_action", action, template_id: row.id });
              }}
              onExport={() => void giveOut([row])}
              onDelete={() => void act("Delete", { kind: "template_action", action: "delete", template_id: row.id })}
            />
          ))}
        </ul>
      )}
    </section>
  );
}

function Notes({ store, said, onDismiss }: { store: Store; said: string | null; onDismiss: () => void }) {
  if (!said && !store.late.value.has(KEY) && !store.problems.value.has(KEY)) return null;
  return (
    <div class="panel-note notes">
      <ItemNotes store={store} id={KEY} />
      {said && <NoteBox tone="info" title={said} actions={<Dismiss onClick={onDismiss} />} />}
    </div>
  );
}

/** What is saved: the settings of a run. (Those of the form are saved from the form.) */
function SaveFrom({ store, onSaved, onClose }: { store: Store; onSaved: (name: string) => void; onClose: () => void }) {
  const { cards } = store.state.value;
  const first = store.selection()[0] ?? cards[0];
  const [id, setId] = useState(first?.id ?? "");
  const card = cards.find((one) => one.id === id) ?? first;
  if (!card) {
    return (
      <div class="panel-note notes">
        <NoteBox title="There is no training whose settings could be saved.">
          Open the form of a new training: it has Save as template, too.
        </NoteBox>
      </div>
    );
  }
  return (
    <div class="panel-note notes">
      <div class="row sm t2">
        <span class="nw">The settings of</span>
        <Pick
          label="Training whose settings are saved"
          width={280}
          value={card.id}
          options={cards.map(({ id, name }) => ({ value: id, label: name }))}
          onPick={setId}
        />
      </div>
      <SaveTemplate
        key={card.id}
        store={store}
        name={card.name}
        of={{ training_id: card.id }}
        onSaved={onSaved}
        onClose={onClose}
      />
    </div>
  );
}

function ImportButton({ onFile }: { onFile: (file: File | undefined) => void }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <Button label="Import templates" onClick={() => input.current?.click()}>
        Import
      </Button>
      <input
        ref={input}
        type="file"
        class="vh"
        tabIndex={-1}
        aria-hidden="true"
        accept=".json,application/json"
        onChange={(event) => {
          onFile(event.currentTarget.files?.[0]);
          event.currentTarget.value = ""; // the same file may be chosen again
        }}
      />
    </>
  );
}
