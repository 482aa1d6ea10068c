/** Templates: opens in place, above the list of runs. */
import { useEffect, useRef, useState } from "preact/hooks";
import { onEsc, useOpened } from "../lib/a11y";
import { rest, useAsked } from "../lib/ask";
import { Button, NoteBox } from "../lib/controls";
import { saveFile } from "../lib/copy";
import * as f from "../lib/format";
import { Field, InlineForm } from "../lib/forms";
import { Card, Empty, Facts, Pick, put, Question, Search } from "../lib/kit";
import { DoneNote, Failed, ItemNotes } from "../lib/notes";
import { CommandError } from "../lib/rpc";
import { type PanelCommand, TEMPLATE_BYTES, type TemplateAct, type TemplateRecord } from "../lib/wire";
import { SaveTemplate } from "./card-forms";
import type { Store } from "./store";

const KEY = "templates"; // where failures show up
const TYPING = 250; // ms after the last key of a search

type Asking = { what: "rename" | "describe" | "delete"; id: string } | null;

export function Templates({ store }: { store: Store }) {
  const root = useOpened<HTMLElement>("button");
  const [search, setSearch] = useState("");
  const [asking, setAsking] = useState<Asking>(null);
  const [saving, setSaving] = useState(false);
  const list = async (signal: AbortSignal) => {
    const asked = search.trim();
    if (asked) await rest(TYPING);
    return { asked, ...(await store.rpc.send({ kind: "list_templates", search: asked }, { signal })).value };
  };
  const changed = store.state.value.templates_revision; // somebody else may change them, too
  const { data, problem, again } = useAsked(list, `${changed} ${search}`);
  const asked = data?.asked ?? "";
  useEffect(() => () => clear(), []);

  const clear = () => {
    store.say(KEY);
    store.dismiss(KEY);
  };

  const close = put(store.templates, false);
  const act = async (word: string, command: PanelCommand): Promise<boolean> => {
    store.say(KEY);
    const answer = await store.command(KEY, word, command);
    if (answer) {
      setAsking(null);
      again();
    }
    return answer !== null;
  };
  const takeIn = async (file: File | undefined) => {
    if (!file) return;
    clear();
    if (file.size > TEMPLATE_BYTES) {
      const what = `${file.name} has ${f.count(file.size)} bytes; a file of templates has at most ${f.count(TEMPLATE_BYTES)}.`;
      store.fail(KEY, new CommandError({ what, where: null, hint: "Export the templates in parts.", fields: {} }));
      return;
    }
    const command = { kind: "import_templates", file: file.name, text: await file.text() } as const;
    const answer = await store.command(KEY, "Import", command);
    if (!answer) return;
    const { names } = answer.value;
    again();
    store.say(KEY, names.length === 1 ? `Imported ${names[0]}.` : `Imported ${names.length} templates.`);
  };
  const giveOut = async (rows: readonly TemplateRecord[]) => {
    store.say(KEY);
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
      onKeyDown={onEsc(() => (asking ? setAsking(null) : close()))}
    >
      <div class="hd">
        <h2>Templates</h2>
        <div class="sp" />
        <Button text="Save as template" expanded={saving} onClick={() => setSaving(!saving)} />
        <ImportButton onFile={(file) => takeIn(file)} />
        <Button
          text="Export"
          disabled={rows.length === 0}
          label={asked ? "Export the templates found" : "Export templates"}
          onClick={() => giveOut(asked ? rows : [])}
        />
        <Button kind="quiet" icon="close" label="Close templates" onClick={close} />
      </div>
      {saving && (
        <SaveFrom
          store={store}
          onSaved={(name) => {
            again();
            store.say(KEY, `Saved ${name}.`);
          }}
          onClose={() => setSaving(false)}
        />
      )}
      {store.noted(KEY) && (
        <div class="panel-note notes">
          <ItemNotes store={store} id={KEY} />
          <DoneNote store={store} id={KEY} />
        </div>
      )}
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
        <Empty
          title="No templates yet"
          actions={
            <Button
              text="New training"
              icon="plus"
              onClick={() => {
                close();
                store.form.value = {};
              }}
            />
          }
        >
          A template keeps all settings of a training under a name. Save one from the form of a new training, or from a
          training's More actions; or import a file that somebody gave you.
        </Empty>
      )}
      {data && data.total > 0 && rows.length === 0 && (
        <Empty title="No template matches" actions={<Button onClick={() => setSearch("")}>Clear search</Button>}>
          {`None of the ${f.plural(data.total, "template")} matches “${asked}”.`}
        </Empty>
      )}
      {rows.length > 0 && (
        <ul class="lst under" aria-label="Templates">
          {rows.map((row) => (
            <Item
              key={row.id}
              row={row}
              asking={asking?.id === row.id ? asking.what : null}
              onAsk={(what) => setAsking(what && { what, id: row.id })}
              onUse={() => {
                close();
                store.form.value = { template: { id: row.id, name: row.name } };
              }}
              onAct={(word, action, change) =>
                act(word, { kind: "template_action", action, template_id: row.id, ...change })
              }
              onExport={() => giveOut([row])}
            />
          ))}
        </ul>
      )}
    </section>
  );
}

