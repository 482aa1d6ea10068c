/** Runs of one job as one card; it opens into a table with a row for each. */
import { useRef } from "preact/hooks";
import { useCalledFocus, useFocusReturn } from "../lib/a11y";
import { Button, Checkbox } from "../lib/controls";
import * as f from "../lib/format";
import { Icon, SeriesKey } from "../lib/icons";
import { Menu, type MenuItem } from "../lib/menu";
import { BusyNote, ProblemNote } from "../lib/notes";
import { Progress } from "../lib/progress";
import type { Card } from "../lib/protocol";
import type { GroupActionName } from "../lib/protocol-runs";
import { DoneNote, ExportForm } from "./bulk";
import { deleteWords } from "./bulk-state";
import { CardNotes } from "./card-notes";
import { Details } from "./details";
import { byHook, forwardWords, groupBadge, groupMeta, type ListCard, leadOf, memberWord } from "./groups";
import { LongerForm } from "./longer";
import { QuestionBox, StopQuestion } from "./question";
import {
  buttonsFor,
  canDelete,
  hasProgressBar,
  isWarm,
  progressLine,
  STATUS_ICONS,
  STATUS_WORDS,
  statusOf,
  stopAsks,
  unsavedTokens,
} from "./state";
import type { DetailsTab, Store } from "./store";
import { Tiles } from "./tiles";

interface GroupProps {
  store: Store;
  group: ListCard;
  members: readonly Card[];
}

export function GroupCard({ store, group, members }: GroupProps) {
  const root = useRef<HTMLLIElement>(null);
  const open = store.open.value.get(group.id);
  const status = statusOf(group);
  const chosen = store.checked.value;
  const checked = members.filter((card) => chosen.has(card.id));
  const more = `More actions: ${group.name}`;
  const first = leadOf(members);
  const asks = open?.kind === "delete" || open?.kind === "stop";
  const returnTo = useFocusReturn(root, asks);
  const close = (focus = more) => {
    store.openFor(group.id, undefined);
    returnTo(focus);
  };
  const layers = open?.kind === "layers";
  const what = byHook(members) ? "layers" : "runs";
  useCalledFocus(root, group.id, store.focusCard);
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
  const buttons = buttonsFor(group, store.pending.value.get(first.id)).filter(
    (button) => !["edit", "longer", "open"].includes(button.action),
  );
  const menu: MenuItem[] = [{ label: "Export", run: () => store.openFor(group.id, { kind: "export" }) }];
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
        close();
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
      <div class="c2">
        <div class="row">
          <span class={`st ${status}`}>
            <Icon name={STATUS_ICONS[status]} />
            {STATUS_WORDS[status]}
          </span>
          <span class="nm el" title={group.name}>
            {group.name}
          </span>
          <span class="bg">{groupBadge(members)}</span>
          {group.sae_id !== null && <span class="bg">In SAEs</span>}
        </div>
        <div class="meta">
          {groupMeta(members).map((part) => (
            <span key={part}>{part}</span>
          ))}
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
          <span>{forwardWords(status, members.length)}</span>
          <span>{`tiles: mean of ${members.length}`}</span>
        </div>
      </div>
      <div class="c3">
        <div class="acts">
          {!asks &&
            buttons.map((item) => (
              <Button
                key={item.action}
                small
                icon={item.icon}
                disabled={item.disabled}
                onClick={() => press(item.action)}
              >
                {item.label}
              </Button>
            ))}
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
            <Button
              small
              kind="quiet"
              icon="more"
              label={more}
              popup="menu"
              expanded={open?.kind === "menu"}
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
          <QuestionBox
            words={deleteWords(members, members.length)}
            onYes={() => steer("delete")}
            onKeep={() => close()}
          />
        </div>
      )}
      {open?.kind === "stop" && (
        <div class="full">
          <StopQuestion
            card={group}
            lost={unsavedTokens(first)}
            onStop={(save) => steer(save ? "stop" : "stop_without_saving")}
            onKeep={() => close("Stop")}
          />
        </div>
      )}
      {open?.kind === "export" && (
        <div class="full">
          <ExportForm store={store} id={group.id} cards={members} onClose={() => close()} />
        </div>
      )}
      <CardNotes store={store} card={group} copied={null} onCopied={() => {}} />
      {layers && <Layers store={store} group={group} members={members} open={open} />}
    </li>
  );
}

interface LayersProps extends GroupProps {
  open: { details?: string; tab?: DetailsTab };
}

function Layers({ store, group, members, open }: LayersProps) {
  const hooks = byHook(members);
  const shown = members.find((card) => card.id === open.details);
  const chosen = store.checked.value;
  const show = (details?: string, tab: DetailsTab = "checkpoints") =>
    store.openFor(group.id, details ? { kind: "layers", details, tab } : { kind: "layers" });
  return (
    <div class="full notes">
      <div class="xs-scroll">
        <table aria-label={`${hooks ? "Layers" : "Runs"} of ${group.name}`} class="layers">
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
              <tr key={card.id}>
                <td>
                  <Checkbox
                    label={`Select ${card.name}`}
                    checked={chosen.has(card.id)}
                    onChange={(on) => store.select(card.id, on)}
                  />
                </td>
                <td>
                  {hooks ? <code>{card.hook_name}</code> : card.name}{" "}
                  {card.series !== null && <SeriesKey series={card.series} />}
                  {statusOf(card) !== statusOf(group) && (
                    <span class={`st ${statusOf(card)}`}>
                      <Icon name={STATUS_ICONS[statusOf(card)]} />
                      {STATUS_WORDS[statusOf(card)]}
                    </span>
                  )}
                </td>
                <td class="num">{f.loss(card.tiles.loss)}</td>
                <td class="num">{f.l0(card.tiles.l0)}</td>
                <td class="num">{f.fvu(card.tiles.fvu)}</td>
                <td class="num">{f.ce(card.tiles.ce_loss_score)}</td>
                <td class="num">{f.share(card.tiles.dead)}</td>
                <td class="num">
                  {card.last_checkpoint_step === null ? f.DASH : `step ${f.count(card.last_checkpoint_step)}`}
                </td>
                <td class="num nw links">
                  {statusOf(card) === "completed" && card.sae_id === null && (
                    <button type="button" class="lk" onClick={() => void store.actOn(group.id, [card], "import")}>
                      {`Import ${memberWord(card, members)}`}
                    </button>
                  )}
                  {card.sae_id !== null && (
                    <button type="button" class="lk" onClick={() => void store.openSae(group.id, card.sae_id)}>
                      {`Open ${memberWord(card, members)}`}
                    </button>
                  )}
                  {statusOf(card) === "running" && (
                    <button
                      type="button"
                      class="lk"
                      aria-disabled={store.pending.value.has(card.id) || undefined}
                      onClick={() => void store.actOn(group.id, [card], "stop")}
                    >
                      {`Stop ${memberWord(card, members)}`}
                    </button>
                  )}
                  <button
                    type="button"
                    class="lk"
                    aria-label={`Details of ${card.name}`}
                    aria-expanded={shown === card}
                    onClick={() => show(shown === card ? undefined : card.id)}
                  >
                    Details
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {shown && (
        <>
          <BusyNote store={store} id={shown.id} />
          <ProblemNote store={store} id={shown.id} />
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
