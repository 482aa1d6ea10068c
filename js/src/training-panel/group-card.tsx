/** Runs of one job as one card; it opens into a table with a row for each. */
import { useRef } from "preact/hooks";
import { Button } from "../lib/controls";
import { Buttons, Card as CardBox, Facts, Question, StatusWord, useCard } from "../lib/kit";
import { Progress } from "../lib/progress";
import type { Card, GroupActionName } from "../lib/wire";
import { ExportForm } from "./bulk";
import { deleteQuestion, stopQuestion } from "./bulk-state";
import { menuOf, RunNotes, TemplateOf } from "./card";
import * as groups from "./groups";
import { type GroupProps, Layers } from "./layers";
import { buttonsFor, canDelete, hasProgressBar, isWarm, originWords, progressLine, statusOf, stopAsks } from "./state";
import type { Open } from "./store";
import { Tiles } from "./tiles";

export function GroupCard({ store, group, members }: GroupProps) {
  const of = useCard<Open>(store, useRef<HTMLLIElement>(null), group);
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
  const onEscape = () => {
    const shown = members.find((card) => card.id === layers?.details);
    if (!layers?.details && !layers?.stop) return close(layers ? `Show ${what}` : of.more);
    store.closeInner();
    if (shown) of.returnTo(`Details of ${shown.name}`);
  };
  return (
    <CardBox
      of={of}
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
      onEscape={onEscape}
      opens={{
        delete: () => (
          <Question {...deleteQuestion(members, () => steer("delete"), members.length, name)} onKeep={() => close()} />
        ),
        stop: () => <Question {...stopQuestion([first], steer, name)} onKeep={() => close("Stop")} />,
        export: () => <ExportForm store={store} id={id} cards={members} name={name} onClose={() => close()} />,
        template: () => (
          <div class="notes">
            <p class="sm t2">{groups.templateWords(kept, members)}</p>
            <TemplateOf store={store} id={id} run={kept} name={name} onClose={() => close()} />
          </div>
        ),
        layers: () => layers && <Layers store={store} group={group} members={members} open={layers} />,
      }}
      notes={
        <RunNotes
          store={store}
          card={group}
          about={noted}
          of={of}
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
          ...progressLine(group, {
            live: store.link.value === "live",
            warm: isWarm(first, store.starts, performance.now()),
          }),
          groups.forwardWords(status, members.length, group.stored),
          `tiles: lowest to highest of ${groups.tiledBy(members).length}`,
        ]}
      />
    </CardBox>
  );
}
