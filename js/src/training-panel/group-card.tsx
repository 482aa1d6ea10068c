/** Runs of one job as one card; it opens into a table with a row for each. */
import { Breakable, Button, Checkbox } from "../lib/controls";
import * as f from "../lib/format";
import { SeriesKey } from "../lib/icons";
import { Buttons, Card as CardBox, Facts, Progress, Question, StatusWord, useCard } from "../lib/kit";
import { DoneNote, ItemNotes } from "../lib/notes";
import { num, Table, unseen } from "../lib/table";
import type { Card, GroupActionName } from "../lib/wire";
import { deleteQuestion, stopQuestion } from "./bulk-state";
import { menuOf, RunNotes, Tiles } from "./card";
import { ExportForm, LongerForm, SaveTemplate } from "./card-forms";
import { Details } from "./details";
import * as groups from "./groups";
import { byHook, kindOf, memberWord } from "./groups";
import {
  busyWith,
  buttonsFor,
  canDelete,
  hasProgressBar,
  type ListCard,
  originWords,
  placeOf,
  progressLine,
  statusOf,
  stopAsks,
} from "./state";
import type { DetailsTab, Open, Store } from "./store";

export function GroupCard({ store, group, members }: GroupProps) {
  const of = useCard<Open>(store, group);
  const { open, close } = of;
  const { id, name } = group;
  const status = statusOf(group);
  const chosen = [...store.checked.value];
  const checked = members.filter((card) => chosen.includes(card.id));
  const first = groups.leadOf(members);
  const noted = members.find((card) => card.note !== null) ?? first; // what the note of the group is about
  const kept = members[0] as Card;
  const origin = originWords(group);
  const layers = open?.kind === "layers" ? open : null;
  const what = `${groups.kindOf(members)}s`;
  const steer = (action: GroupActionName) => void store.actOnGroup(id, members, action);
  const press = (action: string) => {
    if (action === "import") {
      const left = members.filter((card) => card.sae_id === null);
      void store.actOn(id, left, "import");
    } else if (action === "delete") store.openFor(id, { kind: "delete" });
    else if (action === "stop" && stopAsks(group)) store.openFor(id, { kind: "stop" });
    else steer(action as GroupActionName);
  };
  // Its runs are edited, trained longer and opened one by one.
  const buttons = buttonsFor(group, groups.groupPending(members, store.pending.value)).filter(
    (button) => !["edit", "longer", "open"].includes(button.action),
  );
  const remove = canDelete(group) ? [{ label: "Delete", danger: true, run: () => press("delete") }] : [];
  const toggle = (on: boolean) => {
    const others = chosen.filter((id) => !members.some((card) => card.id === id));
    store.selectAll(on ? [...others, ...members.map((card) => card.id)] : others);
  };
  // Esc closes what is open in the table first
  const inner = layers?.details || layers?.stop;
  return (
    <CardBox
      of={{ ...of, close: inner ? () => store.closeInner() : close }}
      check={{
        on: checked.length === members.length,
        mixed: checked.length > 0 && checked.length < members.length,
        onChange: toggle,
      }}
      lead={<StatusWord status={status} />}
      badges={
        <>
          <span class="bg">{groups.groupBadge(members)}</span>
          {group.sae_id !== null && <span class="bg">In SAEs</span>}
        </>
      }
      onRename={(name) => void store.command(id, "Rename", { kind: "rename_group", group_id: id, name })}
      buttons={
        <>
          <Buttons of={buttons} onPress={press} />
          <Button
            text={`${layers ? "Hide" : "Show"} ${what}`}
            small
            icon={layers ? "up" : "down"}
            expanded={layers !== null}
            onClick={of.toggle({ kind: "layers" })}
          />
        </>
      }
      menu={[...menuOf(of, { kind: "layers" }), ...remove]}
      aside={<Tiles card={group} />}
      opens={{
        delete: () => <Question {...deleteQuestion(members, () => steer("delete"), members, name)} onKeep={close} />,
        stop: () => <Question {...stopQuestion([first], steer, name)} onKeep={close} />,
        export: () => <ExportForm store={store} id={id} cards={members} name={name} onClose={close} />,
        template: () => (
          <div class="notes">
            <p class="sm t2">{groups.templateWords(kept, members)}</p>
            <SaveTemplate store={store} at={id} name={name} of={{ training_id: kept.id }} onClose={close} />
          </div>
        ),
        layers: () => layers && <Layers store={store} group={group} members={members} open={layers} />,
      }}
      notes={
        <RunNotes
          store={store}
          card={group}
          about={noted}
          onResume={() => steer("resume")}
          log={layers?.details === noted.id && layers.tab === "log"}
          onLog={(on) => store.openFor(id, on ? { kind: "layers", details: noted.id, tab: "log" } : { kind: "layers" })}
        />
      }
    >
      <Facts of={[...groups.groupMeta(members), ...(origin ? [origin] : [])]} />
      {hasProgressBar(group) && <Progress label={`Progress of ${name}`} fraction={group.fraction} status={status} />}
      <Facts
        of={[
          ...progressLine(group, { live: store.link.value === "live" }),
          groups.forwardWords(status, members.length, group.stored, groups.jobsOf(members).length),
          `tiles: lowest to highest of ${groups.tiledBy(members).length}`,
        ]}
      />
      {group.place.length > 0 && <Facts of={group.place} />}
    </CardBox>
  );
}

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
          <DoneNote store={store} id={shown.id} onOpen={(sae) => store.openSae(shown.id, sae)} />
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
      {status === "completed" && card.sae_id === null && card.has_files && (
        <Button
          text={busy === "import" ? `Importing ${word}…` : `Import ${word}`}
          kind="link"
          disabled={busy !== undefined}
          onClick={() => store.actOn(group.id, [card], "import")}
        />
      )}
      {card.sae_id !== null && (
        <Button text={`Open ${word}`} kind="link" onClick={() => store.openSae(group.id, card.sae_id)} />
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
