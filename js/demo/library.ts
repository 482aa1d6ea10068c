/** A library of SAEs, patched from that of a real workspace, and a stand-in for the browser's Python half. */
import {
  ALL_SAES,
  type Choice,
  EMPTY_BROWSER,
  type SaeBrowserState,
  type SaeCard,
  type SaeCommand,
  type SaeComparison,
  type SaeDetails,
  type SaeQuery,
  type SaeStatistics,
} from "../src/lib/wire";
import { type FakeOptions, FakeWidget } from "./fake";
import states from "./states.json";

const real = states.library as unknown as {
  state: SaeBrowserState;
  details: SaeDetails;
  statistics: SaeStatistics;
  comparison: SaeComparison;
};
const now = Date.now() / 1000;
export const HOSTILE = "<img src=x onerror=alert(1)>";

const LOCAL = { source: "local", source_label: "Local", training_id: null, training_name: null } as const;
const GPT2 = { model: "gpt2", layer: 6, hook_name: "blocks.6.hook_resid_post", architecture: "TopK, k 32" };
export function sae(changes: Partial<SaeCard> = {}): SaeCard {
  return {
    ...(real.state.cards[0] as SaeCard),
    id: `sae_${changes.name ?? "gpt2-l6-topk-k32"}`,
    name: "gpt2-l6-topk-k32",
    ...LOCAL,
    ...GPT2,
    ...{ d_in: 768, d_sae: 16_384, d_out: null, size_bytes: 101_000_000, created_at: now - 240 },
    ...{ features_extracted: 0, fvu: null, fvu_label: "FVU", ce_loss_score: null },
    ...changes,
  };
}

const HUB = { source: "huggingface", source_label: "Hugging Face" };
const GEMMA = { model: "google/gemma-2-2b", d_in: 2304, size_bytes: 302_000_000 };
const LAB = {
  ...{ model: "Qwen/Qwen3-0.6B", layer: 14, hook_name: "blocks.14.hook_mlp_out", site: "MLP output" },
  ...{ architecture: "TopK, k 64", d_in: 1024, d_sae: 24_576, size_bytes: 201_000_000 },
};
export const SAES: SaeCard[] = [
  sae({
    ...GEMMA,
    ...{
      name: "gemma-scope-2b-res-l12-16k-l0-82",
      source: "gemma_scope",
      source_label: "Gemma Scope",
      canonical: true,
    },
    ...{ layer: 12, hook_name: "blocks.12.hook_resid_post", architecture: "JumpReLU, L0 82" },
    features_extracted: 16_384,
    created_at: now - 120,
  }),
  sae({
    ...{ source: "trained", source_label: "Trained", training_id: "train_1", training_name: "gpt2-l6-topk-k32" },
    ...{ fvu: 0.118, fvu_label: "FVU (held out)", ce_loss_score: 0.957 },
  }),
  sae({
    ...HUB,
    ...{ name: "pythia-70m-deduped-res-sm-l3", model: "EleutherAI/pythia-70m-deduped", layer: 3 },
    ...{ hook_name: "blocks.3.hook_resid_post", architecture: "Standard, L0 54", d_in: 512, d_sae: 32_768 },
    ...{ size_bytes: 134_000_000, format: "sparsify", format_label: "sparsify", created_at: now - 3 * 3600 },
  }),
  sae({
    ...HUB,
    ...GEMMA,
    ...{ name: "gemma-2-2b-l7-transcoder", layer: 7, hook_name: "blocks.7.ln2.hook_normalized", d_out: 2560 },
    ...{ site: "normalised residual before the MLP", architecture: "JumpReLU transcoder" },
    tags: ["to read", "transcoders"],
    created_at: now - 2 * 86_400,
  }),
  sae({
    ...LAB,
    ...{ name: "lab-run-0412", state: "missing", state_note: "sae.safetensors is no longer in its folder." },
    created_at: now - 9 * 86_400,
  }),
  sae({
    ...LAB,
    ...{ name: "lab-run-0413", state: "changed", state_note: "cfg.json has 512 bytes; it had 498 when it was added." },
    created_at: now - 10 * 86_400,
  }),
];

const FIELDS = ["source", "model", "layer", "architecture", "format"] as const;
const LABELS = { source: "source_label", format: "format_label" } as const;

