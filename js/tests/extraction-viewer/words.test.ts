import { describe, expect, it } from "vitest";
import { extraction, FAILED, RUNNING } from "../../demo/viewer";
import * as words from "../../src/extraction-viewer/words";

const buttons = (status: string, has_files = true) =>
  words.buttonsFor(extraction({ status, has_files })).map((one) => one.label);

describe("numbers", () => {
  it("gives densities two significant digits, never 0.00 %", () => {
    for (const [share, text] of [
      [0.0041, "0.41 %"],
      [0.0117, "1.2 %"],
      [2.1e-6, "0.00021 %"],
      [0.51, "51 %"],
      [0.003, "0.30 %"],
      [0, "0 %"],
      [3e-9, "3.0e-7 %"],
    ] as const) {
      expect(words.percent(share)).toBe(text);
    }
  });
  it("writes activations with three digits, and small ones at all", () => {
    expect([41.7013, 1204.2, 0.383, 0.0042, 0.00003, 0].map((value) => words.activation(value))).toEqual([
      "41.7",
      "1,204",
      "0.383",
      "0.0042",
      "3.0e-5",
      "0.0",
    ]);
  });
  it("signs changes of logits", () => {
    expect([words.signed(1.941), words.signed(-0.81)]).toEqual(["+1.94", "−0.81"]);
  });
  it("draws densities on a logarithmic scale", () => {
    expect(words.densityBar(0.16, 0.16, 1e6)).toBe(1);
    expect(words.densityBar(0, 0.16, 1e6)).toBe(0);
    const one = words.densityBar(1e-6, 0.16, 1e6);
    expect(one).toBeGreaterThan(0.01);
    expect(one).toBeLessThan(words.densityBar(1e-4, 0.16, 1e6));
  });
});

describe("extractions", () => {
  it("have the buttons of their state", () => {
    expect(buttons("running")).toEqual(["Pause", "Cancel"]);
    expect(buttons("starting")).toEqual(["Pause", "Cancel"]);
    expect(buttons("paused")).toEqual(["Resume", "Cancel"]);
    expect(buttons("failed")).toEqual(["Resume", "Delete"]);
    expect(buttons("interrupted")).toEqual(["Resume", "Delete"]);
    expect(buttons("completed")).toEqual(["Open features", "Export"]);
    expect(buttons("queued")).toEqual(["Cancel"]);
    expect(buttons("cancelled")).toEqual(["Delete"]);
    expect(buttons("pausing")).toEqual(["Pausing…", "Cancel"]);
    expect(buttons("stopping")).toEqual(["Cancelling…"]);
    const elsewhere = ["paused", "interrupted", "completed"].map((status) => buttons(status, false));
    expect(elsewhere).toEqual([["Cancel"], [], []]);
  });
  it("say how far they are", () => {
    expect(words.progressLine(RUNNING, true)).toEqual([
      "410K of 1M tokens",
      "9,020 tok/s",
      "ETA 1 min 5 s",
      "11,872 of 16,384 features seen",
    ]);
    expect(words.progressLine(RUNNING, false)).toEqual(["410K of 1M tokens", "11,872 of 16,384 features seen"]);
    expect(words.progressLine(FAILED, true)).toEqual(["360K of 1M tokens kept"]);
    expect(words.progressLine({ ...FAILED, status: "cancelled" }, true)).toEqual(["nothing is kept"]);
    expect(words.statusWord({ status: "cancelled" })).toBe("Cancelled"); // announced and shown
    expect(words.progressLine(extraction(), true)).toEqual([
      "1M tokens in 6 min 12 s",
      "412 dead (2.5 %)",
      "61 dense",
      "318 MB",
    ]);
  });
});

it("says whose a label is", () => {
  const now = Date.UTC(2026, 10, 20, 12);
  const of = { text: "ships", description: "", tokens: [], score_at: null, by: "", created_at: now / 1000 - 86_400 };
  expect(words.labelWords({ ...of, source: "user" }, now)).toBe("Yours, 19 Nov.");
  expect(words.labelWords({ ...of, source: "auto", by: "toy, detection 0.86" }, now)).toBe(
    "Automatic, toy, detection 0.86.",
  );
});

it("makes a file name of any name", () => {
  expect(words.slug("Gemma/Scope 2B: l12")).toBe("gemma-scope-2b-l12");
  expect(words.slug("../..")).toBe("features");
});
