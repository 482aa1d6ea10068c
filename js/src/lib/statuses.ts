/** The seven words and icons on the screen for the eleven states of a job. */
import type { IconName } from "./icons";

export type Status = "queued" | "running" | "paused" | "completed" | "failed" | "stopped" | "interrupted";

export const STATUS_WORDS: Record<Status, string> = {
  queued: "Queued",
  running: "Running",
  paused: "Paused",
  completed: "Completed",
  failed: "Failed",
  stopped: "Stopped",
  interrupted: "Interrupted",
};

export const STATUS_ICONS: Record<Status, IconName> = {
  queued: "clock",
  running: "play",
  paused: "pause",
  completed: "check",
  failed: "fail",
  stopped: "stop",
  interrupted: "interrupted",
};

/** What between two states counts as; *cancelled* (and what this page does not know) reads like *stopped*. */
export function statusOf({ status }: { status: string }): Status {
  if (status === "starting" || status === "pausing" || status === "stopping") return "running";
  return Object.hasOwn(STATUS_WORDS, status) ? (status as Status) : "stopped";
}
