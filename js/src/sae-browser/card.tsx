/** One SAE in the list. */

import { useRef } from "preact/hooks";
import { Button, Checkbox } from "../lib/controls";
import * as f from "../lib/format";
import { Facts, More, Named, useCard } from "../lib/kit";
import { Menu, type MenuItem } from "../lib/menu";
import { Rename } from "../lib/rename";
import type { SaeCard } from "../lib/wire";
import { DeleteQuestion, ExportForm, LocateForm } from "./card-forms";
import { CardNotes } from "./card-notes";
import { Drawer, TrainingRecord } from "./drawer";
import { factsLine, modelLine } from "./state";
import type { Open, Store } from "./store";

export function Card({ store, card }: { store: Store; card: SaeCard }) {
  const root = useRef<HTMLLIElement>(null);
  const { open, asks, more, returnTo, close, copied, setCopied, copyId } = useCard(
    store,
    root,
    card,
    (what) => what.kind === "delete",
  );
  const checked = store.checkedIds().includes(card.id);
  const show = (what: Open) => {
    store.dismiss(card.id);
    store.openFor(card.id, what);
  };
  const toggle = (what: Open) => {
    if (open?.kind === what.kind) store.openFor(card.id, undefined);
    else show(what);
  };
  const details: Open = { kind: "details", tab: "statistics" };
  const menu: MenuItem[] = [
    { label: "Rename", run: () => show({ kind: "rename" }) },
    { label: "Details", run: () => show(details) },
    ...(card.state === "missing" ? [] : [{ label: "Export", run: () => show({ kind: "export" }) }]),
    { label: "Copy ID", run: () => void copyId() },
    { label: "Delete", danger: true, run: () => show({ kind: "delete" }) },
  ];

  return (
    <li
      ref={root}
      class={`card${checked ? " sel" : ""}`}
      aria-label={card.name}
      tabIndex={-1}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || event.defaultPrevented || !open) return;
        event.preventDefault();
        close(openedBy(card, open.kind));
      }}
    >
      <div class="c1">
        <Checkbox label={`Select ${card.name}`} checked={checked} onChange={(on) => check(store, card, on)} />
      </div>
      <div class="c2 col">
        <div class="row">
          {open?.kind === "rename" ? (
            <Rename name={card.name} onSave={(name) => void store.edit(card, { name })} onDone={() => close()} />
          ) : (
            <Named name={card.name} />
          )}
          <span class="bg" title={card.source_label}>
            {card.source_label}
          </span>
          {card.canonical && <span class="bg a">canonical</span>}
        </div>
        <Size card={card} />
        <ModelLine card={card} open={open?.kind === "training"} onTraining={() => toggle({ kind: "training" })} />
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
      </div>
      <div class="c3 col">{!asks && <Actions store={store} card={card} onShow={toggle} />}</div>
      {open?.kind === "menu" && (
        <div class="full">
          <Menu label={more} items={menu} onClose={() => close()} />
        </div>
      )}
      {open?.kind === "delete" && (
        <div class="full">
          <DeleteQuestion
            saes={[card]}
            onDelete={() => {
              void store.delete(card.id, [card]);
              returnTo(DELETING);
            }}
            onKeep={() => close("Delete")}
          />
        </div>
      )}
      <CardNotes store={store} card={card} copied={copied} onCopied={() => setCopied(null)} />
      {open?.kind === "export" && (
        <div class="full">
          <ExportForm store={store} id={card.id} saes={[card]} own={ownFormat(card)} onClose={() => close("Export")} />
        </div>
      )}
      {open?.kind === "locate" && (
        <div class="full">
          <LocateForm store={store} card={card} onClose={() => close("Locate files")} />
        </div>
      )}
      {open?.kind === "training" && (
        <div class="full">
          <TrainingRecord store={store} card={card} onClose={() => close(recordOf(card))} />
        </div>
      )}
      {open?.kind === "details" && (
        <div class="full">
          <Drawer store={store} card={card} tab={open.tab} />
        </div>
      )}
    </li>
  );
}

const DELETING = "Deleting…";

const recordOf = (card: SaeCard): string => `Training record: ${card.training_name}`;

/** The button that opened what is open: focus goes back to it. Everything else comes from the menu. */
function openedBy(card: SaeCard, kind: Open["kind"]): string | undefined {
  if (kind === "training") return recordOf(card);
  if (kind === "details") return card.state === "missing" ? undefined : "Details";
  return { delete: "Delete", export: "Export", locate: "Locate files", menu: undefined, rename: undefined }[kind];
}

const ownFormat = (card: SaeCard) => ({ value: card.format, label: card.format_label, count: null });

function check(store: Store, card: SaeCard, on: boolean): void {
  const others = store.checkedIds().filter((id) => id !== card.id);
  void store.check(on ? [...others, card.id] : others);
}

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
            kind="link"
            class="cut"
            expanded={open}
            label={recordOf(card)}
            title={card.training_name}
            onClick={onTraining}
          >
            {card.training_name}
          </Button>
        </span>
      )}
    </div>
  );
}

function Actions({ store, card, onShow }: { store: Store; card: SaeCard; onShow: (what: Open) => void }) {
  const open = store.open.value.get(card.id);
  const pending = store.pending.value.get(card.id);
  const details = open?.kind === "details";
  return (
    <div class="acts">
      {card.state !== "ok" && (
        <Button small icon="folder" expanded={open?.kind === "locate"} onClick={() => onShow({ kind: "locate" })}>
          Locate files
        </Button>
      )}
      {card.state !== "missing" && (
        <Button small onClick={() => void store.showExtractions(card)}>
          Extract
        </Button>
      )}
      {card.state !== "missing" && (
        <Button small onClick={() => void store.showSteering(card)}>
          Steering
        </Button>
      )}
      {card.state !== "missing" && (
        <Button small expanded={open?.kind === "export"} onClick={() => onShow({ kind: "export" })}>
          Export
        </Button>
      )}
      <Button small disabled={pending === "delete"} onClick={() => onShow({ kind: "delete" })}>
        {pending === "delete" ? DELETING : "Delete"}
      </Button>
      {card.state !== "missing" && (
        <Button
          small
          icon={details ? "up" : "down"}
          expanded={details}
          onClick={() => onShow({ kind: "details", tab: "statistics" })}
        >
          Details
        </Button>
      )}
      <More
        label={`More actions: ${card.name}`}
        open={open?.kind === "menu"}
        onClick={() => onShow({ kind: "menu" })}
      />
    </div>
  );
}
