/** The table of a group: a row for each of its runs, which can be stopped, imported and looked at alone. */
import { Breakable } from "../lib/breakable";
import { Button, Checkbox } from "../lib/controls";
import * as f from "../lib/format";
import { SeriesKey } from "../lib/icons";
import { Question, StatusWord } from "../lib/kit";
import { DoneNote, ItemNotes } from "../lib/notes";
import { num, Table, unseen } from "../lib/table";
import type { Card } from "../lib/wire";
import { stopQuestion } from "./bulk-state";
import { Details } from "./details";
import { byHook, kindOf, memberWord } from "./groups";
import { LongerForm } from "./longer";
import { busyWith, type ListCard, placeOf, statusOf, stopAsks } from "./state";
import type { DetailsTab, Store } from "./store";

const KINDS = { layer: "Layers", head: "Heads", hook: "Hook points", run: "Runs" };
const NUMBERS = ["Loss", "L0", "FVU", "CE rec.", "Dead", "Checkpoint"].map((head) => num(head));

export interface GroupProps {
  store: Store;
  group: ListCard;
  members: readonly Card[];
}

interface LayersProps extends GroupProps {
  open: { details?: string; tab?: DetailsTab; stop?: string };
}

export function Layers({ store, group, members, open }: LayersProps) {
  const hooks = byHook(members);
  const shown = members.find((card) => card.id === open.details);
  const stopped = members.find((card) => card.id === open.stop && stopAsks(card));
  const show = (details?: string, tab: DetailsTab = "checkpoints") =>
    store.openFor(group.id, details ? { kind: "layers", details, tab } : { kind: "layers" });
  const cellsOf = (card: Card) => [
    <Checkbox
      key="select"
      label={`Select ${card.name}`}
      checked={store.checked.value.has(card.id)}
      onChange={(on) => store.select(card.id, on)}
    />,
    <>
      {hooks ? (
        <code>
          <Breakable text={placeOf(card)} />
        </code>
      ) : (
        card.name
      )}{" "}
      {card.series !== null && <SeriesKey series={card.series} />}
      {statusOf(card) !== statusOf(group) && <StatusWord status={statusOf(card)} />}
    </>,
    f.loss(card.tiles.loss),
    f.l0(card.tiles.l0),
    f.fvu(card.tiles.fvu),
    f.ce(card.tiles.ce_loss_score),
    f.share(card.tiles.dead),
    card.last_checkpoint_step === null ? f.DASH : `step ${f.count(card.last_checkpoint_step)}`,
    <Links
      key="links"
      {...{ store, group, members, card }}
      details={shown === card}
      onDetails={() => show(shown === card ? undefined : card.id)}
    />,
  ];
  return (
    <div class="notes">
      <Table
        label={`${KINDS[kindOf(members)]} of ${group.name}`}
        class="layers"
        columns={[unseen("Selected"), hooks ? "Hook" : "Run", ...NUMBERS, unseen("Actions", "num nw links")]}
        rows={members.map((card) => ({
          key: card.id,
          cells: cellsOf(card),
          class: shown === card || stopped === card ? "sel" : undefined,
        }))}
      />
      {stopped && (
        <Question
          {...stopQuestion([stopped], (action) => {
            show();
            void store.actOn(group.id, [stopped], action);
          })}
          onKeep={() => show()}
        />
      )}
      {shown && (
        <>
          <h3 class="of">Details of {hooks ? <code>{shown.hook_name}</code> : shown.name}</h3>
          <ItemNotes store={store} id={shown.id} />
          <DoneNote store={store} id={shown.id} onOpen={(sae) => void store.openSae(shown.id, sae)} />
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

/** What can be done with one of the runs. */
function Links(props: GroupProps & { card: Card; details: boolean; onDetails: () => void }) {
  const { store, group, card } = props;
  const word = memberWord(card, props.members);
  const status = statusOf(card);
  const busy = busyWith(card, store.pending.value.get(card.id));
  const stop = () =>
    stopAsks(card)
      ? store.openFor(group.id, { kind: "layers", stop: card.id })
      : void store.actOn(group.id, [card], "stop");
  return (
    <>
      {status === "completed" && card.sae_id === null && (
        <Button
          text={busy === "import" ? `Importing ${word}…` : `Import ${word}`}
          kind="link"
          disabled={busy !== undefined}
          onClick={() => void store.actOn(group.id, [card], "import")}
        />
      )}
      {card.sae_id !== null && (
        <Button text={`Open ${word}`} kind="link" onClick={() => void store.openSae(group.id, card.sae_id)} />
      )}
      {status === "running" && (
        <Button
          text={busy?.startsWith("stop") ? `Stopping ${word}…` : `Stop ${word}`}
          kind="link"
          disabled={busy !== undefined}
          onClick={stop}
        />
      )}
      <Button
        text="Details"
        kind="link"
        label={`Details of ${card.name}`}
        expanded={props.details}
        onClick={props.onDetails}
      />
    </>
  );
}
