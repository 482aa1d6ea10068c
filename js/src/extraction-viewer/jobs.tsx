/** The extractions of the workspace: how far each is, and what can be done with it. */

import { useRef } from "preact/hooks";
import { Button, NoteBox } from "../lib/controls";
import { copyText } from "../lib/copy";
import * as f from "../lib/format";
import { Buttons, Facts, More, Named, Question, StatusWord, useCard } from "../lib/kit";
import { Menu, type MenuItem } from "../lib/menu";
import { ItemNotes, placed } from "../lib/notes";
import { Progress } from "../lib/progress";
import { line } from "../lib/tokens";
import type { ExtractionCard } from "../lib/wire";
import { ExportForm } from "./export-form";
import { LogitsRow } from "./logits-job";
import { DoneNote } from "./panels";
import type { CardOpen, Store } from "./store";
import {
  buttonsFor,
  type CardButton,
  hasProgressBar,
  isUnderWay,
  mayComputeLogits,
  progressLine,
  statusOf,
  statusWord,
} from "./words";

export function Jobs({ store }: { store: Store }) {
  const { cards, total } = store.state.value;
  if (cards.length === 0) {
    return (
      <div class="empty">
        <p>No extraction is in this workspace.</p>
      </div>
    );
  }
  return (
    <>
      <ul class="lst" aria-label="Extractions">
        {cards.map((card) => (
          <Card key={card.id} store={store} card={card} />
        ))}
      </ul>
      {total > cards.length && <div class="ft">{`${f.count(cards.length)} of ${f.count(total)} shown`}</div>}
    </>
  );
}

function Card({ store, card }: { store: Store; card: ExtractionCard }) {
  const root = useRef<HTMLLIElement>(null);
  const pending = store.pending.value.get(card.id);
  const status = statusOf(card);
  const live = store.link.value === "live";
  const name = line(card.name);
  const { open, asks, more, returnTo, close } = useCard(
    store,
    root,
    { id: card.id, name },
    (what) => what === "delete",
  );
  const toggle = (what: CardOpen) => {
    store.dismiss(card.id);
    store.openFor(card.id, open === what ? undefined : what);
  };
  const press = (action: CardButton["action"]) => {
    if (action === "open") store.openExtraction(card.id);
    else if (action === "delete" || action === "export") toggle(action);
    else void store.act(card, action);
  };
  const copyId = async () => {
    close();
    if (await copyText(card.id)) store.announce("ID copied.");
    else store.say(card.id, `The page may not use the clipboard. The ID is ${card.id}.`);
  };
  const computeLogits = () => {
    close();
    void store.logits(card, "start");
  };
  const ended = !["running", "queued"].includes(status);
  const items: MenuItem[] = [
    ...(status === "completed" ? [{ label: "Open features", run: () => press("open") }] : []),
    ...(status === "completed" ? [{ label: "Export", run: () => press("export") }] : []),
    ...(mayComputeLogits(card) ? [{ label: "Compute all logits", run: computeLogits }] : []),
    { label: "Copy ID", run: () => void copyId() },
    ...(ended ? [{ label: "Delete", danger: true, run: () => press("delete") }] : []),
  ];
  return (
    <li
      ref={root}
      class="card nc"
      aria-label={name}
      tabIndex={-1}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || event.defaultPrevented || !open) return;
        event.preventDefault();
        close(open === "delete" ? "Delete" : open === "export" ? "Export" : more);
      }}
    >
      <div class="c2 col">
        <div class="row">
          <StatusWord status={status} word={statusWord(card)} />
          <Named name={name} />
          <span class="bg">{card.source_label}</span>
        </div>
        {hasProgressBar(card) && <Progress label={`Extraction of ${name}`} fraction={card.fraction} status={status} />}
        <Facts of={progressLine(card, live)} />
      </div>
      <div class="c3 col">
        {!asks && (
          <div class="acts" aria-busy={isUnderWay(card, pending)}>
            <Buttons of={buttonsFor(card, pending)} onPress={press} open={open} />
            <More label={more} open={open === "menu"} onClick={() => toggle("menu")} />
          </div>
        )}
      </div>
      {open === "menu" && (
        <div class="full">
          <Menu label={more} items={items} onClose={() => close()} />
        </div>
      )}
      {asks && (
        <div class="full">
          <DeleteQuestion
            card={card}
            onDelete={() => {
              void store.act(card, "delete");
              returnTo(more);
            }}
            onKeep={() => close(status === "completed" ? more : "Delete")}
          />
        </div>
      )}
      {open === "export" && (
        <div class="full">
          <ExportForm
            store={store}
            place={card.id}
            extraction={card.id}
            name={name}
            what="html"
            scopes={[{ value: "all", label: `All ${f.count(card.d_sae)} features` }]}
            onClose={() => close("Export")}
          />
        </div>
      )}
      <LogitsRow store={store} card={card} />
      <Notes store={store} card={card} />
    </li>
  );
}

function Notes({ store, card }: { store: Store; card: ExtractionCard }) {
  const status = statusOf(card);
  const { note, sae_id } = card;
  const said = note !== null && !["running", "queued", "completed"].includes(status);
  const { late, problems, done } = store;
  if (!said && !late.value.has(card.id) && !problems.value.has(card.id) && !done.value.has(card.id)) return null;
  return (
    <div class="full notes">
      {said && note && (
        <NoteBox
          tone={status === "failed" ? "err" : status === "interrupted" ? "int" : "plain"}
          title={placed(note)}
          actions={
            status === "failed" &&
            sae_id !== null && (
              <Button small onClick={() => void store.starting.openFor(sae_id, card.id)}>
                Edit and retry
              </Button>
            )
          }
        >
          {note.hint}
        </NoteBox>
      )}
      <ItemNotes store={store} id={card.id} />
      <DoneNote store={store} id={card.id} />
    </div>
  );
}

interface DeleteProps {
  card: ExtractionCard;
  onDelete: () => void;
  onKeep: () => void;
}

function DeleteQuestion({ card, onDelete, onKeep }: DeleteProps) {
  const size = card.size_bytes === null ? "" : ` (${f.bytes(card.size_bytes)})`;
  const answers = [{ label: "Delete extraction", run: onDelete, danger: true }];
  return (
    <Question title={`Delete the extraction of ${line(card.name)}?`} answers={answers} onKeep={onKeep}>
      {`Its statistics and examples${size} go too. Labels, stars and notes stay. This cannot be undone.`}
    </Question>
  );
}
