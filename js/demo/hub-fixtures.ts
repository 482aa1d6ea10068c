/** Made-up repositories and downloads in every state, for the demo page and the tests. */
import {
  type Chosen,
  type DownloadCard,
  EMPTY_HUB,
  type HubKnownData,
  type HubListing,
  type HubPreviewData,
  type HubState,
  type VariantRow,
} from "../src/lib/wire";

export const HOSTILE = "<img src=x onerror=alert(1)>";
export const PYTHIA = "EleutherAI/sae-pythia-410m-65k";
export const GEMMA = "google/gemma-scope-2b-pt-res";
const REVISION = `9ac1b27${"0".repeat(33)}`;
const now = Date.now() / 1000;

export const DEVICES = [
  { id: "cpu", label: "cpu (2 cores)", total_bytes: null, free_bytes: 24.8e9 },
  { id: "cuda:0", label: "cuda:0 (8.0 GB)", total_bytes: 8e9, free_bytes: 6.1e9 },
];

export function row(changes: Partial<VariantRow> = {}): VariantRow {
  return {
    repo: 0,
    path: "layers.6",
    format: "sparsify",
    size_bytes: 537e6,
    site: "resid_post",
    layer: 6,
    width: null,
    d_sae: 65_536,
    l0: null,
    canonical: false,
    cached: false,
    ...changes,
  };
}

export const PYTHIA_ROWS: VariantRow[] = [
  row(),
  row({ path: "layers.12", layer: 12, cached: true }),
  row({ path: "layers.18", layer: 18 }),
  row({ path: "layers.18.mlp", layer: 18, site: "mlp_out" }),
];

const repo = (repo_id: string, base: string) => ({
  repo_id,
  revision: REVISION,
  private: false,
  gated: false,
  license: "mit",
  base_models: [base],
  last_modified: 1_741_960_000,
  url: `https://huggingface.co/${repo_id}`,
});

export function listing(changes: Partial<HubListing> = {}): HubListing {
  const rows = changes.rows ?? PYTHIA_ROWS;
  return {
    listing: 1,
    text: PYTHIA,
    release: "",
    repositories: [repo(PYTHIA, "EleutherAI/pythia-410m")],
    total: rows.length,
    rows,
    path: "",
    problems: [],
    ...changes,
  };
}

const WIDTHS: [string, number][] = [
  ["16k", 16_384],
  ["32k", 32_768],
  ["65k", 65_536],
  ["131k", 131_072],
  ["262k", 262_144],
  ["524k", 524_288],
  ["1m", 1_048_576],
];

/** As Gemma Scope is laid out: all layers in two widths, layer 12 in seven. */
export function gemmaRows(repoIndex = 0, site = "resid_post", layers = 26): VariantRow[] {
  const rows: VariantRow[] = [];
  for (let layer = 0; layer < layers; layer++) {
    for (const [width, d_sae] of layer === 12 && site === "resid_post"
      ? WIDTHS
      : [WIDTHS[0], WIDTHS[2]].flatMap((w) => [w as [string, number]])) {
      const l0s = [22, 41, 82, 176, 445].map((l0, i) => l0 + ((layer * (i + 3)) % (i + 7)) * (layer === 12 ? 0 : 1));
      for (const [i, l0] of l0s.entries()) {
        rows.push(
          row({
            repo: repoIndex,
            path: `layer_${layer}/width_${width}/average_l0_${l0}`,
            format: "gemma_scope",
            size_bytes: (d_sae * 2 * 2304 + d_sae * 2) * 4,
            site,
            layer,
            width,
            d_sae,
            l0,
            canonical: i === 2 && width !== "1m",
            cached: layer === 12 && width === "16k" && i === 1,
          }),
        );
      }
    }
  }
  return rows;
}

export function gemmaListing(): HubListing {
  const names = [
    GEMMA,
    "google/gemma-scope-2b-pt-mlp",
    "google/gemma-scope-2b-pt-att",
    "google/gemma-scope-2b-pt-transcoders",
  ];
  const rows = [
    ...gemmaRows(0),
    ...gemmaRows(1, "mlp_out"),
    ...gemmaRows(2, "attn_out"),
    ...gemmaRows(3, "transcoder").filter((one) => one.canonical && one.width === "16k"),
  ];
  return listing({
    listing: 2,
    text: "",
    release: "google/gemma-2-2b",
    repositories: names.map((name) => repo(name, "google/gemma-2-2b")),
    rows,
  });
}

export const KNOWN: HubKnownData = {
  repositories: [
    known(
      GEMMA,
      "Gemma Scope 2B, residual",
      "google/gemma-2-2b",
      ["resid_post"],
      "0–25",
      ["16k", "65k"],
      "gemma_scope",
      true,
    ),
    known(
      "google/gemma-scope-2b-pt-mlp",
      "Gemma Scope 2B, MLP",
      "google/gemma-2-2b",
      ["mlp_out"],
      "0–25",
      ["16k", "65k"],
      "gemma_scope",
      true,
    ),
    known(
      "google/gemma-scope-9b-it-res",
      "Gemma Scope 9B, chat",
      "google/gemma-2-9b-it",
      ["resid_post"],
      "9, 20, 31",
      ["16k", "131k"],
      "gemma_scope",
      true,
    ),
    known(
      PYTHIA,
      "Pythia 410M, TopK",
      "EleutherAI/pythia-410m",
      ["resid_post", "mlp_out"],
      "0–23",
      ["65k"],
      "sparsify",
      false,
    ),
    known(
      "jbloom/GPT2-Small-SAEs-Reformatted",
      "GPT-2 small, residual",
      "gpt2",
      ["resid_pre"],
      "0–11",
      ["24k"],
      "saelens_legacy",
      false,
    ),
    known(
      "fnlp/Llama3_1-8B-Base-LXR-8x",
      "Llama Scope, residual 8x",
      "meta-llama/Llama-3.1-8B",
      ["resid_post"],
      "0–31",
      ["32k"],
      "llama_scope",
      true,
    ),
  ],
  releases: [
    {
      id: "google/gemma-2-2b",
      label: "Gemma 2 2B, pretrained",
      model: "google/gemma-2-2b",
      repo_ids: [GEMMA, "google/gemma-scope-2b-pt-mlp"],
    },
    {
      id: "google/gemma-2-9b-it",
      label: "Gemma 2 9B, instruction-tuned",
      model: "google/gemma-2-9b-it",
      repo_ids: ["google/gemma-scope-9b-it-res"],
    },
  ],
};

