import { describe, expect, it } from "vitest";
import { CARDS, card } from "../../demo/runs";
import { statusChanges } from "../../src/lib/statuses";
import type { Card } from "../../src/lib/wire";
import {
  buttonsFor,
  countByStatus,
  deviceWords,
  hasProgressBar,
  heldOrder,
  matches,
  originWords,
  placeOf,
  progressLine,
  shownCards,
  startsIn,
  statusOf,
  stopAsks,
  unsavedTokens,
} from "../../src/training-panel/state";

const labels = (changes: Parameters<typeof card>[0], pending?: Parameters<typeof buttonsFor>[1]) =>
  buttonsFor(card(changes), pending).map((item) => item.label + (item.disabled ? " (disabled)" : ""));

it("is found by whose it is, or where", () =>
  expect(matches(card({ place: ["by ada on gpu-box"] }), "Ada gpu")).toBe(true));

describe("status and buttons", () => {
  it("has seven words for the eleven states of a job", () => {
    const words = ["queued", "starting", "running", "pausing", "paused", "stopping", "completed", "failed", "stopped"];
    expect([...words, "cancelled", "interrupted"].map((status) => statusOf({ status }))).toEqual([
      "queued",
      "running",
      "running",
      "running",
      "paused",
      "running",
      "completed",
      "failed",
      "stopped",
      "stopped",
      "interrupted",
    ]);
  });
  it.each([
    ["queued", ["Stop"]],
    ["running", ["Pause", "Stop"]],
    ["paused", ["Resume", "Stop"]],
    ["completed", ["Import to SAEs", "Train longer", "Delete"]],
    ["failed", ["Retry", "Edit and retry"]],
    ["stopped", ["Resume", "Retry", "Delete"]],
    ["interrupted", ["Resume", "Delete"]],
    ["pausing", ["Pausing… (disabled)", "Stop"]],
    ["stopping", ["Stopping… (disabled)"]],
  ])("offers on %s: %j", (status, expected) => expect(labels({ status })).toEqual(expected));
  it.each([
    ["queued", ["Stop"]],
    ["running", ["Pause", "Stop"]],
    ["paused", ["Stop"]],
    ["completed", []],
    ["failed", ["Retry", "Edit and retry"]],
    ["stopped", ["Retry"]],
    ["interrupted", []],
  ])("offers on %s without its files: %j", (status, expected) =>
    expect(labels({ status, has_files: false })).toEqual(expected),
  );
  it("does not offer to import twice", () =>
    expect(labels({ status: "completed", sae_id: "sae_1" })).toEqual(["Open SAE", "Train longer", "Delete"]));
  it("shows what was just asked before the state does", () => {
    expect(labels({ status: "running" }, "pause")).toEqual(["Pausing… (disabled)", "Stop"]);
    expect(labels({ status: "running" }, "stop_without_saving")).toEqual(["Stopping… (disabled)"]);
  });
});

describe("stopping", () => {
  it("asks only when tokens would be lost", () => {
    expect(unsavedTokens(card({ tokens_done: 100, last_checkpoint_tokens: 40 }))).toBe(60);
    expect(unsavedTokens(card({ tokens_done: 100, last_checkpoint_tokens: null }))).toBe(100);
    expect(stopAsks(card({ tokens_done: 100, last_checkpoint_tokens: 40 }))).toBe(true);
    expect(stopAsks(card({ tokens_done: 100, last_checkpoint_tokens: 100 }))).toBe(false);
    expect(stopAsks(card({ status: "queued", tokens_done: 100, last_checkpoint_tokens: null }))).toBe(false);
    expect(stopAsks(card({ status: "paused" }))).toBe(false);
  });
});

describe("the line below the progress bar", () => {
  it("says rate and ETA of a running one, or its phase while it has no rate", () => {
    expect(progressLine(card())).toEqual([
      ...["6.2M of 10M tokens", "48,210 tok/s", "ETA 1 min 19 s", "2 min 10 s elapsed", "cuda:0"],
    ]);
    expect(progressLine(card({ phase: "computing activations, 45 %" }))).toContain("computing activations, 45 %");
    expect(progressLine(card(), { live: false })).toEqual(["6.2M of 10M tokens", "cuda:0"]);
    expect(
      progressLine(
        card({ status: "starting", rate: null, tokens_done: 0, phase: "loading model", seconds_running: 0 }),
      ),
    ).toEqual(["0 of 10M tokens", "loading model", "cuda:0"]);
  });
  it.each([
    [{ step: 3, seconds_running: 4 }, false],
    [{ step: 20, seconds_running: 4 }, true],
    [{ step: 3, seconds_running: 5 }, true],
  ])("foretells the end only after 5 s or 20 steps: %o", (at, told) => {
    expect(progressLine(card(at)).includes("ETA 1 min 19 s")).toBe(told);
  });
  it("says when a run was paused", () => {
    const at = new Date(2026, 10, 20, 14, 2).getTime();
    const paused = card({ status: "paused", step: 1001, tokens_done: 4_100_096, heartbeat_at: at / 1000 });
    expect(progressLine(paused, { now: at + 60_000 })).toEqual(["4.1M of 10M tokens", "paused 14:02 at step 1,001"]);
    expect(progressLine({ ...paused, heartbeat_at: null })[1]).toBe("paused at step 1,001");
  });
  it("says the place in the queue", () => {
    const waiting = { status: "queued", tokens_done: 0 };
    expect(progressLine(card({ ...waiting, queue_position: 1 }))).toEqual(["first in the queue of cuda:0"]);
    expect(progressLine(card({ ...waiting, queue_position: 7 }))).toEqual(["number 7 in the queue of cuda:0"]);
    expect(progressLine(card({ ...waiting, queue_position: null }))).toEqual(["waits for cuda:0"]);
  });
  it("has no bar once finished, and keeps it after a failure", () => {
    const statuses = ["running", "failed", "interrupted", "completed", "stopped", "queued"];
    expect(statuses.filter((status) => hasProgressBar(card({ status })))).toEqual(["running", "failed", "interrupted"]);
  });
});

