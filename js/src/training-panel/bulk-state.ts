/** What can be done to the checked runs, and the words for it. Pure functions. */
import * as f from "../lib/format";
import type { Outcome } from "../lib/store";
import type { BulkResult, Card } from "../lib/wire";
import { canDelete, statusOf, unsavedTokens } from "./state";

export type Bulk = "pause" | "resume" | "stop" | "retry" | "import" | "export" | "delete";

const CAN: Record<Bulk, (card: Card) => boolean> = {
  // What waits would start as soon as what runs is paused.
  pause: (card) => ["running", "queued"].includes(statusOf(card)) && !["pausing", "stopping"].includes(card.status),
  resume: (card) => card.has_files && ["paused", "stopped", "interrupted"].includes(statusOf(card)),
  stop: (card) => ["running", "queued", "paused"].includes(statusOf(card)) && card.status !== "stopping",
  retry: (card) => ["failed", "stopped"].includes(statusOf(card)),
  import: (card) => card.has_files && statusOf(card) === "completed" && card.sae_id === null,
  export: () => true,
  delete: canDelete,
};

export const able = (what: Bulk, cards: readonly Card[]): Card[] => cards.filter(CAN[what]);

const WHY: Record<Bulk, string> = {
  pause: "None of the selected trainings is running or queued",
  resume: "None of the selected trainings is paused, stopped or interrupted",
  stop: "None of the selected trainings is running, queued or paused",
  retry: "None of the selected trainings failed or was stopped",
  import: "None of the selected trainings is completed and not in SAEs yet",
  export: "Select trainings to export them",
  delete: "Running trainings must be stopped first",
};

export const whyNot = (what: Bulk, selected: readonly Card[]): string => {
  if (selected.length === 0) return "Select trainings in the list";
  const here = selected.map((card) => ({ ...card, has_files: true }));
  return able(what, here).length > 0 ? "Their files are on another machine" : WHY[what];
};

/** Have these runs something that stopping without a checkpoint would lose? */
export const losesTokens = (cards: readonly Card[]): number =>
  cards.filter((card) => statusOf(card) === "running").reduce((total, card) => total + unsavedTokens(card), 0);

const named = (cards: readonly Card[]): string =>
  cards.length === 1 ? (cards[0]?.name ?? "") : `${f.count(cards.length)} trainings`;

export function stopQuestion(
  cards: readonly Card[],
  onStop: (action: "stop" | "stop_without_saving") => void,
  name = named(cards),
) {
  const lost = losesTokens(cards);
  return {
    tone: "info",
    title: `Stop ${name}?`,
    children: lost > 0 && `${f.count(lost)} tokens are not in a checkpoint yet.`,
    answers: [
      { label: "Stop and save checkpoint", run: () => onStop("stop") },
      { label: "Stop without saving", run: () => onStop("stop_without_saving") },
    ],
    keep: "Keep running",
  } as const;
}

/** The names of these runs, and which of them the list hides; none where the title says it all. */
export function nameLines(cards: readonly Card[], shown: ReadonlySet<string>): string[] {
  if (cards.length < 2 && hiddenWords(cards, shown) === null) return [];
  return cards.map((card) => (shown.has(card.id) ? card.name : `${card.name} (hidden by the filter)`));
}

/** "6 hidden by the filter"; null where all can be seen. */
export function hiddenWords(cards: readonly Card[], shown: ReadonlySet<string>): string | null {
  const hidden = cards.filter((card) => !shown.has(card.id)).length;
  return hidden === 0 ? null : `${f.count(hidden)} hidden by the filter`;
}

/** What a button would do it to: "Stop 3 trainings, 2 hidden by the filter". */
export function bulkTitle(word: string, cards: readonly Card[], shown: ReadonlySet<string>): string {
  const hidden = hiddenWords(cards, shown);
  return `${word} ${named(cards)}${hidden === null ? "" : `, ${hidden}`}`;
}

export const UNDO = "You can undo this for ten seconds.";

/** The question before runs are deleted; `selected`: those that were to be, `group`: the name of their job. */
export function deleteQuestion(cards: readonly Card[], onDelete: () => void, selected = cards, group?: string) {
  const count = cards.reduce((total, card) => total + card.checkpoint_count, 0);
  const bytes = cards.reduce((total, card) => total + card.checkpoint_bytes, 0);
  const waiting = cards.every((card) => card.status === "queued");
  const their = group ? "their" : cards.length === 1 ? "Its" : "Their";
  const kept = selected.length - cards.length;
  const where = selected.every((card) => card.has_files) ? "running" : "running or on another machine";
  const lost = count ? `${f.plural(count, "checkpoint")} (${f.bytes(bytes)}) and metrics` : "metrics";
  return {
    title: `Delete ${group ?? named(cards)}?`,
    children: [
      group ? `Its ${f.plural(cards.length, "training")} go, and ${their}` : their,
      `${lost} go too. ${waiting ? "This cannot be undone." : UNDO}`,
      kept > 0 && (kept === 1 ? `One that is ${where} stays.` : `${kept} that are ${where} stay.`),
    ]
      .filter(Boolean)
      .join(" "),
    answers: [{ label: cards.length === 1 ? "Delete training" : "Delete trainings", run: onDelete, danger: true }],
  };
}

const DONE: Record<string, string> = {
  pause: "paused",
  resume: "resumed",
  stop: "stopped",
  stop_without_saving: "stopped",
  retry: "retried",
  delete: "deleted",
  import: "imported",
  export: "exported",
};

/** What several runs met: a title, and a line for each that was not done; null where all were. */
export function outcomeWords(action: string, done: BulkResult): Outcome | null {
  if (done.problems.length === 0) return null;
  const asked = done.done.length + done.problems.length;
  const title = `${f.count(done.problems.length)} of ${f.plural(asked, "training")} could not be ${DONE[action] ?? "done"}.`;
  const lines = done.problems.map(({ what, where, hint }) =>
    [where && !what.includes(where) && `${where}:`, what, hint].filter(Boolean).join(" "),
  );
  return { title, lines };
}

/** A folder that says what is in it: "trainings", or the run's own name. */
export const exportFolder = (cards: readonly Card[]): string =>
  cards.length === 1
    ? (cards[0]?.name ?? "").replace(/[^\w.-]+/g, "-").replace(/^[-.]+/, "") || "training"
    : "trainings";
