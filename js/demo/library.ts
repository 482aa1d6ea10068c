/** A library of SAEs, and a stand-in for the browser's Python half. */
import * as wire from "../src/lib/wire";
import { type Answers, type FakeOptions, FakeWidget, patched, RECORDED, sceneOf } from "./fake";

const scene = sceneOf("library");

export function sae(changes: Partial<wire.SaeCard> = {}): wire.SaeCard {
  const base = scene.state.cards[0] as wire.SaeCard;
  return { ...base, id: `sae_${changes.name ?? base.name}`, ...changes };
}
export const SAES: wire.SaeCard[] = scene.saes.map((one) => sae(one as Partial<wire.SaeCard>));

/** Trainings that are not in the library. */
export const RUNS: wire.NotImported = { total: 3, runs: ["a", "b", "c"].map((one) => [`train_${one}`, `run-${one}`]) };

const FIELDS = ["source", "model", "layer", "architecture", "format"] as const;

function choices(cards: readonly wire.SaeCard[], field: (typeof FIELDS)[number]): wire.Choice[] {
  const shown = field === "source" || field === "format" ? (`${field}_label` as const) : field;
  const found = new Map(cards.filter((card) => card[field] !== null).map((card) => [String(card[field]), card]));
  return [...found].map(([value, card]) => {
    const count = cards.filter((one) => String(one[field]) === value).length;
    return { value, label: String(card[shown]).split(",")[0] ?? "", count };
  });
}

/** The state over these SAEs; one page of them is shown. */
export function library(
  cards: readonly wire.SaeCard[],
  changes: Partial<wire.SaeBrowserState> = {},
): wire.SaeBrowserState {
  const facets = Object.fromEntries(FIELDS.map((field) => [field, choices(cards, field)]));
  return {
    ...{ ...wire.EMPTY_BROWSER, revision: 1, query: wire.EMPTY_BROWSER.query, updated_at: Date.now() / 1000 },
    ...{ cards: cards.slice(0, 50), matching: cards.length, total: cards.length },
    matching_bytes: cards.reduce((sum, card) => sum + card.size_bytes, 0),
    facets: facets as unknown as wire.SaeBrowserState["facets"],
    export_formats: ["SAELens", "sparsify"].map((label) => ({ value: label.toLowerCase(), label, count: null })),
    ...changes,
  };
}

export class FakeLibrary extends FakeWidget<wire.SaeBrowserState, wire.SaeCommand> {
  private all: wire.SaeCard[];
  protected readonly view = "sae_browser";

  constructor(
    cards: readonly wire.SaeCard[],
    options?: FakeOptions<wire.SaeCommand>,
    changes?: Partial<wire.SaeBrowserState>,
  ) {
    super(library(cards, changes), options);
    this.all = [...cards];
  }

  protected readonly answers: Answers<wire.SaeCommand> = {
    browse_saes: ({ id: _, kind: __, ...query }) =>
      this.show({ ...this.state.query, ...(query as Partial<wire.SaeQuery>) }),
    select_saes: ({ sae_ids }) =>
      this.setState({ selected: sae_ids.flatMap((one) => this.all.filter((card) => card.id === one)) }),
    describe_sae: ({ sae_id }) => {
      const { name, tags, state } = this.find(sae_id);
      return { ...RECORDED.describe_sae, sae_id, name, tags, problem: state === "missing" ? scene.gone : null };
    },
    edit_sae: ({ sae_id, name, tags }) => this.change(sae_id, { ...(name && { name }), ...(tags && { tags }) }),
    locate_sae: ({ sae_id }) => this.change(sae_id, { state: "ok", state_note: "" }),
    export_saes: ({ sae_ids, folder }) => {
      const paths = sae_ids.map((one) => `/workspace/${folder}/${one}`);
      return { done: sae_ids, paths, problems: [] };
    },
    delete_saes: ({ sae_ids }) => {
      this.all = this.all.filter((card) => !sae_ids.includes(card.id));
      this.show(this.state.query);
      return { done: sae_ids, paths: [], problems: [] };
    },
    compare_saes: ({ first, second }) =>
      Object.assign({}, RECORDED.compare_saes, { first: this.find(first), second: this.find(second) }),
    upload_chunk: () => ({ received: this.buffers.reduce((sum, one) => sum + one.byteLength, 0) }),
    add_local: ({ name }) => this.add(name),
    finish_upload: ({ name }) => this.add(name),
    import_trainings: ({ training_ids = [] }) => {
      const { runs } = this.state.not_imported;
      const left = runs.filter(([id]) => training_ids.length > 0 && !training_ids.includes(id));
      const done = runs.filter((one) => !left.includes(one)).map(([, name]) => this.add(name).sae_id);
      this.setState({ not_imported: { total: left.length, runs: left } });
      return { done, paths: [], problems: [] };
    },
    preview_card: ({ sae_id, repo_id, token }) => ({
      ...{ account: token ? "ada" : null, exists: repo_id.endsWith("/there") },
      card: `---\nlibrary_name: saelens\n---\n\n# ${this.find(sae_id).name}\n\nA sparse autoencoder.\n${"| | |\n".repeat(20)}`,
    }),
    publish_sae: ({ repo_id }) => ({ url: `https://huggingface.co/${repo_id}` }),
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
