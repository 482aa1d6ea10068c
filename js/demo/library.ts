/** A library of SAEs, and a stand-in for the browser's Python half. */
import * as wire from "../src/lib/wire";
import { type Answers, type FakeOptions, FakeWidget, patched, sceneOf } from "./fake";

export { HOSTILE } from "./fake";

interface Scene {
  base: Partial<wire.SaeCard>;
  saes: Partial<wire.SaeCard>[];
  details: Partial<wire.SaeDetails>;
  gone: wire.SaeDetails["problem"];
  histograms: wire.SaeStatistics["histograms"];
  facts: wire.SaeStatistics["facts"];
  comparison: Partial<wire.SaeComparison>;
}
interface Real {
  state: wire.SaeBrowserState;
  details: wire.SaeDetails;
  comparison: wire.SaeComparison;
}
const { scene, real } = sceneOf<Scene, Real>("library");

export function sae(changes: Partial<wire.SaeCard> = {}): wire.SaeCard {
  const base = { ...(real.state.cards[0] as wire.SaeCard), ...scene.base };
  return { ...base, id: `sae_${changes.name ?? base.name}`, ...changes };
}
export const SAES: wire.SaeCard[] = scene.saes.map(sae);
const HISTOGRAMS = scene.histograms;
export const histogram = (changes: Partial<wire.SaeStatistics["histograms"][number]> = {}) => ({
  ...{ ...(HISTOGRAMS[0] as wire.SaeStatistics["histograms"][number]), ...changes },
});

const FIELDS = ["source", "model", "layer", "architecture", "format"] as const;
const LABELS = { source: "source_label", format: "format_label" } as const;

function choices(cards: readonly wire.SaeCard[], field: (typeof FIELDS)[number]): wire.Choice[] {
  const found = new Map<string, wire.Choice>();
  for (const card of cards) {
    if (card[field] === null) continue;
    const value = String(card[field]);
    const label = String(card[field in LABELS ? LABELS[field as keyof typeof LABELS] : field]).split(",")[0] ?? "";
    found.set(value, { value, label, count: (found.get(value)?.count ?? 0) + 1 });
  }
  return [...found.values()];
}

/** The state over these SAEs; one page of them is shown. */
export function library(
  cards: readonly wire.SaeCard[],
  changes: Partial<wire.SaeBrowserState> = {},
): wire.SaeBrowserState {
  const facets = Object.fromEntries(FIELDS.map((field) => [field, choices(cards, field)]));
  return {
    ...{ ...wire.EMPTY_BROWSER, revision: 1, query: wire.ALL_SAES, updated_at: Date.now() / 1000 },
    ...{ cards: cards.slice(0, 50), matching: cards.length, total: cards.length },
    matching_bytes: cards.reduce((sum, card) => sum + card.size_bytes, 0),
    facets: facets as unknown as wire.SaeBrowserState["facets"],
    export_formats: ["SAELens", "sparsify"].map((label) => ({ value: label.toLowerCase(), label, count: null })),
    ...changes,
  };
}

export interface LibraryOptions extends FakeOptions<wire.SaeCommand> {
  /** ms until a piece of an upload is answered. */
  slow?: number;
  /** SAEs that are in use: they are not deleted. */
  refuses?: readonly string[];
}

export class FakeLibrary extends FakeWidget<wire.SaeBrowserState, wire.SaeCommand> {
  private all: wire.SaeCard[];

  constructor(
    cards: readonly wire.SaeCard[],
    private readonly how: LibraryOptions = {},
    changes: Partial<wire.SaeBrowserState> = {},
  ) {
    super("sae_browser", library(cards, changes), { delays: { upload_chunk: how.slow }, ...how });
    this.all = [...cards];
  }

  protected readonly answers: Answers<wire.SaeCommand> = {
    browse_saes: ({ id: _, kind: __, ...query }) =>
      this.show({ ...this.state.query, ...(query as Partial<wire.SaeQuery>) }),
    select_saes: ({ sae_ids }) =>
      this.setState({ selected: sae_ids.flatMap((one) => this.all.filter((card) => card.id === one)) }),
    describe_sae: ({ sae_id }) => {
      const { id, name, tags, state } = this.find(sae_id);
      return {
        ...real.details,
        ...scene.details,
        sae_id: id,
        name,
        tags,
        problem: state === "missing" ? scene.gone : null,
      };
    },
    measure_sae: ({ sae_id }) => ({ sae_id, histograms: HISTOGRAMS, facts: scene.facts }),
    edit_sae: ({ sae_id, name, tags }) => this.change(sae_id, { ...(name && { name }), ...(tags && { tags }) }),
    locate_sae: ({ sae_id }) => this.change(sae_id, { state: "ok", state_note: "" }),
    export_saes: ({ sae_ids, folder }) => ({
      ...{ done: sae_ids, paths: sae_ids.map((one) => `/workspace/${folder}/${one}`), problems: [] },
    }),
    delete_saes: ({ sae_ids }) => {
      const refused = sae_ids.filter((one) => this.how.refuses?.includes(one));
      const done = sae_ids.filter((one) => !refused.includes(one));
      const names = refused.map((one) => this.find(one).name);
      const problems = names.map((where) => ({ what: `${where} is in use.`, where, hint: "Wait.", kind: "error" }));
      this.all = this.all.filter((card) => !done.includes(card.id));
      this.show(this.state.query);
      return { done, paths: [], problems };
    },
    compare_saes: ({ first, second }) => ({
      ...{ ...real.comparison, ...scene.comparison, first: this.find(first), second: this.find(second) },
    }),
    show_training: ({ training_id }) => ({
      ...{ training_id, name: "gpt2-l6-topk-k32", status: "completed", facts: scene.facts },
      settings: [{ name: "sae.k", value: "32", label: "" }],
    }),
    add_local: ({ name }) => this.add(name),
    finish_upload: ({ name }) => this.add(name),
    show_below: ({ what, shown }) => this.setState({ below: shown ? what : "" }),
  };

  private add(name: string | null | undefined): { sae_id: string } {
    const made = sae({ name: name ?? "added-one", created_at: Date.now() / 1000 });
    this.all = [made, ...this.all];
    this.show(this.state.query);
    return { sae_id: made.id };
  }

  private find(id: string): wire.SaeCard {
    return this.all.find((card) => card.id === id) ?? sae({ id });
  }

  private change(sae_id: string, change: Partial<wire.SaeCard>): { sae_id: string } {
    this.all = patched(this.all, [sae_id], change);
    this.show(this.state.query);
    return { sae_id };
  }

  private show(query: wire.SaeQuery): void {
    const matches = (card: wire.SaeCard) =>
      FIELDS.every((field) => query[field] === null || card[field] === query[field]) &&
      `${card.name} ${card.model}`.includes(query.search);
    const found = this.all.filter(matches);
    const selected = this.state.selected.filter((one) => this.all.some((card) => card.id === one.id));
    const cards = found.slice(query.offset, query.offset + 50);
    const { matching, matching_bytes } = library(found);
    const { facets } = library(this.all);
    this.setState({ query, cards, matching, matching_bytes, total: this.all.length, facets, selected });
  }
}
