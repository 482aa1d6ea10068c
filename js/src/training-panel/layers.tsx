/** The table of a group: a row for each of its runs, which can be stopped, imported and looked at alone. */

import { Breakable } from "../lib/breakable";
import { Button, Checkbox } from "../lib/controls";
import * as f from "../lib/format";
import { SeriesKey } from "../lib/icons";
import { StatusWord } from "../lib/kit";
import { ItemNotes } from "../lib/notes";
import type { Card } from "../lib/wire";
import { DoneNote } from "./bulk";
import { stopWords } from "./bulk-state";
import { Details } from "./details";
import type { GroupProps } from "./group-card";
import { byHook, kindOf, memberWord } from "./groups";
import { LongerForm } from "./longer";
import { StopQuestion } from "./question";
import { placeOf, statusOf, stopAsks, underWay } from "./state";
import type { DetailsTab } from "./store";

const KINDS = { layer: "Layers", head: "Heads", hook: "Hook points", run: "Runs" };

interface LayersProps extends GroupProps {
  open: { details?: string; tab?: DetailsTab; stop?: string };
}

export function Layers({ store, group, members, open }: LayersProps) {
  const hooks = byHook(members);
  const shown = members.find((card) => card.id === open.details);
  const stopped = members.find((card) => card.id === open.stop && stopAsks(card));
  const show = (details?: string, tab: DetailsTab = "checkpoints") =>
    store.openFor(group.id, details ? { kind: "layers", details, tab } : { kind: "layers" });
  const stop = (card: Card) =>
    stopAsks(card)
      ? store.openFor(group.id, { kind: "layers", stop: card.id })
      : void store.actOn(group.id, [card], "stop");
  return (
    <div class="full notes">
      <div class="xs-scroll">
        <table aria-label={`${KINDS[kindOf(members)]} of ${group.name}`} class="layers">
          <thead>
            <tr>
              <th>
                <span class="vh">Selected</span>
              </th>
              <th>{hooks ? "Hook" : "Run"}</th>
              <th class="num">Loss</th>
              <th class="num">L0</th>
              <th class="num">FVU</th>
              <th class="num">CE rec.</th>
              <th class="num">Dead</th>
              <th class="num">Checkpoint</th>
              <th>
                <span class="vh">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {members.map((card) => (
              <Row
                key={card.id}
                store={store}
                group={group}
                members={members}
                card={card}
                shown={shown === card || stopped === card}
                details={shown === card}
                onDetails={() => show(shown === card ? undefined : card.id)}
                onStop={() => stop(card)}
              />
            ))}
          </tbody>
        </table>
      </div>
      {stopped && (
        <StopQuestion
          words={stopWords([stopped])}
          onStop={(action) => {
            show();
            void store.actOn(group.id, [stopped], action);
          }}
          onKeep={() => show()}
        />
      )}
      {shown && (
        <>
          <h3 class="of">Details of {hooks ? <code>{shown.hook_name}</code> : shown.name}</h3>
          <ItemNotes store={store} id={shown.id} />
          <DoneNote store={store} id={shown.id} />
          <Details
            key={shown.id}
            store={store}
            card={shown}
            tab={open.tab ?? "checkpoints"}
            onTab={(tab) => show(shown.id, tab)}
            onClose={() => show()}
          />
          {store.open.value.get(shown.id)?.kind === "longer" && (
            <LongerForm store={store} card={shown} onClose={() => store.openFor(shown.id, undefined)} />
          )}
        </>
      )}
    </div>
  );
}

interface RowProps extends GroupProps {
  card: Card;
  /** Is something open below the table that is about this run? */
  shown: boolean;
  details: boolean;
  onDetails: () => void;
  onStop: () => void;
}

function Row({ store, group, members, card, shown, details, onDetails, onStop }: RowProps) {
  const word = memberWord(card, members);
  const status = statusOf(card);
  const busy = underWay(card, store.pending.value.get(card.id));
  const stopping = busy === "stop" || busy === "stop_without_saving";
  return (
    <tr class={shown ? "sel" : undefined}>
      <td>
        <Checkbox
          label={`Select ${card.name}`}
          checked={store.checked.value.has(card.id)}
          onChange={(on) => store.select(card.id, on)}
        />
      </td>
      <td>
        {byHook(members) ? (
          <code>
            <Breakable text={placeOf(card)} />
          </code>
        ) : (
          card.name
        )}{" "}
        {card.series !== null && <SeriesKey series={card.series} />}
        {status !== statusOf(group) && <StatusWord status={status} />}
      </td>
      <td class="num">{f.loss(card.tiles.loss)}</td>
      <td class="num">{f.l0(card.tiles.l0)}</td>
      <td class="num">{f.fvu(card.tiles.fvu)}</td>
      <td class="num">{f.ce(card.tiles.ce_loss_score)}</td>
      <td class="num">{f.share(card.tiles.dead)}</td>
      <td class="num">{card.last_checkpoint_step === null ? f.DASH : `step ${f.count(card.last_checkpoint_step)}`}</td>
      <td class="num nw links">
        {status === "completed" && card.sae_id === null && (
          <Button
            kind="link"
            disabled={busy !== undefined}
            onClick={() => void store.actOn(group.id, [card], "import")}
          >
            {busy === "import" ? `Importing ${word}…` : `Import ${word}`}
          </Button>
        )}
        {card.sae_id !== null && (
          <Button kind="link" onClick={() => void store.openSae(group.id, card.sae_id)}>
            {`Open ${word}`}
          </Button>
        )}
        {status === "running" && (
          <Button kind="link" disabled={busy !== undefined} onClick={onStop}>
            {stopping ? `Stopping ${word}…` : `Stop ${word}`}
          </Button>
        )}
        <Button kind="link" label={`Details of ${card.name}`} expanded={details} onClick={onDetails}>
          Details
        </Button>
      </td>
    </tr>
  );
}
