/** What the viewer says: words and buttons derived from the data. Pure functions. */
import * as f from "../lib/format";
import {
  buttonsOf,
  isActive,
  type JobButton,
  queueWords,
  type Status,
  statusOf,
  underWay,
  statusWord as word,
} from "../lib/statuses";
import { cut, line } from "../lib/tokens";
import type * as wire from "../lib/wire";

// ------------------------------------------------------------------------------------------------ numbers

/** A share as per cent with significant digits: 0.0041 → "0.41 %", 2.1e-6 → "0.00021 %". */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return f.DASH;
  if (share === 0) return "0 %";
  const value = share * 100;
  if (Math.abs(value) < 1e-5) return `${value.toExponential(1)} %`;
  const decimals = Math.max(0, 1 - Math.floor(Math.log10(Math.abs(value)) + 1e-9));
  return `${value.toFixed(Math.min(8, decimals))} %`;
}

/** An activation, with the same digits wherever it is shown: three of them, or whole: 41.7, 0.383, 1,204. */
export function activation(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size > 0 && size < 0.1) return size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(2)));
  return size > 0 && size < 999.5 ? value.toPrecision(3) : f.decimal(value, 1);
}

export const signed = (value: number, digits = 2): string =>
  `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

/** How long the bar of a density is beside the largest one, 0 to 1: on a logarithmic scale, from half a firing on. */
export function densityBar(density: number, largest: number, tokens: number): number {
  const floor = 0.5 / Math.max(1, tokens);
  if (!(density > floor) || !(largest > floor)) return 0;
  return Math.min(1, Math.log10(density / floor) / Math.log10(largest / floor));
}

// ------------------------------------------------------------------------------------------------ the list

export const SHOWS: Record<wire.Show, string> = {
  all: "All features",
  labelled: "Labelled",
  unlabelled: "Without a label",
  starred: "Starred",
  live: "Live",
  dead: "Dead",
  dense: "Dense, above 1 %",
};

export const SORTS: Record<wire.SortFeatures, string> = {
  index: "Index",
  density: "Density",
  max: "Max",
  label: "Label",
  score: "Score",
};

/** "search “ship”, Labelled": why a list is short. */
export function queryWords(query: wire.FeatureQuery): string {
  return [
    query.search && `search “${cut(query.search, 60)}”`,
    query.show !== "all" && `show ${SHOWS[query.show].toLowerCase()}`,
  ]
    .filter(Boolean)
    .join(", ");
}

// ------------------------------------------------------------------------------------------------ labels

const SOURCES: Record<wire.FeatureLabel["source"], string> = { user: "Yours", auto: "Automatic", imported: "Imported" };

export const sourceOf = ({ source }: wire.FeatureLabel): string => SOURCES[source] ?? source;

/** "Yours, 19 Nov." */
export function labelWords(label: wire.FeatureLabel, now = Date.now()): string {
  const when = label.source === "user" && label.created_at > 0 ? f.day(label.created_at, now) : "";
  return `${[sourceOf(label), when, line(label.by)].filter(Boolean).join(", ")}.`;
}

// ------------------------------------------------------------------------------------------------ jobs

export const statusWord = (card: Pick<wire.ExtractionCard, "status">): string =>
  card.status === "cancelled" ? "Cancelled" : word(statusOf(card));

export type CardAction = wire.ExtractionAct | "open" | "export";

const BUTTONS: Record<Status, readonly CardAction[]> = {
  queued: ["cancel"],
  running: ["pause", "cancel"],
  paused: ["resume", "cancel"],
  completed: ["open", "export"],
  failed: ["resume", "delete"],
  stopped: ["resume", "delete"],
  interrupted: ["resume", "delete"],
};

export function logitsButtons(job: wire.LogitsJob): JobButton<wire.LogitsAct>[] {
  const actions = BUTTONS[statusOf(job)].filter((action) => ["pause", "resume", "cancel"].includes(action));
  return buttonsOf(actions as wire.LogitsAct[], underWay<string>(job, undefined, "cancel"));
}

/** "Logit effects: 4,096 of 16,384 features, ETA 12 s". */
export function logitsLine(job: wire.LogitsJob, live: boolean): string[] {
  const done = job.total > 0 ? [`${f.count(job.done)} of ${f.plural(job.total, "feature")}`] : [];
  switch (statusOf(job)) {
    case "queued":
      return [queueWords(job)];
    case "running":
      if (job.phase === "computing" || job.rate !== null) {
        const phase = job.phase === "computing" ? [] : [job.phase ?? ""];
        return [...done, ...phase, ...(live && job.eta_seconds !== null ? [`ETA ${f.duration(job.eta_seconds)}`] : [])];
      }
      return job.phase ? [job.phase] : done;
    default:
      return done;
  }
}

/** Whether the tables of an extraction can be asked for: it is complete, has none, and nothing computes them. */
export const mayComputeLogits = (card: wire.ExtractionCard): boolean =>
  card.has_files && statusOf(card) === "completed" && !card.has_logits && card.logits === null;

export function buttonsFor(card: wire.ExtractionCard, pending?: string): JobButton<CardAction>[] {
  const actions = card.status === "cancelled" ? (["delete"] as const) : BUTTONS[statusOf(card)];
  const offered = actions.filter((action) => card.has_files || action === "pause" || action === "cancel");
  return buttonsOf(offered, underWay(card, pending, "cancel"), { open: "Open features" });
}

export function progressLine(card: wire.ExtractionCard, live: boolean): string[] {
  const done = `${f.tokens(card.tokens_done)} of ${f.tokens(card.tokens_total)} tokens`;
  const kept = card.tokens_done > 0 ? [`${done} kept`] : [];
  switch (statusOf(card)) {
    case "queued":
      return [queueWords(card), ...kept];
    case "running": {
      const parts = [done];
      if (live && card.rate !== null && card.rate > 0) {
        parts.push(`${f.count(card.rate)} tok/s`);
        if (card.eta_seconds !== null) parts.push(`ETA ${f.duration(card.eta_seconds)}`);
      } else if (live && card.phase) parts.push(card.phase);
      if (card.seen !== null) parts.push(`${f.count(card.seen)} of ${f.count(card.d_sae)} features seen`);
      return parts;
    }
    case "completed":
      return [
        `${f.tokens(card.tokens_done)} tokens in ${f.duration(card.seconds_running)}`,
        ...(card.dead === null ? [] : [`${f.count(card.dead)} dead (${f.share(card.dead / Math.max(1, card.d_sae))})`]),
        ...(card.dense === null ? [] : [`${f.count(card.dense)} dense`]),
        ...(card.size_bytes === null ? [] : [f.bytes(card.size_bytes)]),
        ...(card.has_logits ? ["all logit effects"] : []),
      ];
    case "paused":
      return [done];
    default:
      if (card.status === "cancelled") return ["nothing is kept"];
      return kept.length ? kept : ["nothing was read yet"];
  }
}

export const anythingRuns = (cards: readonly wire.ExtractionCard[]): boolean =>
  cards.some((card) => isActive(card) || (card.logits !== null && isActive(card.logits)));

// ------------------------------------------------------------------------------------------------ exports

interface ExportChoice {
  value: wire.ExportKind;
  label: string;
  end: string;
  hint: string;
}

export const EXPORTS: readonly ExportChoice[] = [
  { value: "html", label: "Web page", end: ".html", hint: "one page that needs no notebook" },
  { value: "json", label: "JSON", end: ".json", hint: "statistics, labels and examples" },
  { value: "csv", label: "Table (CSV)", end: ".csv", hint: "one row per feature" },
  { value: "neuronpedia", label: "Neuronpedia", end: "-neuronpedia", hint: "a folder in Neuronpedia's layout" },
  { value: "vectors", label: "Decoder vectors", end: ".safetensors", hint: "one row per feature" },
  { value: "labels_csv", label: "Labels (CSV)", end: "-labels.csv", hint: "to edit and import again" },
  { value: "labels_jsonl", label: "Labels (JSON lines)", end: "-labels.jsonl", hint: "with sources and scores" },
  { value: "interpretations", label: "Interpretations", end: "-interpretations.json", hint: "labels and scores" },
];

export const slug = (name: string): string =>
  name
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "")
    .slice(0, 80) || "features";

// ------------------------------------------------------------------------------------------------ what is shown

export function changedIn(before: wire.ViewerView, after: wire.ViewerView): Partial<wire.ViewerView> {
  const names = Object.keys(after) as (keyof wire.ViewerView)[];
  const changed = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  return Object.fromEntries(changed.map((name) => [name, after[name]]));
}

export const NOWHERE: Record<Exclude<wire.Step, "here">, string> = {
  previous: "This is the first feature of the list.",
  next: "This is the last feature of the list.",
  random: "No feature matches.",
  next_live: "No live feature follows.",
};
