/** The extractions of the workspace: how far each is, and what can be done with it. */
import { useRef } from "preact/hooks";
import { useCalledFocus, useFocusLast, useFocusReturn } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import { copyText } from "../lib/copy";
import * as f from "../lib/format";
import { Icon } from "../lib/icons";
import { Menu, type MenuItem } from "../lib/menu";
import { BusyNote, ProblemNote, placed } from "../lib/notes";
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
  STATUS_ICONS,
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
  const open = store.open.value.get(card.id);
  const pending = store.pending.value.get(card.id);
  const status = statusOf(card);
  const live = store.link.value === "live";
  const name = line(card.name);
  const more = `More actions: ${name}`;
  const asks = open === "delete";
  const returnTo = useFocusReturn(root, asks);
  useCalledFocus(root, card.id, store.focusCard);
  const close = (focus = more) => {
    store.openFor(card.id, undefined);
    returnTo(focus);
  };
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
      <div class="c2">
        <div class="row">
          <span class={`st ${status}`}>
            <Icon name={STATUS_ICONS[status]} />
            {statusWord(card)}
          </span>
          <span class="nm el" title={name}>
            {name}
          </span>
          <span class="bg">{card.source_label}</span>
        </div>
        {hasProgressBar(card) && <Progress label={`Extraction of ${name}`} fraction={card.fraction} status={status} />}
        <div class="meta">
          {progressLine(card, live).map((part) => (
            <span key={part}>{part}</span>
          ))}
        </div>
      </div>
      <div class="c3">
        {!asks && (
          <div class="acts" aria-busy={isUnderWay(card, pending)}>
            {buttonsFor(card, pending).map((item) => (
              <Button
                key={item.action}
                small
                icon={item.icon}
                disabled={item.disabled}
                expanded={item.action === "export" ? open === "export" : undefined}
                onClick={() => press(item.action)}
              >
                {item.label}
              </Button>
            ))}
            <Button
              small
              kind="quiet"
              icon="more"
              label={more}
              popup="menu"
              expanded={open === "menu"}
              onClick={() => toggle("menu")}
            />
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
      <BusyNote store={store} id={card.id} />
      <ProblemNote store={store} id={card.id} />
      <DoneNote store={store} id={card.id} />
    </div>
  );
}

function DeleteQuestion({
  card,
  onDelete,
  onKeep,
}: {
  card: ExtractionCard;
  onDelete: () => void;
  onKeep: () => void;
}) {
  const box = useFocusLast();
  const size = card.size_bytes === null ? "" : ` (${f.bytes(card.size_bytes)})`;
  return (
    <div ref={box}>
      <NoteBox
        tone="err"
        title={`Delete the extraction of ${line(card.name)}?`}
        actions={
          <>
            <Button small kind="danger" onClick={onDelete}>
              Delete extraction
            </Button>
            <Button small onClick={onKeep}>
              Keep
            </Button>
          </>
        }
      >
        {`Its statistics and examples${size} go too. Labels, stars and notes stay. This cannot be undone.`}
      </NoteBox>
    </div>
  );
}