interface ItemProps {
  row: TemplateRecord;
  asking: NonNullable<Asking>["what"] | null;
  onAsk: (what: ItemProps["asking"]) => void;
  onUse: () => void;
  /** Comes to `false` where it cannot be done. */
  onAct: (word: string, action: TemplateAct, change?: { name?: string; description?: string }) => Promise<boolean>;
  onExport: () => void;
}

function Item({ row, asking, onAsk, ...on }: ItemProps) {
  const latents = row.d_sae && `d_sae ${f.count(row.d_sae)}`;
  const toggle = (what: "describe" | "delete") => ({
    expanded: asking === what,
    onClick: () => onAsk(asking === what ? null : what),
  });
  const facts = [row.model, <code key="hook">{row.hook_name}</code>, row.architecture, latents, row.corpus];
  return (
    <Card
      of={{ name: row.name, kind: asking ?? undefined, close: () => onAsk(null) }}
      first={
        <Button
          small
          kind="quiet"
          icon={row.favorite ? "starred" : "star"}
          label={`Favourite ${row.name}`}
          title={row.favorite ? "No favourite any more" : "List it first"}
          pressed={row.favorite}
          onClick={() => on.onAct("Favourite", row.favorite ? "unfavorite" : "favorite")}
        />
      }
      onRename={(name) => on.onAct("Rename", "rename", { name })}
      buttons={
        <>
          <Button text="Use" small onClick={on.onUse} />
          <Button text="Rename" small kind="quiet" expanded={asking === "rename"} onClick={() => onAsk("rename")} />
          <Button text="Describe" small kind="quiet" {...toggle("describe")} />
          <Button text="Export" small kind="quiet" onClick={on.onExport} />
          <Button text="Delete" small kind="quiet" {...toggle("delete")} />
        </>
      }
      opens={{
        describe: () => (
          <Describe
            row={row}
            onSave={(description) => on.onAct("Description", "describe", { description })}
            onClose={() => onAsk(null)}
          />
        ),
        delete: () => (
          <Question
            title={`Delete ${row.name}?`}
            answers={[{ label: "Delete template", run: () => on.onAct("Delete", "delete"), danger: true }]}
            onKeep={() => onAsk(null)}
          >
            Trainings that were started from it stay. This cannot be undone.
          </Question>
        ),
      }}
    >
      {row.description && <p class="sm t2">{row.description}</p>}
      <Facts of={facts} />
    </Card>
  );
}

interface DescribeProps {
  row: TemplateRecord;
  onSave: (description: string) => void;
  onClose: () => void;
}

function Describe({ row, onSave, onClose }: DescribeProps) {
  const [text, setText] = useState(row.description);
  return (
    <InlineForm
      label={`Describe ${row.name}`}
      submit="Save description"
      disabled={false}
      onSubmit={() => onSave(text)}
      onClose={onClose}
    >
      <Field class="grow" label="Description" rows={2} maxLength={4000} value={text} onInput={setText} />
    </InlineForm>
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
      <Button text="Import" label="Import templates" onClick={() => input.current?.click()} />
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
