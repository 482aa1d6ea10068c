/** What the browser says of SAEs: pure functions. */
import * as f from "../lib/format";
import type { Outcome } from "../lib/store";
import type { BulkResult, Choice, SaeCard, SaeFacets, SaeQuery, SaeSort, SelectedSae } from "../lib/wire";

export const SORTS: Record<SaeSort, string> = {
  newest: "Newest",
  oldest: "Oldest",
  name: "Name",
  model: "Model",
  layer: "Layer",
  d_sae: "Latents (d_sae)",
  size: "Size",
};

type Facet = keyof SaeFacets;

/** The filters in the order of the screen: field, accessible name, the choice that asks for nothing, pixels. */
export const FILTERS: readonly { field: Facet; label: string; all: string; width: number }[] = [
  { field: "source", label: "Source", all: "All sources", width: 112 },
  { field: "model", label: "Model", all: "All models", width: 112 },
  { field: "layer", label: "Layer", all: "All layers", width: 94 },
  { field: "architecture", label: "Architecture", all: "All architectures", width: 136 },
  { field: "format", label: "Format", all: "All formats", width: 108 },
];

/** The choices of a filter; one that is chosen stays among them when nothing has it any more. */
export function choicesOf(facets: SaeFacets, query: SaeQuery, field: Facet): Choice[] {
  const choices = facets[field];
  const chosen = query[field];
  if (chosen === null || choices.some((choice) => choice.value === String(chosen))) return choices;
  return [...choices, { value: String(chosen), label: String(chosen), count: 0 }];
}

export const labelOf = (facets: SaeFacets, query: SaeQuery, field: Facet): string =>
  choicesOf(facets, query, field).find((choice) => choice.value === String(query[field]))?.label ??
  String(query[field]);

/** "Source is Trained and Model is google/gemma-2-2b." */
export function filterWords(facets: SaeFacets, query: SaeQuery): string {
  const parts = FILTERS.filter(({ field }) => query[field] !== null).map(
    ({ field, label }) => `${label} is ${labelOf(facets, query, field)}`,
  );
  const search = query.search.trim();
  if (search) parts.push(`${parts.length ? "the search" : "The search"} is “${search}”`);
  return `${parts.join(" and ")}.`;
}

/** The place in the model: "layer 12, residual". A hook point without words is its own name. */
export function placeWords(card: SaeCard): string {
  const layer = card.layer === null ? "" : `layer ${card.layer}`;
  const site = card.site === card.hook_name ? "" : card.site;
  return [layer, site].filter(Boolean).join(", ");
}

const DAY = 86_400;

/** "added 4 minutes ago", "added 2 days ago", "added 11 Nov", "added 11 Nov 2025". */
export function ageWords(unix: number, now = Date.now()): string {
  const seconds = Math.max(0, now / 1000 - unix);
  if (seconds < 60) return "added just now";
  if (seconds < 3600) return `added ${f.plural(Math.floor(seconds / 60), "minute")} ago`;
  if (seconds < DAY) return `added ${f.plural(Math.floor(seconds / 3600), "hour")} ago`;
  if (seconds < 7 * DAY) return `added ${f.plural(Math.floor(seconds / DAY), "day")} ago`;
  return `added ${f.day(unix, now)}`;
}

export function factsLine(card: SaeCard, now = Date.now()): string[] {
  return [
    ...(card.features_extracted > 0 ? [`${f.plural(card.features_extracted, "feature")} extracted`] : []),
    card.format_label,
    f.bytes(card.size_bytes),
    ageWords(card.created_at, now),
  ];
}

/** The line about the model; the training is told beside it. */
export function modelLine(card: SaeCard): string[] {
  const measured = [
    card.fvu === null ? "" : `${card.fvu_label} ${f.fvu(card.fvu)}`,
    card.ce_loss_score === null ? "" : `CE recovered ${f.ce(card.ce_loss_score)}`,
  ].filter(Boolean);
  return [card.model ?? "model unknown", placeWords(card), measured.join(", ")].filter(Boolean);
}

