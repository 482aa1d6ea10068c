/** Repositories and downloads, and a stand-in for the download widget's Python half with the hub behind it. */
import {
  type Chosen,
  type DownloadCard,
  EMPTY_HUB,
  type HubCommand,
  type HubKnownData,
  type HubListing,
  type HubPreviewData,
  type HubState,
  type KnownRow,
  type VariantRow,
} from "../src/lib/wire";
import { type FakeOptions, FakeWidget, type Refusal } from "./fake";
import states from "./states.json";

export const HOSTILE = "<img src=x onerror=alert(1)>";
export const PYTHIA = "EleutherAI/sae-pythia-410m-65k";
export const GEMMA = "google/gemma-scope-2b-pt-res";
const REVISION = `9ac1b27${"0".repeat(33)}`;
const now = Date.now() / 1000;

export const DEVICES = [
  { id: "cpu", label: "cpu (2 cores)", total_bytes: null, free_bytes: 24.8e9 },
  { id: "cuda:0", label: "cuda:0 (8.0 GB)", total_bytes: 8e9, free_bytes: 6.1e9 },
];

const ROW = { repo: 0, format: "sparsify", size_bytes: 537e6, width: null, d_sae: 65_536, l0: null };
export function row(changes: Partial<VariantRow> = {}): VariantRow {
  return { ...ROW, path: "layers.6", site: "resid_post", layer: 6, canonical: false, cached: false, ...changes };
}

const PYTHIA_ROWS = [
  row(),
  row({ path: "layers.12", layer: 12, cached: true }),
  row({ path: "layers.18", layer: 18 }),
  row({ path: "layers.18.mlp", layer: 18, site: "mlp_out" }),
];

const repo = (repo_id: string, base: string) => ({
  ...{ repo_id, revision: REVISION, private: false, gated: false, license: "mit", base_models: [base] },
  last_modified: 1_741_960_000,
  url: `https://huggingface.co/${repo_id}`,
});

export function listing(changes: Partial<HubListing> = {}): HubListing {
  const rows = changes.rows ?? PYTHIA_ROWS;
  const repositories = [repo(PYTHIA, "EleutherAI/pythia-410m")];
  return {
    listing: 1,
    text: PYTHIA,
    release: "",
    repositories,
    total: rows.length,
    rows,
    path: "",
    problems: [],
    ...changes,
  };
}

const WIDTHS = ["16k", "32k", "65k", "131k", "262k", "524k", "1m"].map((width, i) => [width, 16_384 * 2 ** i] as const);

/** As Gemma Scope is laid out: all layers in two widths, layer 12 in seven. */
export function gemmaRows(repoIndex = 0, site = "resid_post", layers = 26): VariantRow[] {
  return Array.from({ length: layers }, (_, layer) => {
    const middle = layer === 12;
    const widths = WIDTHS.filter(([width]) => (middle && site === "resid_post") || width === "16k" || width === "65k");
    return widths.flatMap(([width, d_sae]) =>
      [22, 41, 82, 176, 445].map((base, i) => {
        const l0 = base + (middle ? 0 : (layer * (i + 3)) % (i + 7));
        const path = `layer_${layer}/width_${width}/average_l0_${l0}`;
        const size_bytes = (d_sae * 2 * 2304 + d_sae * 2) * 4;
        const marks = { canonical: i === 2 && width !== "1m", cached: middle && width === "16k" && i === 1 };
        return row({
          repo: repoIndex,
          path,
          format: "gemma_scope",
          size_bytes,
          site,
          layer,
          width,
          d_sae,
          l0,
          ...marks,
        });
      }),
    );
  }).flat();
}

export function gemmaListing(): HubListing {
  const names = ["res", "mlp", "att", "transcoders"].map((part) => `google/gemma-scope-2b-pt-${part}`);
  const few = gemmaRows(3, "transcoder").filter((one) => one.canonical && one.width === "16k");
  return listing({
    ...{ listing: 2, text: "", release: "google/gemma-2-2b" },
    repositories: names.map((name) => repo(name, "google/gemma-2-2b")),
    rows: [...gemmaRows(0), ...gemmaRows(1, "mlp_out"), ...gemmaRows(2, "attn_out"), ...few],
  });
}

const { repositories, releases } = states.download.known as HubKnownData;
const NAMED = ["pt-res", "pt-mlp", "9b-it-res", "GPT2-Small-SAEs-Reformatted", "Llama3_1-8B-Base-LXR-8x"];
const found = NAMED.flatMap((end) => repositories.find((one) => one.repo_id.endsWith(end)) ?? []);
/** Six of those that the package knows. */
export const KNOWN: HubKnownData = {
  repositories: [
    ...found,
    { ...(found[3] as KnownRow), repo_id: PYTHIA, name: "Pythia 410M, TopK", model: "pythia-410m" },
  ],
  releases: releases.filter((one) => ["google/gemma-2-2b", "google/gemma-2-9b-it"].includes(one.id)),
};

export function preview(sae: Chosen, changes: Partial<HubPreviewData> = {}): HubPreviewData {
  return {
    ...{ sae, device: "cuda:0", format: "sparsify", architecture: "TopK k 32", d_in: 1024, d_sae: 65_536, d_out: 1024 },
    ...{ dtype: "bfloat16", model: "EleutherAI/pythia-410m", hook_name: "blocks.6.hook_resid_post", layer: 6 },
    ...{ total_bytes: 537e6, download_bytes: 537e6, memory_bytes: 537e6, gpu_bytes: 269e6, disk_free_bytes: 41e9 },
    cached: false,
    gated_model: false,
    config: { activation: "topk", expansion_factor: 64, k: 32, normalize_decoder: true, d_in: 1024 },
    warnings: [],
    ...changes,
  };
}

