// @vitest-environment node
/** Holds js/src/download/protocol.ts to `tests/wire/hub_*.json`, which Python writes from its own models. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type Chosen,
  type DownloadCard,
  type HubCommand,
  type HubKnownData,
  type HubListing,
  type HubPreviewData,
  type HubRowsData,
  type HubState,
  type KnownRow,
  type Problem,
  parseHub,
  type Release,
  type RepoData,
  type VariantRow,
  type WarningData,
} from "../../src/download/protocol";

const FOLDER = join(import.meta.dirname, "../../../tests/wire");
const golden = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf-8"));

/** The shape of T as a record of samples: a key that T gains or loses is a type error here. */
type Shape<T> = { [K in keyof Required<T>]: unknown };
const keys = (shape: object) => Object.keys(shape).sort();
const _ = null;

const STATE: Shape<HubState> = {
  revision: _,
  workspace: _,
  repository: _,
  downloads: _,
  devices: _,
  known: _,
  has_token: _,
  account: _,
  can_open: _,
  embedded: _,
  notice: _,
  updated_at: _,
};
const CARD: Shape<DownloadCard> = {
  id: _,
  name: _,
  status: _,
  repo_id: _,
  path: _,
  revision: _,
  bytes_done: _,
  bytes_total: _,
  fraction: _,
  rate: _,
  eta_seconds: _,
  phase: _,
  attempt: _,
  wait_seconds: _,
  queue_position: _,
  sae_id: _,
  note: _,
  created_at: _,
  finished_at: _,
};
const ROW: Shape<VariantRow> = {
  repo: _,
  path: _,
  format: _,
  size_bytes: _,
  site: _,
  layer: _,
  width: _,
  d_sae: _,
  l0: _,
  canonical: _,
  cached: _,
};
const REPO: Shape<RepoData> = {
  repo_id: _,
  revision: _,
  private: _,
  gated: _,
  license: _,
  base_models: _,
  last_modified: _,
  url: _,
};
const KNOWN: Shape<KnownRow> = {
  repo_id: _,
  name: _,
  model: _,
  sites: _,
  layers: _,
  widths: _,
  format: _,
  gated_model: _,
};
const PREVIEW: Shape<HubPreviewData> = {
  sae: _,
  device: _,
  format: _,
  architecture: _,
  d_in: _,
  d_sae: _,
  d_out: _,
  dtype: _,
  model: _,
  hook_name: _,
  layer: _,
  total_bytes: _,
  download_bytes: _,
  memory_bytes: _,
  gpu_bytes: _,
  disk_free_bytes: _,
  cached: _,
  gated_model: _,
  config: _,
  warnings: _,
};
const LISTING: Shape<HubListing> = {
  listing: _,
  text: _,
  release: _,
  repositories: _,
  total: _,
  rows: _,
  path: _,
  problems: _,
};

type Path = (string | number)[];
const at = (data: unknown, path: Path): object => path.reduce((o, key) => (o as never)[key], data) as object;

const SHAPES: [string, Path, object][] = [
  ["hub_state", [], STATE],
  ["hub_state", ["downloads", 0], CARD],
  ["hub_known_data", [], { repositories: _, releases: _ } satisfies Shape<HubKnownData>],
  ["hub_known_data", ["repositories", 0], KNOWN],
  ["hub_known_data", ["releases", 0], { id: _, label: _, model: _, repo_ids: _ } satisfies Shape<Release>],
  ["hub_listing", [], LISTING],
  ["hub_listing", ["repositories", 0], REPO],
  ["hub_listing", ["rows", 0], ROW],
  ["hub_listing", ["problems", 0], { kind: _, what: _, hint: _, suggestions: _ } satisfies Shape<Problem>],
  ["hub_rows_data", [], { listing: _, offset: _, rows: _ } satisfies Shape<HubRowsData>],
  ["hub_preview_data", [], PREVIEW],
  ["hub_preview_data", ["warnings", 0], { kind: _, what: _, hint: _ } satisfies Shape<WarningData>],
  ["hub_preview_data", ["sae"], { repo_id: _, revision: _, path: _ } satisfies Shape<Chosen>],
];

const SAE: Chosen = { repo_id: "a/b", revision: "c", path: "" };

/** Every command with every key it can have; `refresh` is that of all widgets. */
const COMMANDS: { [K in Exclude<HubCommand["kind"], "refresh">]: Required<Extract<HubCommand, { kind: K }>> } = {
  hub_known: { kind: "hub_known" },
  hub_token: { kind: "hub_token", token: "x" },
  hub_list: { kind: "hub_list", text: "a/b", release: "", again: false, asker: "" },
  hub_rows: { kind: "hub_rows", listing: 1, offset: 0, limit: 10 },
  hub_preview: { kind: "hub_preview", sae: SAE, device: "", again: false, asker: "" },
  hub_download: { kind: "hub_download", saes: [SAE], apply_b_dec_to_input: true },
  hub_action: { kind: "hub_action", action: "pause", job_ids: ["job"] },
  hub_open: { kind: "hub_open", sae_id: "sae" },
};

describe("golden messages of the download widget", () => {
  it.each(SHAPES)("%s %j has the keys of protocol.ts", (name, path, shape) => {
    expect(keys(at(golden(name), path))).toEqual(keys(shape));
  });
  it.each(Object.values(COMMANDS))("the command $kind has the keys and kinds of values of Python's", (command) => {
    const theirs = golden(command.kind);
    expect(keys({ id: "", ...command })).toEqual(keys(theirs));
    for (const [key, value] of Object.entries(command)) expect(typeof value, key).toBe(typeof theirs[key]);
  });
  it("leaves no golden file unread", () => {
    const read = new Set([...SHAPES.map(([name]) => name), ...Object.keys(COMMANDS)]);
    const files = readdirSync(FOLDER)
      .map((file) => file.replace(".json", ""))
      .filter((name) => name.startsWith("hub_"));
    expect(files.sort()).toEqual([...read].sort());
  });
  it("guards what comes as state", () => {
    expect(parseHub(golden("hub_state"))).toEqual(golden("hub_state"));
    for (const value of [null, 3, [], {}, { revision: "1", downloads: [] }]) expect(parseHub(value)).toBeNull();
    expect(parseHub({ revision: 1, downloads: [] })?.workspace).toBe("default workspace");
  });
  it("holds no token in what Python writes", () => {
    expect(golden("hub_token").token).toMatch(/^\*+$/);
  });
});
