/** What the panel shows, derived from the cards: pure functions. */
import * as f from "../lib/format";
import { ALL_STATUSES, buttonsOf, isActive, type JobButton, type Status, statusOf, underWay } from "../lib/statuses";
import type { Action, Card, DeviceInfo, PanelState } from "../lib/wire";

export { type Status, statusOf } from "../lib/statuses";

/** Something a button or menu item of a card does; "edit", "longer" and "open" happen on the page. */
export type CardAction = Exclude<Action, "checkpoint" | "stop_without_saving"> | "edit" | "longer" | "open";

const BUTTONS: Record<Status, readonly CardAction[]> = {
  queued: ["stop"],
  running: ["pause", "stop"],
  paused: ["resume", "stop"],
  completed: ["import", "longer", "delete"],
  failed: ["retry", "edit"],
  stopped: ["resume", "retry", "delete"],
  interrupted: ["resume", "delete"],
};

const NEED_FILES: readonly CardAction[] = ["resume", "import", "longer", "delete"];

/** What is under way for a card: asked here, or by anybody. */
export const busyWith = (card: Card, pending?: string): string | undefined => underWay(card, pending, "stop");

export function buttonsFor(card: Card, pending?: string): JobButton<CardAction>[] {
  const actions = BUTTONS[statusOf(card)]
    .map((action) => (action === "import" && card.sae_id !== null ? "open" : action))
    .filter((action) => card.has_files || !NEED_FILES.includes(action));
  return buttonsOf(actions, busyWith(card, pending), { open: "Open SAE" });
}

export const canDelete = (card: Card): boolean => card.has_files && statusOf(card) !== "running";

export const unsavedTokens = (card: Card): number => Math.max(0, card.tokens_done - (card.last_checkpoint_tokens ?? 0));

/** Does Stop have to ask first? Not for a run that waits: it has done nothing since its last checkpoint. */
export const stopAsks = (card: Card): boolean =>
  statusOf(card) === "running" && card.status !== "stopping" && unsavedTokens(card) > 0;

export const hasProgressBar = (card: Card): boolean =>
  ["running", "paused", "failed", "interrupted"].includes(statusOf(card));

interface LineOptions {
  /** ms since the epoch */
  now?: number;
  /** False while nothing is heard from the kernel: what was running may long be over. */
  live?: boolean;
  startsIn?: number | null;
}

export function progressLine(card: Card, options: LineOptions = {}): string[] {
  const { now = Date.now(), live = true, startsIn = null } = options;
  const done = f.tokensOf(card.tokens_done, card.tokens_total);
  switch (statusOf(card)) {
    case "queued":
      return [
        queueWords(card),
        ...(live && startsIn !== null ? [`starts in about ${f.duration(startsIn)}`] : []),
        ...(card.tokens_done > 0 ? [done] : []),
      ];
    case "running": {
      const parts = [done];
      if (live && card.rate !== null && card.rate > 0) {
        parts.push(`${f.count(card.rate)} tok/s`);
        const warm = card.seconds_running >= 5 || card.step >= 20; // the first steps of a run are slow
        if (warm && card.eta_seconds !== null) parts.push(`ETA ${f.duration(card.eta_seconds)}`);
      }
      if (live && card.phase && (parts.length === 1 || card.phase !== "training")) parts.push(card.phase);
      if (live && card.seconds_running >= 1) parts.push(`${f.duration(card.seconds_running)} elapsed`);
      return [...parts, card.device];
    }
    case "paused":
      // Its last heartbeat is the moment it was paused.
      return [
        done,
        `paused ${card.heartbeat_at === null ? "" : `${f.clock(card.heartbeat_at, now)} `}at step ${f.count(card.step)}`,
      ];
    case "completed":
      return [
        `${f.tokens(card.tokens_done)} tokens in ${f.duration(card.seconds_running)}`,
        ...(card.finished_at === null ? [] : [`finished ${f.clock(card.finished_at, now)}`]),
        ...(card.checkpoint_count > 0 ? [f.plural(card.checkpoint_count, "checkpoint")] : []),
      ];
    case "failed":
      return [done, `stopped itself at step ${f.count(card.step)}`];
    case "stopped":
      return [`stopped ${card.place.length ? "" : "by you "}at ${f.tokens(card.tokens_done)} tokens`];
    case "interrupted":
      return [done, ...(card.heartbeat_at === null ? [] : [`last sign of life ${f.clock(card.heartbeat_at, now)}`])];
  }
}

/** "goes on from gpt2-l6 at step 1,500", "retry of gpt2-l6"; null for a run that began by itself. */
export function originWords(card: Card): string | null {
  if (card.continued_step === null) return card.retry_of === null ? null : `retry of ${card.retry_of}`;
  return `goes on from ${card.continued_from ?? "a deleted run"} at step ${f.count(card.continued_step)}`;
}

/** When the first in a queue begins (s): when all that runs on its device has ended. Null where that cannot be told. */
export function startsIn(card: Card, cards: readonly Card[]): number | null {
  if (statusOf(card) !== "queued" || card.queue_position !== 1) return null;
  const where = (one: Card) => [one.device, ...one.place].join(); // the same device of the same machine
  const ahead = cards.filter((one) => where(one) === where(card) && statusOf(one) === "running");
  if (ahead.length === 0 || ahead.some((one) => one.eta_seconds === null)) return null;
  return Math.max(...ahead.map((one) => one.eta_seconds ?? 0)); // the runs of one job end together
}