const gemmaPreview = (sae: Chosen, changes: Partial<HubPreviewData>): HubPreviewData =>
  preview(sae, {
    ...{ format: "gemma_scope", architecture: "JumpReLU", d_in: 2304, d_sae: 16_384, d_out: 2304, dtype: "float32" },
    ...{ model: "google/gemma-2-2b", hook_name: "blocks.12.hook_resid_post", layer: 12, gated_model: true, config: {} },
    ...{ total_bytes: 302e6, download_bytes: 302e6, memory_bytes: 302e6, gpu_bytes: 302e6 },
    ...changes,
  });

const warning = (kind: string, what: string, hint: string) => ({ kind, what, hint });
export const GATED = warning(
  "gated_model",
  "google/gemma-2-2b is gated.",
  "The SAE files are open and can be downloaded; extracting and steering need the base model.",
);
export const MEMORY = warning(
  "memory",
  "Not enough memory on cuda:0.",
  "layer_12/width_1m/average_l0_107 needs 9.7 GB in bfloat16; 6.1 GB is free. The CPU has 24.8 GB free: it fits there, about 30 times slower.",
);
export const DISK = warning(
  "disk",
  "Not enough disk space.",
  "The download needs 9.7 GB and 4.1 GB is free. Free some space, or choose a narrower width.",
);
export const PICKLE = warning(
  "pickle",
  "A pickled file.",
  "It is read with weights_only=True: numbers and names, no code. Its shapes are known once it is downloaded.",
);

export function download(changes: Partial<DownloadCard> = {}): DownloadCard {
  const { path = "layers.6", repo_id = PYTHIA } = changes;
  return {
    ...{ id: `job_${path}`, name: [repo_id, ...path.split("/")].join(" / "), repo_id, path, revision: REVISION },
    ...{
      status: "running",
      bytes_done: 365e6,
      bytes_total: 537e6,
      fraction: 365 / 537,
      rate: 41.2e6,
      eta_seconds: 4.2,
    },
    ...{ phase: "downloading", attempt: null, wait_seconds: null, queue_position: null, sae_id: null, note: null },
    created_at: now - 20,
    finished_at: null,
    ...changes,
  };
}

const bytes = (bytes_done: number, bytes_total: number) => ({
  ...{ bytes_done, bytes_total, fraction: bytes_done / bytes_total, rate: null, eta_seconds: null },
});
const what = "Lost the connection 3 times at 96 of 151 MB.";
const note = { what, where: null, hint: "What arrived is kept: Retry goes on from there.", kind: "error" };
export const DOWNLOADS: DownloadCard[] = [
  download(),
  download({ repo_id: GEMMA, path: "layer_12/width_65k/average_l0_72", status: "paused", ...bytes(278e6, 1.21e9) }),
  download({ path: "layers.12", status: "completed", ...bytes(537e6, 537e6), sae_id: "sae_12" }),
  download({
    ...{ repo_id: "jbloom/GPT2-Small-SAEs-Reformatted", path: "blocks.6.hook_resid_pre", status: "failed", note },
    ...bytes(96e6, 151e6),
  }),
];

export function hubState(changes: Partial<HubState> = {}): HubState {
  return { ...EMPTY_HUB, revision: 1, devices: DEVICES, known: KNOWN.repositories.length, updated_at: now, ...changes };
}

export interface HubOptions extends FakeOptions<HubCommand> {
  /** ms until a repository is listed or an SAE previewed. */
  delay?: number;
  /** By the text that was asked for; a string is a failure. */
  listings?: Record<string, HubListing | string>;
  previews?: (path: string, device: string) => Partial<HubPreviewData> | string;
}

const NEXT: Record<string, string> = { pause: "paused", resume: "running", retry: "running", cancel: "cancelled" };

/** What was found; words are why nothing was. */
function orFail<T>(found: T | string): T {
  if (typeof found === "string") throw { what: found, hint: "Try again." } satisfies Refusal;
  return found;
}

export class FakeHub extends FakeWidget<HubState, HubCommand> {
  constructor(
    state: HubState,
    private readonly hub: HubOptions = {},
  ) {
    super("download", state, { delays: { hub_list: hub.delay, hub_preview: hub.delay }, ...hub });
  }

  protected answer(command: HubCommand): unknown {
    switch (command.kind) {
      case "hub_known":
        return KNOWN;
      case "hub_token":
        this.setState({ has_token: command.token !== null });
        return null;
      case "hub_list": {
        const { text = "", release = "" } = command;
        return orFail(this.hub.listings?.[release || text] ?? (release ? gemmaListing() : listing({ text })));
      }
      case "hub_rows":
        return { listing: command.listing, offset: command.offset, rows: [] };
      case "hub_preview": {
        const { sae, device = "" } = command;
        const changes = orFail(this.hub.previews?.(sae.path, device) ?? {});
        return { ...(sae.repo_id.startsWith("google/") ? gemmaPreview : preview)(sae, changes), device };
      }
      case "hub_action": {
        const { job_ids, action } = command;
        const downloads = this.state.downloads.map((card) =>
          job_ids.includes(card.id) ? { ...card, status: NEXT[action] ?? card.status } : card,
        );
        this.setState({ downloads: downloads.filter((card) => action !== "clear" || !job_ids.includes(card.id)) });
        return { job_ids };
      }
      case "hub_download":
        return { job_ids: command.saes.map((_, i) => `new_${i}`) };
      default:
        return null;
    }
  }
}
