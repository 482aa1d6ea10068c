// @vitest-environment node
/** Holds protocol-saes.ts to `tests/wire/*.json`, as protocol.test.ts does for the training panel. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type Choice,
  type Histogram,
  parseBrowser,
  type SaeBrowserState,
  type SaeCard,
  type SaeCommand,
  type SaeComparison,
  type SaeDetails,
  type SaeFacets,
  type SaeFact,
  type SaeMatch,
  type SaeQuery,
  type SaeStatistics,
  type SaesDone,
  type SelectedSae,
  type Snippet,
  type TrainingFacts,
} from "../../src/lib/protocol-saes";

const golden = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(import.meta.dirname, `../../../tests/wire/${name}.json`), "utf-8"));

/** The shape of T as a record of samples: a key that T gains or loses is a type error here. */
type Shape<T> = { [K in keyof Required<T>]: unknown };
const keys = (shape: object) => Object.keys(shape).sort();
const _ = null;

const CARD: Shape<SaeCard> = {
  id: _,
  name: _,
  source: _,
  source_label: _,
  canonical: _,
  model: _,
  layer: _,
  hook_name: _,
  site: _,
  architecture: _,
  d_in: _,
  d_sae: _,
  d_out: _,
  format: _,
  format_label: _,
  features_extracted: _,
  size_bytes: _,
  created_at: _,
  training_id: _,
  training_name: _,
  fvu: _,
  fvu_label: _,
  ce_loss_score: _,
  tags: _,
  state: _,
  state_note: _,
};
const SELECTED: Shape<SelectedSae> = {
  id: _,
  name: _,
  size_bytes: _,
  d_in: _,
  d_sae: _,
  features_extracted: _,
  training_id: _,
};
const QUERY: Shape<SaeQuery> = {
  source: _,
  model: _,
  layer: _,
  architecture: _,
  format: _,
  search: _,
  sort: _,
  offset: _,
};
const FACETS: Shape<SaeFacets> = { source: _, model: _, layer: _, architecture: _, format: _ };
const CHOICE: Shape<Choice> = { value: _, label: _, count: _ };
const FACT: Shape<SaeFact> = { label: _, value: _, code: _ };
const HISTOGRAM: Shape<Histogram> = {
  title: _,
  note: _,
  x_label: _,
  edges: _,
  counts: _,
  log: _,
  digits: _,
  zeros: _,
  zeros_label: _,
  summary: _,
};
const STATE: Shape<SaeBrowserState> = {
  revision: _,
  workspace: _,
  cards: _,
  matching: _,
  matching_bytes: _,
  total: _,
  page_size: _,
  query: _,
  facets: _,
  selected: _,
  export_formats: _,
  download_shown: _,
  extractions_shown: _,
  steering_shown: _,
  revealed: _,
  notice: _,
  updated_at: _,
};

type Path = (string | number)[];
const at = (data: unknown, path: Path): object => path.reduce((o, key) => (o as never)[key], data) as object;

const SHAPES: [string, Path, object][] = [
  ["sae_browser_state", [], STATE],
  ["sae_browser_state", ["cards", 0], CARD],
  ["sae_browser_state", ["query"], QUERY],
  ["sae_browser_state", ["facets"], FACETS],
  ["sae_browser_state", ["facets", "source", 0], CHOICE],
  ["sae_browser_state", ["selected", 0], SELECTED],
  [
    "sae_details",
    [],
    {
      sae_id: _,
      facts: _,
      settings: _,
      problem: _,
      snippets: _,
      name: _,
      notes: _,
      tags: _,
    } satisfies Shape<SaeDetails>,
  ],
  ["sae_details", ["facts", 0], FACT],
  ["sae_details", ["snippets", 0], { label: _, code: _ } satisfies Shape<Snippet>],
  ["sae_statistics", [], { sae_id: _, histograms: _, facts: _ } satisfies Shape<SaeStatistics>],
  ["sae_statistics", ["histograms", 0], HISTOGRAM],
  [
    "sae_comparison",
    [],
    { first: _, second: _, facts: _, histogram: _, matches: _, differences: _ } satisfies Shape<SaeComparison>,
  ],
  ["sae_comparison", ["matches", 0], { first: _, second: _, cosine: _ } satisfies Shape<SaeMatch>],
  ["saes_done", [], { done: _, paths: _, problems: _ } satisfies Shape<SaesDone>],
  ["training_facts", [], { training_id: _, name: _, status: _, facts: _, settings: _ } satisfies Shape<TrainingFacts>],
];

const ID = "sae_5f0c9a1e";
const ABOUT = {
  name: "mine",
  model: "gpt2",
  hook_name: "blocks.6.hook_resid_post",
  apply_b_dec_to_input: true,
};
type Own = Exclude<SaeCommand, { kind: "refresh" | "train_demo" }>;

/** Every command with every key it can have. */
const COMMANDS: { [K in Own["kind"]]: Required<Extract<Own, { kind: K }>> } = {
  browse_saes: {
    kind: "browse_saes",
    source: "gemma_scope",
    model: "gpt2",
    layer: 12,
    architecture: "jumprelu",
    format: "saelens",
    search: "",
    sort: "newest",
    offset: 50,
  },
  select_saes: { kind: "select_saes", sae_ids: [ID] },
  describe_sae: { kind: "describe_sae", sae_id: ID },
  measure_sae: { kind: "measure_sae", sae_id: ID },
  edit_sae: { kind: "edit_sae", sae_id: ID, name: "better", notes: "", tags: [] },
  locate_sae: { kind: "locate_sae", sae_id: ID, path: "/data" },
  export_saes: { kind: "export_saes", sae_ids: [ID], folder: "out", format: "saelens" },
  delete_saes: { kind: "delete_saes", sae_ids: [ID] },
  compare_saes: { kind: "compare_saes", first: ID, second: ID },
  show_training: { kind: "show_training", training_id: "train_01J8" },
  add_local: { kind: "add_local", path: "/data", ...ABOUT },
  begin_upload: { kind: "begin_upload", files: [{ name: "cfg.json", size: 512 }] },
  upload_chunk: { kind: "upload_chunk", upload_id: "u1", file: 0, offset: 0 },
  finish_upload: { kind: "finish_upload", upload_id: "u1", ...ABOUT },
  cancel_upload: { kind: "cancel_upload", upload_id: "u1" },
  show_download: { kind: "show_download", shown: true },
  show_extractions: { kind: "show_extractions", shown: true, sae_id: ID },
  show_steering: { kind: "show_steering", shown: true, sae_id: ID },
};

describe("golden messages", () => {
  it.each(SHAPES)("%s %j has the keys of protocol-saes.ts", (name, path, shape) => {
    expect(keys(at(golden(name), path))).toEqual(keys(shape));
  });
  it.each(Object.values(COMMANDS))("the command $kind has the keys and kinds of values of Python's", (command) => {
    const theirs = golden(command.kind);
    expect(keys({ id: "", ...command })).toEqual(keys(theirs));
    for (const [key, value] of Object.entries(command)) expect(typeof value, key).toBe(typeof theirs[key]);
  });
});

describe("the guard of the state", () => {
  it("accepts what Python sends", () => {
    expect(parseBrowser(golden("sae_browser_state"))).toEqual(golden("sae_browser_state"));
  });
  it("refuses what is something else, and fills in what an older Python half does not send", () => {
    for (const value of [null, 3, [], {}, golden("panel_state"), golden("hub_state")]) {
      expect(parseBrowser(value)).toBeNull();
    }
    expect(parseBrowser({ revision: 1, cards: [], matching: 0 })?.query.sort).toBe("newest");
  });
});
