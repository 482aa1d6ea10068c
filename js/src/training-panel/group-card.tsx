/** Runs of one job as one card; it opens into a table with a row for each. */

import { useRef } from "preact/hooks";
import { Button, Checkbox } from "../lib/controls";
import { Buttons, More, Named, StatusWord } from "../lib/kit";
import { Menu } from "../lib/menu";
import { Progress } from "../lib/progress";
import { Rename } from "../lib/rename";
import type { Card, GroupActionName } from "../lib/wire";
import { ExportForm } from "./bulk";
import { groupDeleteWords, stopWords } from "./bulk-state";
import { useCardMenu } from "./card-menu";
import { CardNotes } from "./card-notes";
import {
  forwardWords,
  groupBadge,
  groupMeta,
  groupPending,
  kindOf,
  type ListCard,
  leadOf,
  templateWords,
  tiledBy,
} from "./groups";
import { Layers } from "./layers";
import { DeleteQuestion, StopQuestion } from "./question";
import { SaveTemplate } from "./save-template";
import { buttonsFor, canDelete, hasProgressBar, isWarm, originWords, progressLine, statusOf, stopAsks } from "./state";
import type { Store } from "./store";
import { Tiles } from "./tiles";

export interface GroupProps {
  store: Store;
  group: ListCard;
  members: readonly Card[];
}

export function GroupCard({ store, group, members }: GroupProps) {
  const root = useRef<HTMLLIElement>(null);
  const details = { kind: "layers" } as const;
  const { open, asks, more, returnTo, close, items, copied, setCopied } = useCardMenu(store, root, group, details);
  const status = statusOf(group);
  const chosen = store.checked.value;
  const checked = members.filter((card) => chosen.has(card.id));
  const first = leadOf(members);
  const noted = members.find((card) => card.note !== null) ?? first; // what the note of the group is about
  const kept = members[0];
  const origin = originWords(group);
  const layers = open?.kind === "layers";
  const what = `${kindOf(members)}s`;
  const steer = (action: GroupActionName) => void store.actOnGroup(group.id, members, action);
  const press = (action: string) => {
    if (action === "import") {
      const left = members.filter((card) => card.sae_id === null);
      void store.actOn(group.id, left, "import");
    } else if (action === "delete") store.openFor(group.id, { kind: "delete" });
    else if (action === "stop" && stopAsks(group)) store.openFor(group.id, { kind: "stop" });
    else steer(action as GroupActionName);
  };
  // Its runs are edited, trained longer and opened one by one.
  const buttons = buttonsFor(group, groupPending(members, store.pending.value)).filter(
    (button) => !["edit", "longer", "open"].includes(button.action),
  );
  const rename = (name: string) =>
    void store.command(group.id, "Rename", { kind: "rename_group", group_id: group.id, name });
  const menu = [...items];
  if (canDelete(group)) menu.push({ label: "Delete", danger: true, run: () => press("delete") });
  const toggle = (on: boolean) => {
    const others = [...chosen].filter((id) => !members.some((card) => card.id === id));
    store.selectAll(on ? [...others, ...members.map((card) => card.id)] : others);
  };
  return (
    <li
      ref={root}
      class={`card${checked.length > 0 ? " sel" : ""}`}
      aria-label={group.name}
      tabIndex={-1}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || event.defaultPrevented || !open) return;
        event.preventDefault();
        if (open.kind === "layers" && open.details) {
          const shown = members.find((card) => card.id === open.details);
          store.closeInner();
          returnTo(`Details of ${shown?.name}`);
        } else if (open.kind === "layers" && open.stop) store.closeInner();
        else close(layers ? `Show ${what}` : more);
      }}
    >
      <div class="c1">
        <Checkbox
          label={`Select ${group.name}`}
          checked={checked.length === members.length}
          mixed={checked.length > 0 && checked.length < members.length}
          onChange={toggle}
        />
      </div>
      <div class="c2 col">
        <div class="row">
          <StatusWord status={status} />
          {open?.kind === "rename" ? (
            <Rename name={group.name} onSave={rename} onDone={() => close()} />
          ) : (
            <Named name={group.name} />
          )}
          <span class="bg">{groupBadge(members)}</span>
          {group.sae_id !== null && <span class="bg">In SAEs</span>}
        </div>
        <div class="meta">
          {groupMeta(members).map((part) => (
            <span key={part}>{part}</span>
          ))}
          {origin && <span title={origin}>{origin}</span>}
        </div>
        {hasProgressBar(group) && (
          <Progress label={`Progress of ${group.name}`} fraction={group.fraction} status={status} />
        )}
        <div class="meta">
          {progressLine(group, {
            live: store.link.value === "live",
            warm: isWarm(first, store.starts, performance.now()),
          }).map((part) => (
            <span key={part}>{part}</span>
          ))}
          <span>{forwardWords(status, members.length, group.stored)}</span>
          <span>{`tiles: lowest to highest of ${tiledBy(members).length}`}</span>
        </div>
      </div>
      <div class="c3 col">
        <div class="acts">
          {!asks && <Buttons of={buttons} onPress={press} />}
          {!asks && (
            <Button
              small
              icon={layers ? "up" : "down"}
              expanded={layers}
              onClick={() => store.openFor(group.id, layers ? undefined : { kind: "layers" })}
            >
              {`${layers ? "Hide" : "Show"} ${what}`}
            </Button>
          )}
          {!asks && (
            <More
              label={more}
              open={open?.kind === "menu"}
              onClick={() => store.openFor(group.id, open?.kind === "menu" ? undefined : { kind: "menu" })}
            />
          )}
        </div>
        <Tiles card={group} />
      </div>
      {open?.kind === "menu" && (
        <div class="full">
          <Menu label={more} items={menu} onClose={() => close()} />
        </div>
      )}
      {open?.kind === "delete" && (
        <div class="full">
          <DeleteQuestion
            words={groupDeleteWords(group.name, members)}
            onYes={() => steer("delete")}
            onKeep={() => close()}
          />
        </div>
      )}
      {open?.kind === "stop" && (
        <div class="full">
          <StopQuestion
            words={{ ...stopWords([first]), title: `Stop ${group.name}?` }}
            onStop={steer}
            onKeep={() => close("Stop")}
          />
        </div>
      )}
      {open?.kind === "export" && (
        <div class="full">
          <ExportForm store={store} id={group.id} cards={members} name={group.name} onClose={() => close()} />
        </div>
      )}
      {open?.kind === "template" && kept && (
        <div class="full notes">
          <p class="sm t2">{templateWords(kept, members)}</p>
          <SaveTemplate
            store={store}
            name={group.name}
            of={{ training_id: kept.id }}
            onSaved={(name) => store.say(group.id, `Saved as template “${name}”.`)}
            onClose={() => close()}
          />
        </div>
      )}
      <CardNotes
        store={store}
        card={group}
        about={noted}
        copied={copied}
        onCopied={() => setCopied(null)}
        onResume={() => steer("resume")}
        log={open?.kind === "layers" && open.details === noted.id && open.tab === "log"}
        onLog={(show) =>
          store.openFor(group.id, show ? { kind: "layers", details: noted.id, tab: "log" } : { kind: "layers" })
        }
      />
      {layers && <Layers store={store} group={group} members={members} open={open} />}
    </li>
  );
}
