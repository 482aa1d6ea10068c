/** One SAE in the list. */
import { useState } from "preact/hooks";
import { Button, Cut, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { PathForm, Choice as Pick } from "../lib/forms";
import { Card as CardBox, Dismiss, Facts, Lines, Question, Repository, useCard } from "../lib/kit";
import { CardNotes, ProblemNote } from "../lib/notes";
import type { Choice, SaeCard, SelectedSae } from "../lib/wire";
import { Drawer, TrainingRecord } from "./drawer";
import { PublishForm } from "./publish";
import { deleteQuestion, factsLine, isInUse, modelLine, othersOf, slug, stateNote } from "./state";
import type { Open, Store } from "./store";

const DELETING = "Deleting…";

export function Card({ store, card }: { store: Store; card: SaeCard }) {
  const of = useCard<Open>(store, card);
  const { open, kind, close } = of;
  const { id, name } = card;
  const show = (what: Open) => () => {
    store.dismiss(id);
    store.openFor(id, what);
  };
  const toggle = (what: Open) => (kind === what.kind ? of.toggle(what) : show(what));
  const check = (on: boolean) => {
    const others = store.checkedIds().filter((other) => other !== id);
    void store.check(on ? [...others, id] : others);
  };
  const missing = card.state === "missing";
  const files = stateNote(card);
  const details: Open = { kind: "details", tab: "statistics" };
  const own = { value: card.format, label: card.format_label, count: null };
  return (
    <CardBox
      of={{ ...of, toggleMenu: toggle({ kind: "menu" }) }}
      check={{ on: store.checkedIds().includes(id), onChange: check }}
      badges={
        <>
          <span class="bg" title={card.source_label}>
            {card.source_label}
          </span>
          {card.canonical && <span class="bg a">canonical</span>}
        </>
      }
      onRename={(to) => void store.edit(card, { name: to })}
      buttons={<Actions store={store} card={card} kind={kind} onShow={toggle} />}
      menu={[
        { label: "Rename", run: show({ kind: "rename" }) },
        { label: "Details", run: show(details) },
        ...(missing ? [] : [{ label: "Export", run: show({ kind: "export" }) }]),
        ...(missing ? [] : [{ label: "Publish", run: show({ kind: "publish" }) }]),
        { label: "Copy ID", run: () => of.copyId() },
        ...(card.has_files ? [{ label: "Delete", danger: true, run: show({ kind: "delete" }) }] : []),
      ]}
      opens={{
        delete: () => <DeleteQuestion saes={[card]} onDelete={() => store.delete(id, [card])} onKeep={close} />,
        export: () => <ExportForm store={store} id={id} saes={[card]} own={own} onClose={close} />,
        publish: () => <PublishForm store={store} card={card} onClose={close} />,
        locate: () => (
          <PathForm
            label={`Locate the files of ${name}`}
            submit="Use this folder"
            working="Checking…"
            field="Folder of the files"
            hint="Where they are now on the kernel's machine. They are checked before they are used."
            onPath={(path) => store.locate(card, path)}
            onClose={close}
          />
        ),
        training: () => <TrainingRecord store={store} card={card} onClose={close} />,
        details: () => open?.kind === "details" && <Drawer store={store} card={card} tab={open.tab} />,
      }}
      notes={
        <CardNotes store={store} id={id} title="Exported." problem={<Problem store={store} id={id} />}>
          {files && (
            <NoteBox tone="warn" title={files.title}>
              {files.text}
            </NoteBox>
          )}
        </CardNotes>
      }
    >
      <Size card={card} />
      <ModelLine card={card} open={kind === "training"} onTraining={toggle({ kind: "training" })} />
      <Facts of={[card.repo_id && <Repository id={card.repo_id} />, ...factsLine(card)]} />
      {card.tags.length > 0 && (
        <ul class="tags" aria-label="Tags">
          {card.tags.map((tag) => (
            <li key={tag} class="bg cut" title={tag}>
              {tag}
            </li>
          ))}
        </ul>
      )}
    </CardBox>
  );
}

const recordOf = (card: SaeCard): string => `Training record: ${card.training_name}`;

/** What failed; that something else uses the SAE is no error, one has to wait. */
export function Problem({ store, id }: { store: Store; id: string }) {
  const problem = store.problems.value.get(id);
  if (!problem || !isInUse(problem.what)) return <ProblemNote store={store} id={id} />;
  const [first, ...rest] = problem.what.split(/(?<= is in use)/);
  return (
    <NoteBox tone="warn" title={`${first}.`} actions={<Dismiss onClick={() => store.dismiss(id)} />}>
      {[rest.join("").replace(/^[.:\s]+/, ""), problem.hint].filter(Boolean).map(capitalised).join(" ")}
    </NoteBox>
  );
}

const capitalised = (text: string | null): string => (text ?? "").replace(/^./, (letter) => letter.toUpperCase());

function Size({ card }: { card: SaeCard }) {
  return (
    <div class="sm row w dims">
      <span class="nw">
        d_sae <b>{f.count(card.d_sae)}</b> × d_in <b>{f.count(card.d_in)}</b>
        {card.d_out !== null && (
          <>
            {" "}
            → d_out <b>{f.count(card.d_out)}</b>
          </>
        )}
      </span>
      <Cut text={card.architecture} />
    </div>
  );
}

function ModelLine({ card, open, onTraining }: { card: SaeCard; open: boolean; onTraining: () => void }) {
  const [model, ...rest] = modelLine(card);
  return (
    <div class="meta">
      <Cut text={model ?? ""} />
      {rest.map((part, i) => (
        <span key={part} class="el" title={i === 0 ? (card.hook_name ?? undefined) : undefined}>
          {part}
        </span>
      ))}
      {card.hook_name !== null && card.site === card.hook_name && (
        <span class="el" title={card.hook_name}>
          <code>{card.hook_name}</code>
        </span>
      )}
      {card.training_name !== null && (
        <span class="by">
          <span class="nw">Trained by</span>
          <Button
            text={card.training_name}
            kind="link"
            class="cut"
            expanded={open}
            label={recordOf(card)}
            title={card.training_name}
            onClick={onTraining}
          />
        </span>
      )}
    </div>
  );
}

interface ActionsProps {
  store: Store;
  card: SaeCard;
  kind: string | undefined;
  onShow: (what: Open) => () => void;
}

function Actions({ store, card, kind, onShow }: ActionsProps) {
  const deleting = store.pending.value.get(card.id) === "delete";
  const remove = card.has_files && (
    <Button text={deleting ? DELETING : "Delete"} small disabled={deleting} onClick={onShow({ kind: "delete" })} />
  );
  const details = kind === "details";
  return (
    <>
      {card.state !== "ok" && card.has_files && (
        <Button
          text="Locate files"
          small
          icon="folder"
          expanded={kind === "locate"}
          onClick={onShow({ kind: "locate" })}
        />
      )}
      {card.state === "missing" ? (
        remove
      ) : (
        <>
          <Button text="Extract" small onClick={() => store.showBelow("extractions", card)} />
          <Button text="Steering" small onClick={() => store.showBelow("steering", card)} />
          <Button text="Export" small expanded={kind === "export"} onClick={onShow({ kind: "export" })} />
          {remove}
          <Button
            text="Details"
            small
            icon={details ? "up" : "down"}
            expanded={details}
            onClick={onShow({ kind: "details", tab: "statistics" })}
          />
        </>
      )}
    </>
  );
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