function choices(cards: readonly SaeCard[], field: (typeof FIELDS)[number]): Choice[] {
  const found = new Map<string, Choice>();
  for (const card of cards) {
    if (card[field] === null) continue;
    const value = String(card[field]);
    const label = String(card[field in LABELS ? LABELS[field as keyof typeof LABELS] : field]).split(",")[0] ?? "";
    found.set(value, { value, label, count: (found.get(value)?.count ?? 0) + 1 });
  }
  return [...found.values()];
}

/** The state over these SAEs; one page of them is shown. */
export function library(cards: readonly SaeCard[], changes: Partial<SaeBrowserState> = {}): SaeBrowserState {
  return {
    ...EMPTY_BROWSER,
    revision: 1,
    cards: cards.slice(0, 50),
    matching: cards.length,
    matching_bytes: cards.reduce((sum, card) => sum + card.size_bytes, 0),
    total: cards.length,
    query: ALL_SAES,
    facets: Object.fromEntries(
      FIELDS.map((field) => [field, choices(cards, field)]),
    ) as unknown as SaeBrowserState["facets"],
    export_formats: ["SAELens", "sparsify"].map((label) => ({ value: label.toLowerCase(), label, count: null })),
    updated_at: now,
    ...changes,
  };
}

const fact = (label: string, value: string, code = false) => ({ label, value, code });
const GONE = { what: "The files of the SAE are not here.", where: "/data/lab", hint: "Locate them.", kind: "error" };

function details(card: SaeCard): SaeDetails {
  const { id, name, tags, model, hook_name } = card;
  return {
    ...real.details,
    ...{ sae_id: id, name, tags, notes: "Used in the March talk.", problem: card.state === "missing" ? GONE : null },
    facts: [
      fact("Size", "302 MB on disk, float32"),
      fact("Repository", "google/gemma-scope-2b-pt-res", true),
      fact("Variant", "layer_12/width_16k/average_l0_82", true),
      fact("Base model", model ?? "–"),
      fact("Hook name", hook_name ?? "–", true),
      fact("ID", id, true),
    ],
    settings: [
      { name: "architecture", value: "jumprelu", label: "" },
      { name: "metadata.model_name", value: "google/gemma-2-2b", label: "" },
      { name: "metadata.description", value: HOSTILE, label: "" },
    ],
    snippets: [
      { label: "With saewidgets", code: `import saewidgets as sw\nsae = sw.Workspace().saes.load("${id}")` },
      { label: "With SAELens", code: 'from sae_lens import SAE\nsae = SAE.load_from_disk("/data/saes/1")' },
    ],
  };
}

const bell = (peak: number) =>
  Array.from({ length: 40 }, (_, i) => Math.round(peak * Math.exp(-(((i - 19) / 5.6) ** 2))));

export function histogram(changes: Partial<SaeStatistics["histograms"][number]> = {}) {
  return {
    ...{ title: "Decoder norms", note: "mean 1, 0.942 to 1.058", x_label: "‖W_dec row‖" },
    edges: Array.from({ length: 41 }, (_, i) => 0.94 + (0.12 * i) / 40),
    counts: bell(1180),
    ...{ log: false, digits: 3, zeros: 0, zeros_label: "" },
    summary: "Decoder norms: 16,384 latents by the norm of their decoder row, from 0.942 to 1.058, mean 1.",
    ...changes,
  };
}

export const HISTOGRAMS = [
  histogram(),
  histogram({
    ...{ title: "Feature density", note: "mean 3.1e-4", x_label: "share of tokens", counts: bell(1210) },
    edges: Array.from({ length: 41 }, (_, i) => 10 ** (-6 + (5 * i) / 40)),
    ...{ log: true, digits: 2, zeros: 412, zeros_label: "never" },
    summary: "Feature density: 16,384 latents by the share of tokens on which they fire. 412 are 0.",
  }),
  histogram({ title: "Encoder norms", note: "mean 0.84, 0.5 to 1.2", x_label: "‖W_enc column‖" }),
  histogram({ title: "Thresholds", note: "mean 2.31, 0.4 to 6.1", x_label: "threshold" }),
];

const FACTS = [
  fact("Features extracted", "16,384 of 16,384"),
  fact("L0", "82.1 active per token"),
  fact("Norm of b_dec", "3.25"),
];

export interface LibraryOptions extends FakeOptions<SaeCommand> {
  /** ms until a piece of an upload is answered. */
  slow?: number;
  /** SAEs that are in use: they are not deleted. */
  refuses?: readonly string[];
}

export class FakeLibrary extends FakeWidget<SaeBrowserState, SaeCommand> {
  private all: SaeCard[];

