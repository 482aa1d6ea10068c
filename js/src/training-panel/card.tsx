/** One training in the list. */

import { useRef } from "preact/hooks";
import { Button, Checkbox } from "../lib/controls";
import * as f from "../lib/format";
import { SeriesKey } from "../lib/icons";
import { Buttons, Facts, More, Named, StatusWord } from "../lib/kit";
import { Menu } from "../lib/menu";
import { Progress } from "../lib/progress";
import { Rename } from "../lib/rename";
import type { Card } from "../lib/wire";
import { ExportForm } from "./bulk";
import { deleteWords, stopWords } from "./bulk-state";
import { useCardMenu } from "./card-menu";
import { CardNotes } from "./card-notes";
import { Details } from "./details";
import { LongerForm } from "./longer";
import { DeleteQuestion, StopQuestion } from "./question";
import { SaveTemplate } from "./save-template";
import {
  buttonsFor,
  type CardAction,
  canDelete,
  hasProgressBar,
  isWarm,
  originWords,
  placeOf,
  progressLine,
  startsIn,
  statusOf,
  stopAsks,
} from "./state";
import type { Store } from "./store";
import { Tiles } from "./tiles";

export function TrainingCard({ store, card }: { store: Store; card: Card }) {
  const root = useRef<HTMLLIElement>(null);
  const details = { kind: "details", tab: "checkpoints" } as const;
  const { open, asks, more, close, items, copied, setCopied } = useCardMenu(store, root, card, details);
  const status = statusOf(card);
  const selected = store.checked.value.has(card.id);
  const origin = originWords(card);
  const press = (action: CardAction) => {
    if (action === "edit") store.form.value = { from: card };
    else if (action === "open") void store.openSae(card.id, card.sae_id);
    else if (action === "longer") store.openFor(card.id, { kind: "longer" });
    else if (action === "delete") store.openFor(card.id, { kind: "delete" });
    else if (action === "stop" && stopAsks(card)) store.openFor(card.id, { kind: "stop" });
    else void store.act(card, action);
  };
  const rename = (name: string) =>
    void store.command(card.id, "Rename", { kind: "rename", training_id: card.id, name });
  const menu = [...items];
  // What has ended early keeps its SAE, too.
  if (card.sae_id !== null && status !== "completed") menu.unshift({ label: "Open SAE", run: () => press("open") });
  if (canDelete(card)) menu.push({ label: "Delete", danger: true, run: () => press("delete") });

  return (
    <li
      ref={root}
      class={`card${selected ? " sel" : ""}`}
      aria-label={card.name}
      tabIndex={-1}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || event.defaultPrevented || !open) return;
        event.preventDefault();
        close();
      }}
    >
      <div class="c1">
        <Checkbox label={`Select ${card.name}`} checked={selected} onChange={(on) => store.select(card.id, on)} />
      </div>
      <div class="c2 col">
        <div class="row">
          <StatusWord status={status} />
          {open?.kind === "rename" ? (
            <Rename name={card.name} onSave={rename} onDone={() => close()} />
          ) : (
            <Named name={card.name} />
          )}
          {card.series !== null && <SeriesKey series={card.series} />}
          {card.sae_id !== null && <span class="bg">In SAEs</span>}
          {card.advice !== null && (
            <Button
              kind="link"
              class="adv"
              title={card.advice}
              expanded={open?.kind === "details" && open.tab === "advice"}
              onClick={() => store.openFor(card.id, { kind: "details", tab: "advice" })}
            >
              Advice
            </Button>
          )}
        </div>
        <div class="meta">
          <span>{card.model}</span>
          <span>
            <code>{placeOf(card)}</code>
          </span>
          <span>{card.architecture}</span>
          <span>{`d_sae ${f.count(card.d_sae)}`}</span>
          {origin && <span title={origin}>{origin}</span>}
        </div>
        {hasProgressBar(card) && (
          <Progress label={`Progress of ${card.name}`} fraction={card.fraction} status={statusOf(card)} />
        )}
        <Facts
          of={progressLine(card, {
            live: store.link.value === "live",
            warm: isWarm(card, store.starts, performance.now()),
            startsIn: status === "queued" ? startsIn(card, store.state.value.cards) : null,
          })}
        />
      </div>
      <div class="c3 col">
        <div class="acts">
          {!asks && <Buttons of={buttonsFor(card, store.pending.value.get(card.id))} onPress={press} />}
          {!asks && (
            <More
              label={more}
              open={open?.kind === "menu"}
              onClick={() => store.openFor(card.id, open?.kind === "menu" ? undefined : { kind: "menu" })}
            />
          )}
        </div>
        <Tiles card={card} />
      </div>
      {open?.kind === "menu" && (
        <div class="full">
          <Menu label={more} items={menu} onClose={() => close()} />
        </div>
      )}
      {open?.kind === "delete" && (
        <div class="full">
          <DeleteQuestion
            words={deleteWords([card], 1)}
            onYes={() => void store.act(card, "delete")}
            onKeep={() => close()}
          />
        </div>
      )}
      {open?.kind === "stop" && (
        <div class="full">
          <StopQuestion
            words={stopWords([card])}
            onStop={(action) => void store.act(card, action)}
            onKeep={() => close("Stop")}
          />
        </div>
      )}
      {open?.kind === "longer" && (
        <div class="full">
          <LongerForm store={store} card={card} onClose={() => close("Train longer")} />
        </div>
      )}
      {open?.kind === "export" && (
        <div class="full">
          <ExportForm store={store} id={card.id} cards={[card]} onClose={() => close()} />
        </div>
      )}
      {open?.kind === "template" && (
        <div class="full">
          <SaveTemplate
            store={store}
            name={card.name}
            of={{ training_id: card.id }}
            onSaved={(name) => store.say(card.id, `Saved as template “${name}”.`)}
            onClose={() => close()}
          />
        </div>
      )}
      <CardNotes
        store={store}
        card={card}
        copied={copied}
        onCopied={() => setCopied(null)}
        onResume={() => void store.act(card, "resume")}
        log={open?.kind === "details" && open.tab === "log"}
        onLog={(show) => store.openFor(card.id, show ? { kind: "details", tab: "log" } : undefined)}
      />
      {open?.kind === "details" && (
        <div class="full">
          <Details
            store={store}
            card={card}
            tab={open.tab}
            onTab={(tab) => store.openFor(card.id, { kind: "details", tab })}
            onClose={() => close()}
          />
        </div>
      )}
    </li>
  );
}
