/** Repositories and downloads, and a stand-in for the download widget's Python half with the hub behind it. */
import * as wire from "../src/lib/wire";
import { type Answers, type FakeOptions, FakeWidget, NEXT, patched, RECORDED, sceneOf } from "./fake";

const scene = sceneOf("download");

export const PYTHIA = "EleutherAI/sae-pythia-410m-65k";
export const GEMMA = "google/gemma-scope-2b-pt-res";
export const DEVICES = scene.devices;
export const { gated: GATED, memory: MEMORY, disk: DISK, pickle: PICKLE } = scene.warnings;

export const row = (changes: Partial<wire.VariantRow> = {}): wire.VariantRow => ({ ...scene.row, ...changes });

export function listing(changes: Partial<wire.HubListing> = {}): wire.HubListing {
  const rows = changes.rows ?? scene.pythia.map(row);
  const repositories = scene.repositories as object as wire.RepoInfo[];
  const of = { listing: 1, path: "", problems: [] };
  return { ...of, repositories, total: rows.length, rows, ...changes };
}

/** Nothing, and why. */
export const problem = (why: wire.Problem) => listing({ rows: [], repositories: [], problems: [why] });

/** As Gemma Scope is laid out: all layers in two widths, layer 12 in seven. */
export function gemmaRows(repo = 0, site = "resid_post", layers = 26): wire.VariantRow[] {
  const all = ["16k", "32k", "65k", "131k", "262k", "524k", "1m"];
  return Array.from({ length: layers }, (_, layer) => layer).flatMap((layer) => {
    const widths = layer === 12 && site === "resid_post" ? all : ["16k", "65k"];
    return widths.flatMap((width) =>
      [22, 41, 82, 176, 445].map((base, i) => {
        const d_sae = 16_384 * 2 ** all.indexOf(width);
        const l0 = base + (layer === 12 ? 0 : (layer * (i + 3)) % (i + 7));
        const path = `layer_${layer}/width_${width}/average_l0_${l0}`;
        const marks = { canonical: i === 2 && width !== "1m", cached: layer === 12 && width === "16k" && i === 1 };
        const size = { d_sae, size_bytes: d_sae * 4610 * 4 };
        return row({ repo, site, layer, width, l0, path, format: "gemma_scope", ...size, ...marks });
      }),
    );
  });
}

export function gemmaListing(): wire.HubListing {
  const few = gemmaRows(3, "transcoder").filter((one) => one.canonical && one.width === "16k");
  return listing({
    listing: 2,
    repositories: scene.gemma_repositories as object as wire.RepoInfo[],
    rows: [...gemmaRows(0), ...gemmaRows(1, "mlp_out"), ...gemmaRows(2, "attn_out"), ...few],
  });
}

export const preview = (sae: wire.ListedSae, changes: Partial<wire.Preview> = {}): wire.Preview => ({
  ...{ ...RECORDED.hub_preview, ...(sae.repo_id.startsWith("google/") && scene.gemma), ...sae, ...changes },
});

export function download(changes: Partial<wire.DownloadCard> = {}): wire.DownloadCard {
  const { path, repo_id } = { ...scene.download, ...changes };
  const name = [repo_id, ...path.split("/")].join(" / ");
  return { ...scene.download, id: `job_${path}`, name, ...changes };
}
export const DOWNLOADS: wire.DownloadCard[] = scene.downloads.map(download);

export function hubState(changes: Partial<wire.HubState> = {}): wire.HubState {
  const known = RECORDED.hub_known.repositories.length;
  const of = { revision: 1, devices: DEVICES, known, updated_at: Date.now() / 1000 };
  return { ...wire.EMPTY_HUB, ...of, ...changes };
}

export interface HubOptions extends FakeOptions<wire.HubCommand> {
  /** By the text that was asked for; a string is a failure. */
  listings?: Record<string, wire.HubListing | string>;
  previews?: (path: string, device: string) => Partial<wire.Preview> | string;
}

/** Words are why nothing was found. */
const orWhy = <T>(found: T | string) => (typeof found === "string" ? { what: found, hint: "Try again." } : found);

export class FakeHub extends FakeWidget<wire.HubState, wire.HubCommand, HubOptions> {
  protected readonly view = "download";

  protected readonly answers: Answers<wire.HubCommand> = {
    hub_token: ({ token }) => this.setState({ has_token: token !== null }),
    hub_list: ({ text = "", release = "" }) =>
      orWhy(this.options.listings?.[release || text] ?? (release ? gemmaListing() : listing())),
    hub_preview: ({ sae, device = "" }) => {
      const found = this.options.previews?.(sae.path, device) ?? {};
      return orWhy(typeof found === "string" ? found : preview(sae, found));
    },
    hub_action: ({ job_ids, action }) => {
      const left = this.state.downloads.filter((card) => action !== "clear" || !job_ids.includes(card.id));
      this.setState({ downloads: action === "clear" ? left : patched(left, job_ids, { status: NEXT[action] ?? "" }) });
    },
  };
}