function known(
  repo_id: string,
  name: string,
  model: string,
  sites: string[],
  layers: string,
  widths: string[],
  format: string,
  gated_model: boolean,
) {
  return { repo_id, name, model, sites, layers, widths, format, gated_model };
}

export function preview(sae: Chosen, changes: Partial<HubPreviewData> = {}): HubPreviewData {
  return {
    sae,
    device: "cuda:0",
    format: "sparsify",
    architecture: "TopK k 32",
    d_in: 1024,
    d_sae: 65_536,
    d_out: 1024,
    dtype: "bfloat16",
    model: "EleutherAI/pythia-410m",
    hook_name: "blocks.6.hook_resid_post",
    layer: 6,
    total_bytes: 537e6,
    download_bytes: 537e6,
    memory_bytes: 537e6,
    gpu_bytes: 269e6,
    disk_free_bytes: 41e9,
    cached: false,
    gated_model: false,
    config: { activation: "topk", expansion_factor: 64, k: 32, normalize_decoder: true, d_in: 1024 },
    warnings: [],
    ...changes,
  };
}

export const GATED = {
  kind: "gated_model",
  what: "google/gemma-2-2b is gated.",
  hint: "The SAE files are open and can be downloaded; extracting and steering need the base model.",
};
export const MEMORY = {
  kind: "memory",
  what: "Not enough memory on cuda:0.",
  hint: "layer_12/width_1m/average_l0_107 needs 9.7 GB in bfloat16; 6.1 GB is free. The CPU has 24.8 GB free: it fits there, about 30 times slower.",
};
export const DISK = {
  kind: "disk",
  what: "Not enough disk space.",
  hint: "The download needs 9.7 GB and 4.1 GB is free. Free some space, or choose a narrower width.",
};
export const PICKLE = {
  kind: "pickle",
  what: "A pickled file.",
  hint: "It is read with weights_only=True: numbers and names, no code. Its shapes are known once it is downloaded.",
};

export function gemmaPreview(sae: Chosen, changes: Partial<HubPreviewData> = {}): HubPreviewData {
  return preview(sae, {
    format: "gemma_scope",
    architecture: "JumpReLU",
    d_in: 2304,
    d_sae: 16_384,
    d_out: 2304,
    dtype: "float32",
    model: "google/gemma-2-2b",
    hook_name: "blocks.12.hook_resid_post",
    layer: 12,
    total_bytes: 302e6,
    download_bytes: 302e6,
    memory_bytes: 302e6,
    gpu_bytes: 302e6,
    gated_model: true,
    config: {},
    ...changes,
  });
}

export function download(changes: Partial<DownloadCard> = {}): DownloadCard {
  const path = changes.path ?? "layers.6";
  const repo_id = changes.repo_id ?? PYTHIA;
  return {
    id: `job_${path}`,
    name: [repo_id, ...path.split("/")].join(" / "),
    status: "running",
    repo_id,
    path,
    revision: REVISION,
    bytes_done: 365e6,
    bytes_total: 537e6,
    fraction: 365 / 537,
    rate: 41.2e6,
    eta_seconds: 4.2,
    phase: "downloading",
    attempt: null,
    wait_seconds: null,
    queue_position: null,
    sae_id: null,
    note: null,
    created_at: now - 20,
    finished_at: null,
    ...changes,
  };
}

export const DOWNLOADS: DownloadCard[] = [
  download(),
  download({
    repo_id: GEMMA,
    path: "layer_12/width_65k/average_l0_72",
    status: "paused",
    bytes_done: 278e6,
    bytes_total: 1.21e9,
    fraction: 0.23,
    rate: null,
    eta_seconds: null,
  }),
  download({ path: "layers.12", status: "completed", bytes_done: 537e6, fraction: 1, rate: null, sae_id: "sae_12" }),
  download({
    repo_id: "jbloom/GPT2-Small-SAEs-Reformatted",
    path: "blocks.6.hook_resid_pre",
    status: "failed",
    bytes_done: 96e6,
    bytes_total: 151e6,
    fraction: 0.63,
    rate: null,
    note: {
      what: "Lost the connection 3 times at 96 of 151 MB.",
      where: null,
      hint: "What arrived is kept: Retry goes on from there.",
      kind: "error",
    },
  }),
];

export function hubState(changes: Partial<HubState> = {}): HubState {
  return { ...EMPTY_HUB, revision: 1, devices: DEVICES, known: KNOWN.repositories.length, updated_at: now, ...changes };
}
