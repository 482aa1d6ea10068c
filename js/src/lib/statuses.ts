/** The seven words and icons on the screen for the eleven states of a job, and the buttons of its card. */
import type { IconName } from "./icons";

/** In the order of the tabs above a list. */
const STATUSES = {
  running: ["Running", "play"],
  queued: ["Queued", "clock"],
  paused: ["Paused", "pause"],
  completed: ["Completed", "check"],
  failed: ["Failed", "fail"],
  stopped: ["Stopped", "stop"],
  interrupted: ["Interrupted", "interrupted"],
} as const satisfies Record<string, readonly [string, IconName]>;

export type Status = keyof typeof STATUSES;
export const ALL_STATUSES = Object.keys(STATUSES) as Status[];
export const statusWord = (status: Status): string => STATUSES[status][0];
export const statusIcon = (status: Status): IconName => STATUSES[status][1];

/** What between two states counts as; *cancelled* (and what this page does not know) reads like *stopped*. */
export function statusOf({ status }: { status: string }): Status {
  if (status === "starting" || status === "pausing" || status === "stopping") return "running";
  return Object.hasOwn(STATUSES, status) ? (status as Status) : "stopped";
}

export const isActive = (job: { status: string }): boolean => ["running", "queued"].includes(statusOf(job));

/** Is it being started, paused, cancelled, … right now? */
export const isUnderWay = (job: { status: string }, pending?: string): boolean =>
  pending !== undefined || ["starting", "pausing", "stopping"].includes(job.status);

export const hasProgressBar = (job: { status: string }): boolean => !["completed", "stopped"].includes(statusOf(job));

/** For the note "Kernel busy. WORD is queued …". */
export const wordOf = (action: string): string =>
  action.replace(/_.*/, "").replace(/^./, (letter) => letter.toUpperCase());

export const queueWords = ({ queue_position: place }: { queue_position: number | null }): string =>
  place === null ? "waits for its turn" : `number ${place.toLocaleString("en-US")} in the queue`;

/** Sentences for a screen reader: which jobs changed between two states, in the words of `said`. */
export function statusChanges<C extends { id: string; name: string; status: string }>(
  before: readonly C[],
  after: readonly C[],
  said: (card: C) => string = (card) => statusWord(statusOf(card)),
): string[] {
  const old = new Map(before.map((card) => [card.id, said(card)]));
  return after
    .filter((card) => old.has(card.id) && old.get(card.id) !== said(card))
    .map((card) => `${card.name}: ${said(card)}`);
}

// ------------------------------------------------------------------------------------------------ buttons

/** Label, label while it is under way, icon. */
const ACTIONS = {
  pause: ["Pause", "Pausing…", "pause"],
  resume: ["Resume", "Resuming…", "play"],
  stop: ["Stop", "Stopping…", "stop"],
  cancel: ["Cancel", "Cancelling…", "close"],
  retry: ["Retry", "Retrying…", "retry"],
  edit: ["Edit and retry"],
  import: ["Import to SAEs", "Importing…"],
  longer: ["Train longer"],
  delete: ["Delete", "Deleting…", "trash"],
  clear: ["Clear", "Clearing…"],
  export: ["Export"],
} as const satisfies Record<string, readonly [string, string?, IconName?]>;

export interface JobButton<A extends string> {
  action: A;
  label: string;
  icon?: IconName;
  disabled?: boolean;
}

/** What is under way for a job: asked here (`pending`), or by anybody (the state says pausing, stopping). */
export function underWay<A extends string>(job: { status: string }, pending: A | undefined, stop: A): A | undefined {
  if (job.status === "pausing") return "pause" as A;
  return job.status === "stopping" ? stop : pending;
}

/** Buttons by their actions. What is under way is disabled and says so; what is being ended offers nothing else. */
export function buttonsOf<A extends string>(
  actions: readonly A[],
  busy: string | undefined,
  labels: Partial<Record<A, string>> = {},
): JobButton<A>[] {
  const ending = busy === "stop_without_saving" ? "stop" : busy;
  const shown = ending === "stop" || ending === "cancel" ? [ending as A] : actions;
  return shown.map((action) => {
    const [label, under, icon] = (ACTIONS as Record<string, readonly [string, string?, IconName?]>)[action] ?? [action];
    const now = action === ending && under !== undefined;
    return { action, label: now ? under : (labels[action] ?? label), icon, ...(now && { disabled: true }) };
  });
}
