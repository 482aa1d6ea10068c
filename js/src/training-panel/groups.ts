/** Runs that one job trains at once, as one entry of the list. Pure functions. */
import * as f from "../lib/format";
import { type Status, statusOf } from "../lib/statuses";
import type { Card } from "../lib/wire";
import { type ListCard, placeOf } from "./state";

/** The cards of the list: runs of one group become one, in the place of its newest. */
export function listCards(cards: readonly Card[]): ListCard[] {
  const groups = new Map<string, Card[]>();
  for (const card of cards) {
    if (card.group_id !== null) groups.set(card.group_id, [...(groups.get(card.group_id) ?? []), card]);
  }
  const shown = new Set<string>();
  const named = new Map(cards.map((card) => [card.name, card]));
  return cards.flatMap((card) => {
    const members = card.group_id === null ? undefined : groups.get(card.group_id);
    if (card.group_id === null || !members || members.length < 2) return [card];
    if (shown.has(card.group_id)) return [];
    shown.add(card.group_id);
    return [groupCard(card.group_id, inOrder(members), named)];
  });
}

const layerOf = (card: Card): number => Number(/^blocks\.(\d+)\./.exec(card.hook_name)?.[1] ?? Number.NaN);

function inOrder(members: readonly Card[]): Card[] {
  return [...members].sort(
    (a, b) => (layerOf(a) || 0) - (layerOf(b) || 0) || a.name.localeCompare(b.name, "en", { numeric: true }),
  );
}

/** A run that diverged, or was stopped alone, has ended while the others go on: these say where the job stands. */
const ORDER: readonly Status[] = ["running", "paused", "queued", "interrupted", "completed", "stopped", "failed"];

/** The run of a group that stands for its job: not one that is being stopped alone, nor one that was stopped earlier. */
export const leadOf = (members: readonly Card[]): Card =>
  [...members].sort(
    (a, b) =>
      ORDER.indexOf(statusOf(a)) - ORDER.indexOf(statusOf(b)) ||
      Number(a.status === "stopping") - Number(b.status === "stopping") ||
      b.tokens_done - a.tokens_done,
  )[0] as Card;

/** What is under way for the whole job: something that was asked of every run that stands where the job stands. */
export function groupPending(members: readonly Card[], pending: ReadonlyMap<string, string>): string | undefined {
  const status = statusOf(leadOf(members));
  const asked = members
    .filter((card) => statusOf(card) === status && (status !== "completed" || card.sae_id === null))
    .map((card) => pending.get(card.id));
  return asked.every((action) => action === asked[0]) ? asked[0] : undefined;
}

function groupCard(id: string, members: readonly Card[], named: ReadonlyMap<string, Card>): ListCard {
  const first = leadOf(members);
  const sum = (of: (card: Card) => number) => members.reduce((total, card) => total + of(card), 0);
  const noted = members.find((card) => card.note !== null);
  const jobs = jobsOf(members);
  const ofAll = one(members, (card) => card.note?.what ?? null) !== null;
  const note = noted?.note ? { ...noted.note, where: noted.note.where ?? (ofAll ? null : noted.name) } : null;
  return {
    ...first,
    id,
    name: first.group_name ?? id,
    members,
    note,
    ...(jobs.length > 1 && together(jobs)),
    place: [...new Set(members.flatMap((card) => card.place))],
    advice: null,
    checkpoint_count: sum((card) => card.checkpoint_count),
    checkpoint_bytes: sum((card) => card.checkpoint_bytes),
    sae_id: members.every((card) => card.sae_id !== null) ? first.sae_id : null,
    series: null,
    retry_of: one(members, ({ retry_of }) => retry_of && (named.get(retry_of)?.group_name ?? first.retry_of)),
    continued_from: null,
    continued_step: null,
  };
}

/** The runs by job: there are several where the group was spread. */
export function jobsOf(members: readonly Card[]): Card[][] {
  const jobs = new Map<string | null, Card[]>();
  for (const card of members) jobs.set(card.job_id, [...(jobs.get(card.job_id) ?? []), card]);
  return [...jobs.values()];
}

/** How far several jobs are as one: the mean of what is done, and the end of the last, once all run. */
function together(jobs: readonly Card[][]): Partial<Card> {
  const leads = jobs.map(leadOf);
  const going = leads.filter((card) => !["completed", "stopped", "failed"].includes(statusOf(card)));
  const mean = (of: (card: Card) => number) => leads.reduce((sum, card) => sum + of(card), 0) / leads.length;
  const ends = going.map((card) => card.eta_seconds);
  return {
    fraction: mean((card) => card.fraction),
    tokens_done: Math.round(mean((card) => card.tokens_done)),
    rate: null, // each has its own
    eta_seconds: ends.includes(null) ? null : Math.max(0, ...ends.map(Number)),
    device: [...new Set(leads.map((card) => card.device))].join(", "),
  };
}

