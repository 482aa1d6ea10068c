/** The downloads of the workspace: how far each is, and what can be done with it. */
import { useEffect, useState } from "preact/hooks";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { Buttons, Card, Facts, Progress, StatusWord } from "../lib/kit";
import { CardNotes } from "../lib/notes";
import { hasProgressBar, isActive, isUnderWay, statusOf } from "../lib/statuses";
import type { DownloadCard } from "../lib/wire";
import { Linked, places } from "./problems";
import type { Store } from "./store";
import { buttonsFor, type CardAction, ended, progressLine, wordFor } from "./words";

export function Downloads({ store }: { store: Store }) {
  const { downloads } = store.state.value;
  if (downloads.length === 0) return null;
  const active = downloads.filter((card) => isActive(card) || statusOf(card) === "paused").length;
  const over = ended(downloads);
  return (
    <>
      <div class="tb line">
        <h3>Downloads</h3>
        <span class="sm t2">{active > 0 ? `${f.count(active)} active` : "none active"}</span>
        <div class="sp" />
        {over.length > 0 && (
          <span data-back={`[aria-label="Downloads"] > .card button | ${places("tab")}`}>
            <Button text="Clear finished" small kind="quiet" onClick={() => store.act("clear", over)} />
          </span>
        )}
      </div>
      <ul class="lst" aria-label="Downloads">
        {downloads.map((card) => (
          <Item key={card.id} store={store} card={card} />
        ))}
      </ul>
    </>
  );
}

function Item({ store, card }: { store: Store; card: DownloadCard }) {
  const status = statusOf(card);
  const live = store.link.value === "live";
  const { note } = card;
  const wait = useCountdown(card.wait_seconds, card.attempt);
  const pending = store.pending.value.get(card.id);
  const press = (action: CardAction) => {
    if (action === "open") store.openSae(card);
    else void store.act(action, [card]);
  };
  return (
    <Card
      of={{ name: card.name }}
      lead={<StatusWord status={status} word={wordFor(status)} />}
      buttons={<Buttons of={buttonsFor(card, store.state.value.can_open, pending)} onPress={press} />}
      busy={isUnderWay(card, pending)}
      notes={
        <CardNotes store={store} id={card.id}>
          {note && status !== "paused" && (
            <NoteBox tone={status === "failed" ? "err" : status === "interrupted" ? "int" : "plain"} title={note.what}>
              <Linked text={note.hint ?? ""} />
            </NoteBox>
          )}
        </CardNotes>
      }
    >
      {hasProgressBar(card) && <Progress label={`Download of ${card.name}`} fraction={card.fraction} status={status} />}
      <Facts of={progressLine({ ...card, wait_seconds: wait }, live)} />
    </Card>
  );
}

/** Seconds that are left of a wait; `attempt` tells one wait from the next of the same length. */
function useCountdown(seconds: number | null, attempt: number | null): number | null {
  const [left, setLeft] = useState(seconds);
  useEffect(() => {
    setLeft(seconds);
    if (seconds === null || seconds <= 0) return;
    const end = performance.now() + seconds * 1000;
    const timer = setInterval(() => setLeft(Math.max(0, (end - performance.now()) / 1000)), 1000);
    return () => clearInterval(timer);
  }, [seconds, attempt]);
  return left;
}
