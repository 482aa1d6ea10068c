// @vitest-environment node
/** Holds js/src/lib/protocol-steering.ts to `tests/wire/steering_*.json`, which Python writes from its own models. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as p from "../../src/lib/protocol-steering";

const FOLDER = join(import.meta.dirname, "../../../tests/wire");
const golden = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf-8"));

/** The shape of T as a record of samples: a key that T gains or loses is a type error here. */
type Shape<T> = { [K in keyof Required<T>]: unknown };
const keys = (shape: object) => Object.keys(shape).sort();
const _ = null;

const ROW: Shape<p.SteeringRow> = {
  key: _,
  sae_id: _,
  sae: _,
  index: _,
  label: _,
  mode: _,
  strength: _,
  a_max: _,
  usual: _,
  basis: _,
  pending: _,
  problem: _,
};
const RUN: Shape<p.SteeringRun> = { number: _, kind: _, status: _, phase: _, texts: _, seconds: _, problem: _ };
const LIVE: Shape<p.LiveText> = { run: _, strength: _, tokens: _, text: _ };
const SAE: Shape<p.SteeringSae> = { id: _, name: _, model: _, hook_name: _, d_sae: _ };
const HITS: Shape<p.SteeringHits> = { sae_id: _, text: _, hits: _, note: _ };
const TEXT: Shape<p.SteeringText> = {
  pieces: _,
  changed: _,
  finish: _,
  perplexity: _,
  repetition: _,
  kl_first: _,
  change_ratio: _,
};
const SWEPT: Shape<p.SweptText> = { strength: _, text: _, perplexity: _, repetition: _, change_ratio: _ };
const TEXTS: Shape<p.SteeringTexts> = {
  number: _,
  prompt_pieces: _,
  baseline: _,
  steered: _,
  first_difference: _,
  sweep: _,
  swept: _,
  swept_name: _,
  notes: _,
  seconds: _,
  stopped: _,
};
const NEXT: Shape<p.SteeringNextData> = { number: _, text: _, token: _, piece: _, rows: _ };
const PRESET: Shape<p.PresetRow> = { name: _, features: _, saes: _, prompt: _, saved_at: _, problem: _ };

type Path = (string | number)[];
const at = (data: unknown, path: Path): object => path.reduce((o, key) => (o as never)[key], data) as object;

const SHAPES: [string, Path, object][] = [
  ["steering_state", [], p.EMPTY_STEERING],
  ["steering_state", ["saes", 0], SAE],
  ["steering_state", ["rows", 0], ROW],
  ["steering_state", ["settings"], p.EMPTY_STEERING.settings],
  ["steering_state", ["gauge"], p.EMPTY_STEERING.gauge],
  ["steering_state", ["run"], RUN],
  ["steering_state", ["run", "texts", 0], LIVE],
  ["steering_hits", [], HITS],
  ["steering_hits", ["hits", 0], { index: _, label: _ } satisfies Shape<p.SteeringHit>],
  ["steering_tokens_data", [], { prompt: _, tokens: _ } satisfies Shape<p.SteeringTokensData>],
  ["steering_tokens_data", ["tokens", 0], { piece: _, bos: _ } satisfies Shape<p.PromptPiece>],
  ["steering_texts", [], TEXTS],
  ["steering_texts", ["baseline"], TEXT],
  ["steering_texts", ["sweep", 0], SWEPT],
  ["steering_next_data", [], NEXT],
  ["steering_next_data", ["rows", 0], { piece: _, baseline: _, steered: _ } satisfies Shape<p.NextToken>],
  ["steering_presets_data", [], { presets: _ } satisfies Shape<p.SteeringPresetsData>],
  ["steering_presets_data", ["presets", 0], PRESET],
];

type Commands = { [K in p.SteeringCommand["kind"]]: Required<Extract<p.SteeringCommand, { kind: K }>> };
const COMMANDS: Omit<Commands, "refresh"> = {
  steering_edit: { kind: "steering_edit", rows: [], settings: p.EMPTY_STEERING.settings },
  steering_add: { kind: "steering_add", sae_id: "", index: 1, label: "" },
  steering_demo: { kind: "steering_demo" },
  steering_close: { kind: "steering_close" },
  steering_remove: { kind: "steering_remove", key: "" },
  steering_choose: { kind: "steering_choose", sae_id: "" },
  steering_find: { kind: "steering_find", sae_id: "", text: "" },
  steering_tokens: { kind: "steering_tokens", prompt: "" },
  steering_generate: { kind: "steering_generate", what: "sweep" },
  steering_stop: { kind: "steering_stop" },
  steering_read: { kind: "steering_read", what: "sweep" },
  steering_next: { kind: "steering_next", number: 1, text: "steered", token: 0 },
  steering_copy: { kind: "steering_copy" },
  steering_presets: { kind: "steering_presets" },
  steering_preset: { kind: "steering_preset", action: "save", name: "", replace: true },
  steering_browse: { kind: "steering_browse" },
};

describe("golden messages of the steering widget", () => {
  it.each(SHAPES)("%s %j has the keys of protocol-steering.ts", (name, path, shape) => {
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
      .filter((name) => name.startsWith("steering_"));
    expect(files.sort()).toEqual([...read].sort());
  });
  it("begins where Python begins", () => {
    const { settings } = golden("steering_edit") as unknown as { settings: p.SteeringSettings };
    expect(p.EMPTY_STEERING.settings).toEqual(settings);
  });
  it("guards what comes as state", () => {
    expect(p.parseSteering(golden("steering_state"))).toEqual(golden("steering_state"));
    for (const value of [null, 3, [], {}, { revision: "1", rows: [] }]) expect(p.parseSteering(value)).toBeNull();
    expect(p.parseSteering({ revision: 1, rows: [] })?.workspace).toBe("default workspace");
  });
});