describe("the list", () => {
  it("counts by status", () => {
    expect(countByStatus(CARDS)).toMatchObject({ all: 8, running: 1, completed: 2, failed: 1, interrupted: 1 });
  });
  it("searches name, model, hook and architecture, all words", () => {
    const transcoder = card({ hook_name: "blocks.1.mlp.hook_in", hook_name_out: "blocks.1.hook_mlp_out" });
    expect(shownCards([transcoder, card()], "all", "mlp_out", "active")).toEqual([transcoder]);
    expect(placeOf(transcoder)).toBe("blocks.1.mlp.hook_in → blocks.1.hook_mlp_out");
    const names = (search: string) => shownCards(CARDS, "all", search, "active").map((one) => one.name);
    expect(names("pythia MLP_out")).toEqual(["pythia-70m-l3-standard"]);
    expect(names("jumprelu blocks.6")).toEqual(["gpt2-l6-jumprelu"]);
    expect(names("nothing like it")).toEqual([]);
  });
  it("sorts", () => {
    const first = (sort: Parameters<typeof shownCards>[3]) => shownCards(CARDS, "all", "", sort).map((one) => one.name);
    expect(first("active").slice(0, 3)).toEqual(["gpt2-l6-topk-k32", "gpt2-l6-jumprelu", "gpt2-l6-topk-k48"]);
    expect(first("newest")[0]).toBe("gpt2-l6-topk-k48");
    expect(first("fvu").slice(0, 2)).toEqual(["demo-l2-topk-k24", "gpt2-l8-topk-k64"]);
    expect(first("l0").at(0)).toBe("demo-l2-topk-k24");
    // without a value, or NaN: at the end
    expect(new Set(first("fvu").slice(-2))).toEqual(new Set(["gpt2-l6-topk-k48", "pythia-70m-l3-standard"]));
  });
  it("shows who waits in the order in which they start", () => {
    const waiting = [3, 1, null, 2].map((queue_position, i) =>
      card({ name: `q${queue_position}`, status: "queued", queue_position, created_at: i }),
    );
    expect(shownCards(waiting, "all", "", "active").map((one) => one.name)).toEqual(["q1", "q2", "q3", "qnull"]);
  });
  it("holds an order: what is there stays, what is gone goes, what is new comes last", () => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => card({ name })) as [Card, Card, Card, Card];
    const held = [c.id, "gone", a.id, b.id];
    expect(heldOrder(held, [a, b, c, d], [d, a, b]).map((one) => one.name)).toEqual(["c", "a", "b", "d"]);
  });
  it("tells which statuses changed, not which runs are new", () => {
    const before = [card(), card({ name: "b", status: "paused" })];
    const after = [card({ status: "completed" }), card({ name: "b", status: "paused" }), card({ name: "c" })];
    expect(statusChanges(before, after)).toEqual(["gpt2-l6-topk-k32: Completed"]);
  });
});

it("says what is free on the device runs go to", () => {
  const cpu = { id: "cpu", label: "cpu (2 cores)", total_bytes: null, free_bytes: null };
  const gpu = { id: "cuda:0", label: "cuda:0", total_bytes: 8e9, free_bytes: 6.1e9 };
  expect(deviceWords([cpu, gpu])).toBe("cuda:0, 6.1 of 8.0 GB free");
  expect(deviceWords([cpu, { ...gpu, free_bytes: 6e8 }])).toBe("cuda:0, 600 MB of 8.0 GB free");
  expect(deviceWords([cpu])).toBe("cpu (2 cores)");
  expect(deviceWords([])).toBeNull();
});

it("says what a run goes on from", () => {
  expect(originWords(card())).toBeNull();
  expect(originWords(card({ continued_from: "first", continued_step: 1500 }))).toBe("goes on from first at step 1,500");
  expect(originWords(card({ retry_of: "first" }))).toBe("retry of first");
  expect(originWords(card({ continued_step: 8 }))).toBe("goes on from a deleted run at step 8");
});

it("says when the first that waits begins, where that can be told", () => {
  const first = card({ status: "queued", queue_position: 1, tokens_done: 0, device: "cuda:0" });
  const running = card({ eta_seconds: 79 });
  expect(startsIn(first, [first, running])).toBe(79);
  expect(startsIn(first, [first, running, card({ eta_seconds: 90 }), card({ eta_seconds: 5, device: "cpu" })])).toBe(
    90,
  );
  expect(startsIn(first, [first])).toBeNull();
  expect(startsIn(first, [first, card({ eta_seconds: null })])).toBeNull();
  expect(startsIn(card({ status: "queued", queue_position: 2 }), [running])).toBeNull();
  expect(startsIn(running, [running])).toBeNull();
  expect(progressLine(first, { startsIn: 79 })).toEqual(["first in the queue of cuda:0", "starts in about 1 min 19 s"]);
  expect(progressLine(first, { startsIn: 79, live: false })).toEqual(["first in the queue of cuda:0"]);
});