const ORDINALS = ["", "first", "second", "third"];

function queueWords(card: Card): string {
  const place = card.queue_position;
  if (place === null) return `waits for ${card.device}`;
  return `${ORDINALS[place] ?? `number ${place}`} in the queue of ${card.device}`;
}

/** "cuda:0, 6.1 of 8.0 GB free". */
export function deviceWords(devices: readonly DeviceInfo[]): string | null {
  const device = f.mainDevice(devices);
  if (!device) return null;
  if (device.free_bytes === null || device.total_bytes === null) return device.label || device.id;
  return `${device.id}, ${f.bytesOf(device.free_bytes, device.total_bytes)} free`;
}

/** How much of that device's memory is taken: a share for its meter, null where it is not known. */
export function deviceMeter(devices: readonly DeviceInfo[]): { id: string; used: number; text: string } | null {
  const device = f.mainDevice(devices);
  if (!device || device.free_bytes === null || !device.total_bytes) return null;
  const taken = Math.max(0, device.total_bytes - device.free_bytes);
  const text = `${f.bytes(taken)} of ${f.bytes(device.total_bytes)} used`;
  return { id: device.id, used: Math.min(1, taken / device.total_bytes), text };
}

// ------------------------------------------------------------------------------------------------ list

/** A card of the list: one run, or (`members`) several of one job; it has the numbers of the one that stands for it. */
export type ListCard = Card & { members?: readonly Card[] };

export type Filter = "all" | Status;
export type Sort = "active" | "newest" | "fvu" | "l0";

export const SORTS: Record<Sort, string> = {
  active: "Active first",
  newest: "Newest",
  fvu: "FVU, best first",
  l0: "L0",
};

export function countByStatus(cards: readonly Card[]): Record<Filter, number> {
  const counts = { all: cards.length } as Record<Filter, number>;
  for (const status of ALL_STATUSES) counts[status] = 0;
  for (const card of cards) counts[statusOf(card)] += 1;
  return counts;
}

export const placeOf = (card: Card): string =>
  card.hook_name_out ? `${card.hook_name} → ${card.hook_name_out}` : card.hook_name;

/** "/k (16|32)/" as an expression; null for words, and for one that is not whole yet. */
export function patternOf(search: string): RegExp | null {
  try {
    return search.startsWith("/") ? new RegExp(search.replace(/^\/|\/$/g, ""), "i") : null;
  } catch {
    return null;
  }
}

/** Every word of the search must occur in name, model, hook name, architecture or place (of one of a group). */
export function matches(card: ListCard, search: string): boolean {
  if (card.members?.some((member) => matches(member, search))) return true;
  const parts = [card.name, card.model, placeOf(card), card.architecture, ...card.place];
  const pattern = patternOf(search.trim());
  return pattern ? parts.some((text) => pattern.test(text)) : f.finder(search)(parts.join(" "));
}

/** What works comes first, then what is paused, what waits, and what has ended. */
const activity = (card: Card): number => ["queued", "paused", "running"].indexOf(statusOf(card));

const measured = (value: Card["tiles"]["fvu"]): number => {
  const n = value === null ? Number.NaN : Number(value);
  return Number.isFinite(n) ? n : Number.POSITIVE_INFINITY;
};

/** Of a group that of its best run. */
const lowest = ({ members, ...card }: ListCard, name: "fvu" | "l0"): number =>
  Math.min(...(members ?? [card]).map((one) => measured(one.tiles[name])));

const ascending = (a: number, b: number) => (a === b ? 0 : a < b ? -1 : 1);

/** Who waits comes in the order in which they will start. */
const place = (card: Card): number =>
  statusOf(card) === "queued" ? (card.queue_position ?? Number.POSITIVE_INFINITY) : 0;

const COMPARE: Record<Sort, (a: ListCard, b: ListCard) => number> = {
  active: (a, b) => activity(b) - activity(a) || ascending(place(a), place(b)) || b.created_at - a.created_at,
  newest: (a, b) => b.created_at - a.created_at,
  fvu: (a, b) => ascending(lowest(a, "fvu"), lowest(b, "fvu")),
  l0: (a, b) => ascending(lowest(a, "l0"), lowest(b, "l0")),
};

export function shownCards<C extends ListCard>(cards: readonly C[], filter: Filter, search: string, sort: Sort): C[] {
  return cards
    .filter((card) => (filter === "all" || statusOf(card) === filter) && matches(card, search))
    .sort((a, b) => COMPARE[sort](a, b) || ascending(a.created_at, b.created_at));
}

/** `shown` in the order on the screen: what stands there stays as long as it exists, what is new comes last. */
export function heldOrder<C extends Card>(held: readonly string[], cards: readonly C[], shown: readonly C[]): C[] {
  const byId = new Map(cards.map((card) => [card.id, card]));
  const stay = held.flatMap((id) => byId.get(id) ?? []);
  return [...stay, ...shown.filter((card) => !held.includes(card.id))];
}

export const anythingRuns = (state: PanelState): boolean => state.cards.some(isActive);
