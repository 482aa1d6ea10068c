/** Repositories and downloads, and a stand-in for the download widget's Python half with the hub behind it. */
import * as wire from "../src/lib/wire";
import { type Answers, type FakeOptions, FakeWidget, patched, type Refusal, sceneOf } from "./fake";

export { HOSTILE } from "./fake";

interface Scene {
  devices: wire.HubState["devices"];
  row: wire.VariantRow;
  pythia: Partial<wire.VariantRow>[];
  repository: wire.RepoInfo;
  preview: wire.HubPreviewData;
  gemma: Partial<wire.HubPreviewData>;
  warnings: Record<"gated" | "memory" | "disk" | "pickle", wire.HubWarning>;
  download: wire.DownloadCard;
  downloads: Partial<wire.DownloadCard>[];
}
const { scene, real } = sceneOf<Scene, { known: wire.HubKnownData }>("hub");

export const PYTHIA = "EleutherAI/sae-pythia-410m-65k";
export const GEMMA = "google/gemma-scope-2b-pt-res";
export const DEVICES = scene.devices;
export const { gated: GATED, memory: MEMORY, disk: DISK, pickle: PICKLE } = scene.warnings;

export const row = (changes: Partial<wire.VariantRow> = {}): wire.VariantRow => ({ ...scene.row, ...changes });

const repo = (repo_id: string, base: string): wire.RepoInfo => ({
  ...{ ...scene.repository, repo_id, base_models: [base], url: `https://huggingface.co/${repo_id}` },
});

export function listing(changes: Partial<wire.HubListing> = {}): wire.HubListing {
  const rows = changes.rows ?? scene.pythia.map(row);
  const repositories = [repo(PYTHIA, "EleutherAI/pythia-410m")];
  const of = { listing: 1, text: PYTHIA, release: "", path: "", problems: [] };
  return { ...of, repositories, total: rows.length, rows, ...changes };
}

const WIDTHS = ["16k", "32k", "65k", "131k", "262k", "524k", "1m"].map((width, i) => [width, 16_384 * 2 ** i] as const);

/** As Gemma Scope is laid out: all layers in two widths, layer 12 in seven. */
export function gemmaRows(repo = 0, site = "resid_post", layers = 26): wire.VariantRow[] {
  return Array.from({ length: layers }, (_, layer) => {
    const middle = layer === 12;
    const widths = WIDTHS.filter(([width]) => (middle && site === "resid_post") || width === "16k" || width === "65k");
    return widths.flatMap(([width, d_sae]) =>
      [22, 41, 82, 176, 445].map((base, i) => {
        const l0 = base + (middle ? 0 : (layer * (i + 3)) % (i + 7));
        const marks = { canonical: i === 2 && width !== "1m", cached: middle && width === "16k" && i === 1 };
        return row({
          ...{ repo, site, layer, width, d_sae, l0, format: "gemma_scope", size_bytes: d_sae * 4610 * 4 },
          ...{ path: `layer_${layer}/width_${width}/average_l0_${l0}`, ...marks },
        });
      }),
    );
  }).flat();
}

export function gemmaListing(): wire.HubListing {
  const names = ["res", "mlp", "att", "transcoders"].map((part) => `google/gemma-scope-2b-pt-${part}`);
  const few = gemmaRows(3, "transcoder").filter((one) => one.canonical && one.width === "16k");
  return listing({
    ...{ listing: 2, text: "", release: "google/gemma-2-2b" },
    repositories: names.map((name) => repo(name, "google/gemma-2-2b")),
    rows: [...gemmaRows(0), ...gemmaRows(1, "mlp_out"), ...gemmaRows(2, "attn_out"), ...few],
  });
}

const { repositories, releases } = real.known;
const NAMED = ["pt-res", "pt-mlp", "9b-it-res", "GPT2-Small-SAEs-Reformatted", "Llama3_1-8B-Base-LXR-8x"];
const found = NAMED.flatMap((end) => repositories.find((one) => one.repo_id.endsWith(end)) ?? []);
const pythia = { repo_id: PYTHIA, name: "Pythia 410M, TopK", model: "pythia-410m" };
/** Six of those that the package knows. */
const KNOWN: wire.HubKnownData = {
  repositories: [...found, { ...(found[3] as wire.KnownRepo), ...pythia }],
  releases: releases.filter((one) => ["google/gemma-2-2b", "google/gemma-2-9b-it"].includes(one.id)),
};

export const preview = (sae: wire.Chosen, changes: Partial<wire.HubPreviewData> = {}): wire.HubPreviewData => ({
  ...{ ...scene.preview, ...(sae.repo_id.startsWith("google/") && scene.gemma), sae, ...changes },
});

export function download(changes: Partial<wire.DownloadCard> = {}): wire.DownloadCard {
  const { path, repo_id } = { ...scene.download, ...changes };
  const name = [repo_id, ...path.split("/")].join(" / ");
  return { ...scene.download, id: `job_${path}`, name, ...changes };
}
export const DOWNLOADS: wire.DownloadCard[] = scene.downloads.map(download);

export function hubState(changes: Partial<wire.HubState> = {}): wire.HubState {
  const of = { revision: 1, devices: DEVICES, known: KNOWN.repositories.length, updated_at: Date.now() / 1000 };
  return { ...wire.EMPTY_HUB, ...of, ...changes };
}

export interface HubOptions extends FakeOptions<wire.HubCommand> {
  /** ms until a repository is listed or an SAE previewed. */
  delay?: number;
  /** By the text that was asked for; a string is a failure. */
  listings?: Record<string, wire.HubListing | string>;
  previews?: (path: string, device: string) => Partial<wire.HubPreviewData> | string;
}

const NEXT: Record<string, string> = { pause: "paused", resume: "running", retry: "running", cancel: "cancelled" };

/** What was found; words are why nothing was. */
function orFail<T>(found: T | string): T {
  if (typeof found === "string") throw { what: found, hint: "Try again." } satisfies Refusal;
  return found;
}

export class FakeHub extends FakeWidget<wire.HubState, wire.HubCommand> {
  constructor(
    state: wire.HubState,
    private readonly hub: HubOptions = {},
  ) {
    super("download", state, { delays: { hub_list: hub.delay, hub_preview: hub.delay }, ...hub });
  }

  protected readonly answers: Answers<wire.HubCommand> = {
    hub_known: () => KNOWN,
    hub_token: ({ token }) => this.setState({ has_token: token !== null }),
    hub_list: ({ text = "", release = "" }) =>
      orFail(this.hub.listings?.[release || text] ?? (release ? gemmaListing() : listing({ text }))),
    hub_rows: () => [],
    hub_preview: ({ sae, device = "" }) => ({
      ...{ ...preview(sae, orFail(this.hub.previews?.(sae.path, device) ?? {})), device },
    }),
    hub_action: ({ job_ids, action }) => {
      const left = this.state.downloads.filter((card) => action !== "clear" || !job_ids.includes(card.id));
      const status = NEXT[action];
      this.setState({ downloads: patched(left, job_ids, status ? { status } : {}) });
      return { job_ids };
    },
    hub_download: ({ saes }) => ({ job_ids: saes.map((_, i) => `new_${i}`) }),
  };
}