/** The runs between which the tiles of a group lie: one that failed, or waits for its turn, says nothing of the others. */
export function tiledBy(members: readonly Card[]): readonly Card[] {
  const fine = members.filter((card) => statusOf(card) !== "failed" && card.tiles.loss !== null);
  return fine.length ? fine : members;
}

function one<From, T>(all: readonly From[], of: (each: From) => T): T | null {
  const values = [...new Set(all.map(of))];
  return values.length === 1 ? (values[0] as T) : null;
}

/** What the runs of a group are of one each: a layer, a head, else another hook point, else just runs. */
export function kindOf(members: readonly Card[]): "layer" | "head" | "hook" | "run" {
  if (!byHook(members)) return "run";
  if (new Set(members.map(layerOf)).size === members.length) return "layer";
  return hooksDiffer(members.map((card) => card.hook_name)) === "heads" ? "head" : "hook";
}

/** How many there are: "3 layers, one job". */
export const groupBadge = (members: readonly Card[]): string => {
  const jobs = jobsOf(members).length;
  return `${f.plural(members.length, kindOf(members))}, ${jobs === 1 ? "one job" : `${jobs} jobs`}`;
};

/** The line below the name: what all have in common, and how many there are of what differs. */
export function groupMeta(members: readonly Card[]): string[] {
  const hook = one(members, placeOf);
  const architecture = one(members, (card) => card.architecture);
  const width = one(members, (card) => card.d_sae);
  const hooks = new Set(members.map((card) => card.hook_name)).size;
  const kinds = new Set(members.map((card) => card.architecture)).size;
  return [
    one(members, (card) => card.model) ?? "several models",
    hook ?? f.plural(hooks, kindOf(members) === "head" ? "head" : "hook"),
    architecture ?? `${kinds} settings of the autoencoder`,
    width === null ? "several widths" : `d_sae ${f.count(width)} each`,
  ];
}

/** What tells a run of a group from the others: "layer 4", "head 3", else its name. */
export function memberWord(card: Card, members: readonly Card[]): string {
  const head = /\.hook_z\.(\d+)$/.exec(card.hook_name);
  if (head && kindOf(members) === "head") return `head ${head[1]}`;
  const layer = layerOf(card);
  const alone = members.filter((other) => layerOf(other) === layer).length === 1;
  return Number.isNaN(layer) || !alone ? card.name : `layer ${layer}`;
}

/** What hook names differ in: "layers", "heads", "layers and heads", else the names as such. */
function hooksDiffer(names: readonly string[]): string {
  const parts = names.map((name) => /^blocks\.(\d+)\.(.*?)(?:\.(\d+))?$/.exec(name));
  const differ = (i: number) => one(parts, (part) => part?.[i] ?? "") === null;
  if (parts.includes(null) || differ(2)) return "hook names";
  return ["layers", "heads"].filter((_, i) => differ(i === 0 ? 1 : 3)).join(" and ") || "hook names";
}

export const keptWords = (kept: string, names: readonly string[]): string =>
  `A template keeps one hook name: ${kept}. Enter the other ${hooksDiffer(names)} again where you use it.`;

/** What a template made of `kept`, one run of a group, leaves out. */
export const templateWords = (kept: Card, members: readonly Card[]): string =>
  byHook(members)
    ? keptWords(
        kept.hook_name,
        members.map((card) => card.hook_name),
      )
    : `A template keeps the settings of one run: ${kept.name}.`;

/** Do the runs of a group differ in their hook points? Otherwise their table names them by architecture. */
export const byHook = (members: readonly Card[]): boolean =>
  new Set(members.map((card) => card.hook_name)).size === members.length;

const NUMBERS = ["", "", "both", "all three", "all four", "all five", "all six"];

/** What the runs of a job share: "one LM forward fed all three"; on stored activations no language model runs. */
export const forwardWords = (status: Status, count: number, stored = false, jobs = 1): string => {
  const what = stored ? "reading of the store" : "LM forward";
  if (jobs > 1) return `one ${what} for each of ${jobs} jobs`;
  const feeds = status === "running" ? "feeds" : status === "completed" ? "fed" : "for";
  return `one ${what} ${feeds} ${NUMBERS[count] ?? `all ${count}`}`;
};