  constructor(
    cards: readonly SaeCard[],
    private readonly how: LibraryOptions = {},
    changes: Partial<SaeBrowserState> = {},
  ) {
    super("sae_browser", library(cards, changes), { delays: { upload_chunk: how.slow }, ...how });
    this.all = [...cards];
  }

  protected answer(command: SaeCommand & { id: string }): unknown {
    switch (command.kind) {
      case "browse_saes": {
        const { id: _, kind: __, ...query } = command;
        return this.show({ ...this.state.query, ...(query as Partial<SaeQuery>) });
      }
      case "select_saes":
        this.setState({ selected: command.sae_ids.flatMap((one) => this.all.filter((card) => card.id === one)) });
        return null;
      case "describe_sae":
        return details(this.find(command.sae_id));
      case "measure_sae":
        return { sae_id: command.sae_id, histograms: HISTOGRAMS, facts: FACTS };
      case "edit_sae": {
        const { name, tags } = command;
        return this.change(command.sae_id, { ...(name && { name }), ...(tags && { tags }) });
      }
      case "locate_sae":
        return this.change(command.sae_id, { state: "ok", state_note: "" });
      case "export_saes":
        return {
          done: command.sae_ids,
          paths: command.sae_ids.map((one) => `/workspace/${command.folder}/${one}`),
          problems: [],
        };
      case "delete_saes": {
        const refused = command.sae_ids.filter((one) => this.how.refuses?.includes(one));
        const done = command.sae_ids.filter((one) => !refused.includes(one));
        const names = refused.map((one) => this.find(one).name);
        const problems = names.map((where) => ({ what: `${where} is in use.`, where, hint: "Wait.", kind: "error" }));
        this.all = this.all.filter((card) => !done.includes(card.id));
        this.show(this.state.query);
        return { done, paths: [], problems };
      }
      case "compare_saes":
        return this.comparison(command.first, command.second);
      case "show_training": {
        const settings = [{ name: "sae.k", value: "32", label: "" }];
        return {
          training_id: command.training_id,
          name: "gpt2-l6-topk-k32",
          status: "completed",
          facts: FACTS,
          settings,
        };
      }
      case "add_local":
      case "finish_upload": {
        const made = sae({ name: command.name ?? "added-one", created_at: Date.now() / 1000 });
        this.all = [made, ...this.all];
        this.show(this.state.query);
        return { sae_id: made.id };
      }
      case "train_demo":
        return { training_id: "train_9", name: "demo-l1-topk-k32" };
      case "show_extractions":
        return this.setState({ extractions_shown: command.shown }) ?? null;
      case "show_steering":
        return this.setState({ steering_shown: command.shown }) ?? null;
      case "show_download":
        return this.setState({ download_shown: command.shown }) ?? null;
      default:
        return null;
    }
  }

  private find(id: string): SaeCard {
    return this.all.find((card) => card.id === id) ?? sae({ id });
  }

  private change(sae_id: string, change: Partial<SaeCard>): { sae_id: string } {
    this.all = this.all.map((card) => (card.id === sae_id ? { ...card, ...change } : card));
    this.show(this.state.query);
    return { sae_id };
  }

  private show(query: SaeQuery): null {
    const matches = (card: SaeCard) =>
      FIELDS.every((field) => query[field] === null || card[field] === query[field]) &&
      `${card.name} ${card.model}`.includes(query.search);
    const found = this.all.filter(matches);
    const { facets } = library(this.all);
    const selected = this.state.selected.filter((one) => this.all.some((card) => card.id === one.id));
    const cards = found.slice(query.offset, query.offset + 50);
    const { matching, matching_bytes } = library(found);
    this.setState({ query, cards, matching, matching_bytes, total: this.all.length, facets, selected });
    return null;
  }

  private comparison(first: string, second: string): SaeComparison {
    return {
      ...real.comparison,
      first: this.find(first),
      second: this.find(second),
      facts: [fact("Mean max cosine", "0.612")],
      matches: Array.from({ length: 50 }, (_, i) => ({ first: i * 797, second: i * 131, cosine: 0.992 - i * 0.006 })),
      histogram: histogram({ title: "Largest cosine", note: "mean 0.612", x_label: "cosine" }),
      differences: [
        ["Architecture", "TopK, k 32", "BatchTopK, k 32"],
        ["Source", "Trained", "Local"],
      ],
    };
  }
}
