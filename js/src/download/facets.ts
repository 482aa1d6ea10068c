/** Site × layer × width × L0: a facet is narrowed by the choices made before it; its other options stay in reach. */
import type { VariantRow } from "../lib/wire";
import { l0Words, siteWords } from "./words";

export type Facet = "site" | "layer" | "width" | "l0";
export const FACETS: readonly Facet[] = ["site", "layer", "width", "l0"];

export type Choices = readonly (readonly [Facet, string])[];

export interface Option {
  value: string;
  label: string;
  count: number;
  canonical: boolean;
}

const VALUES: Record<Facet, (row: VariantRow) => string | number | null> = {
  site: (row) => row.site,
  layer: (row) => row.layer,
  width: (row) => row.width ?? row.d_sae,
  l0: (row) => row.l0,
};

const WORDS: Record<Facet, (value: string) => string> = {
  site: siteWords,
  layer: (value) => value,
  width: (value) => value.replace(/m$/, "M"),
  l0: (value) => l0Words(Number(value)),
};

const keyIn = (row: VariantRow, facet: Facet): string | null => VALUES[facet](row)?.toString() ?? null;

export const matching = (rows: readonly VariantRow[], choices: Choices): VariantRow[] =>
  rows.filter((row) => choices.every(([facet, value]) => keyIn(row, facet) === value));

export const chosen = (choices: Choices, facet: Facet): string | null =>
  choices.find(([name]) => name === facet)?.[1] ?? null;

export function optionsOf(rows: readonly VariantRow[], facet: Facet, choices: Choices): Option[] {
  const place = choices.findIndex(([name]) => name === facet);
  const pool = matching(rows, place < 0 ? choices : choices.slice(0, place));
  const found = new Map<string, Option>();
  for (const row of pool.sort((a, b) => order(a, b, facet))) {
    const value = keyIn(row, facet);
    if (value === null) continue;
    const option = found.get(value) ?? { value, label: WORDS[facet](value), count: 0, canonical: false };
    option.count += 1;
    option.canonical ||= row.canonical;
    found.set(value, option);
  }
  return [...found.values()];
}

const SITE_ORDER = ["resid_pre", "resid_mid", "resid_post", "mlp_out", "attn_out", "transcoder"];

function order(a: VariantRow, b: VariantRow, facet: Facet): number {
  if (facet === "site") {
    const place = (site: string | null) => (SITE_ORDER.indexOf(site ?? "") + 99) % 99;
    return place(a.site) - place(b.site) || String(a.site).localeCompare(String(b.site));
  }
  if (facet === "layer") return (a.layer ?? 0) - (b.layer ?? 0);
  if (facet === "l0") return (a.l0 ?? 0) - (b.l0 ?? 0);
  return (a.d_sae ?? 0) - (b.d_sae ?? 0) || String(a.width).localeCompare(String(b.width));
}

/** `choices` after `value` (null: none) was chosen; where only the L0 is open, the canonical one is taken. */
export function choose(rows: readonly VariantRow[], choices: Choices, facet: Facet, value: string | null): Choices {
  const next = new Map(choices);
  if (value === null) next.delete(facet);
  else next.set(facet, value); // in the place of the one before
  const kept: [Facet, string][] = [];
  for (const choice of next) if (matching(rows, [...kept, choice]).length > 0) kept.push(choice);
  if (facet === "l0") return kept;
  return withCanonical(rows, kept);
}

function withCanonical(rows: readonly VariantRow[], choices: Choices): Choices {
  if (chosen(choices, "l0") !== null) return choices;
  const settled = (facet: Facet) => chosen(choices, facet) !== null || optionsOf(rows, facet, choices).length < 2;
  if (!FACETS.every((facet) => facet === "l0" || settled(facet))) return choices;
  const canonical = matching(rows, choices).filter((row) => row.canonical && row.l0 !== null);
  const only = canonical.length === 1 ? keyIn(canonical[0] as VariantRow, "l0") : null;
  return only === null ? choices : [...choices, ["l0", only]];
}
