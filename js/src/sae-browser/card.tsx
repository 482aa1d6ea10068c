/** One SAE in the list. */
import { useRef } from "preact/hooks";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { Card as CardBox, Dismiss, Facts, PathForm, useCard } from "../lib/kit";
import { CardNotes, ProblemNote } from "../lib/notes";
import type { SaeCard } from "../lib/wire";
import { DeleteQuestion, ExportForm } from "./card-forms";
import { Drawer, TrainingRecord } from "./drawer";
import { factsLine, isInUse, modelLine, stateNote } from "./state";
import type { Open, Store } from "./store";

const DELETING = "Deleting…";

export function Card({ store, card }: { store: Store; card: SaeCard }) {
  const of = useCard<Open>(store, useRef<HTMLLIElement>(null), card);
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
        { label: "Copy ID", run: () => void of.copyId() },
        { label: "Delete", danger: true, run: show({ kind: "delete" }) },
      ]}
      onEscape={() => close(kind && openedBy(card, kind))}
      opens={{
        delete: () => (
          <DeleteQuestion
            saes={[card]}
            onDelete={() => {
              void store.delete(id, [card]);
              of.returnTo(DELETING);
            }}
            onKeep={() => close("Delete")}
          />
        ),
        export: () => <ExportForm store={store} id={id} saes={[card]} own={own} onClose={() => close("Export")} />,
        locate: () => (
          <PathForm
            label={`Locate the files of ${name}`}
            submit="Use this folder"
            working="Checking…"
            field="Folder of the files"
            hint="Where they are now on the kernel's machine. They are checked before they are used."
            onPath={(path) => store.locate(card, path)}
            onClose={() => close("Locate files")}
          />
        ),
        training: () => <TrainingRecord store={store} card={card} onClose={() => close(recordOf(card))} />,
        details: () => open?.kind === "details" && <Drawer store={store} card={card} tab={open.tab} />,
      }}
      notes={
        <CardNotes store={store} id={id} title="Exported." card={of} problem={<Problem store={store} id={id} />}>
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
      <Facts of={factsLine(card)} />
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

/** The button that opened what is open: focus goes back to it. Everything else comes from the menu. */
function openedBy(card: SaeCard, kind: string): string | undefined {
  if (kind === "training") return recordOf(card);
  if (kind === "details") return card.state === "missing" ? undefined : "Details";
  return { delete: "Delete", export: "Export", locate: "Locate files" }[kind];
}

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
      <span class="el" title={card.architecture}>
        {card.architecture}
      </span>
    </div>
  );
}

function ModelLine({ card, open, onTraining }: { card: SaeCard; open: boolean; onTraining: () => void }) {
  const [model, ...rest] = modelLine(card);
  return (
    <div class="meta">
      <span class="el" title={model}>
        {model}
      </span>
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
  /** What is open in the card. */
  kind: string | undefined;
  onShow: (what: Open) => () => void;
}

function Actions({ store, card, kind, onShow }: ActionsProps) {
  const deleting = store.pending.value.get(card.id) === "delete";
  const remove = (
    <Button text={deleting ? DELETING : "Delete"} small disabled={deleting} onClick={onShow({ kind: "delete" })} />
  );
  const details = kind === "details";
  return (
    <>
      {card.state !== "ok" && (
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
          <Button text="Extract" small onClick={() => void store.showBelow("extractions", card)} />
          <Button text="Steering" small onClick={() => void store.showBelow("steering", card)} />
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