const NAMED = 4; // names in a sentence
const NAME_LENGTH = 120;

const cut = (name: string): string => (name.length > NAME_LENGTH ? `${name.slice(0, NAME_LENGTH - 1)}…` : name);

/** "a", "a and b", "a, b and c", "a, b, c and 47 more". */
export function namesOf(names: readonly string[]): string {
  const shown = (names.length > NAMED ? names.slice(0, NAMED - 1) : names).map(cut);
  const last = names.length > NAMED ? `${f.count(names.length - NAMED + 1)} more` : shown.pop();
  return shown.length ? `${shown.join(", ")} and ${last}` : (last ?? "");
}

export const othersOf = (names: readonly string[]): readonly string[] =>
  names.length > NAMED ? names.slice(NAMED - 1) : [];

const DONE = { export: "exported", delete: "deleted", import: "imported" } as const;

/** What came of it where not all worked: title, and a line for each that failed, with its reason. */
export function outcomeWords(what: keyof typeof DONE, asked: number, problems: BulkResult["problems"]): Outcome | null {
  if (problems.length === 0) return null;
  const done = DONE[what];
  const failed = problems.length;
  const title =
    failed === asked
      ? `None of the ${f.count(asked)} SAEs was ${done}.`
      : `${f.count(failed)} of ${f.count(asked)} SAEs ${failed === 1 ? "was" : "were"} not ${done}.`;
  const line = ({ what, where, hint }: BulkResult["problems"][number]) => {
    const name = where ?? "";
    return [what.startsWith(name) ? what : `${name}: ${what}`, hint].filter(Boolean).join(" ");
  };
  return { title, lines: problems.map(line) };
}

export function deleteQuestion(saes: readonly SelectedSae[], onDelete: () => void) {
  const [one] = saes;
  const bytes = saes.reduce((sum, sae) => sum + sae.size_bytes, 0);
  const features = saes.reduce((sum, sae) => sum + sae.features_extracted, 0);
  const trained = saes.filter((sae) => sae.training_id !== null).length;
  const lost = [`${f.bytes(bytes)} of weights`, ...(features > 0 ? [f.plural(features, "feature")] : [])];
  const stays = trained === 0 ? "" : ` The training record${trained === 1 ? " stays" : "s stay"}.`;
  const single = saes.length === 1 && one !== undefined;
  const several = `${f.count(saes.length)} SAEs`;
  return {
    title: single ? `Delete ${one.name}?` : `Delete ${several}: ${namesOf(saes.map((sae) => sae.name))}?`,
    children: `${lost.join(" and ")} go too.${stays} You can undo this for ten seconds.`,
    answers: [{ label: single ? "Delete SAE" : `Delete ${several}`, run: onDelete, danger: true }],
  };
}

export function stateNote(card: SaeCard): { title: string; text: string } | null {
  if (card.state === "ok") return null;
  const kept = card.features_extracted > 0 ? "Features, labels and notes" : "Its notes and settings";
  if (card.state === "missing") {
    return { title: "Weights not found.", text: `${card.state_note} ${kept} are kept and can still be read.`.trim() };
  }
  return {
    title: "Files changed.",
    text: `${card.state_note} What is loaded from it may not be what was added.`.trim(),
  };
}

export const slug = (name: string): string =>
  name
    .replace(/[^\p{L}\p{N}_.-]+/gu, "-")
    .replace(/^[-.]+|[-.]+$/g, "")
    .slice(0, 100) || "sae";

/** "1–50 of 5,000". */
export const pageWords = (offset: number, shown: number, matching: number): string =>
  `${f.count(offset + 1)}–${f.count(offset + shown)} of ${f.count(matching)}`;

/** Is what failed only that something else uses it now? It is not an error then: one has to wait. */
export const isInUse = (what: string): boolean => / is in use\b/.test(what);
