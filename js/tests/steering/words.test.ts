import { describe, expect, it } from "vitest";
import { row, texts } from "../../demo/steering";
import { EMPTY_STEERING } from "../../src/lib/wire";
import * as w from "../../src/steering/words";

describe("strengths", () => {
  it("are written with a real minus and at least one decimal", () => {
    expect([2, -1, 0, 0.25, 1e-7].map(w.strengthText)).toEqual(["2.0", "−1.0", "0.0", "0.25", "1e-7"]);
    expect([-4, 0, 0.5].map(w.shortStrength)).toEqual(["−4", "0", "0.5"]);
  });
  it("are read as people type them", () => {
    expect(["2", "−1.5", "-1.5", "+.5", "1e2", " 3 "].map(w.parseStrength)).toEqual([2, -1.5, -1.5, 0.5, 100, 3]);
    for (const text of ["", "two", "1,5", "--1", "1e9", "Infinity", "0x10"]) expect(w.parseStrength(text)).toBeNull();
    expect(w.parseStrengths("−4 −2, 0;2  4")).toEqual([-4, -2, 0, 2, 4]);
    for (const text of ["", "1 two", Array(13).fill("1").join(" ")]) expect(w.parseStrengths(text)).toBeNull();
    expect(w.strengthsText([-4, 0, 0.5])).toBe("−4 0 0.5");
  });
  it("have a place on the slider: fine in the middle, the same on both sides, at rest at 0", () => {
    for (const end of [8, 334]) {
      expect(w.placeOf(0, end)).toBe(0);
      expect(w.placeOf(end, end)).toBe(1);
      expect(w.placeOf(10 * end, end)).toBe(1);
      expect(w.placeOf(-end, end)).toBe(-1);
      expect(w.placeOf(end / 4, end)).toBeGreaterThan(0.4);
      for (const place of [-1, -0.6, -0.2, 0.1, 0.5, 0.9]) {
        expect(w.placeOf(w.valueAt(place, end), end)).toBeCloseTo(place, 1);
      }
      expect(w.valueAt(0.02, end)).toBe(0);
      expect(w.valueAt(7, end)).toBe(end);
    }
  });
  it("are fine on a slider that ends early", () => {
    expect([w.stepOf(0.2), w.stepOf(3), w.stepOf(20)]).toEqual([0.01, 0.1, 0.1]);
    expect(w.valueAt(1, 0.2)).toBe(0.2);
    expect(w.valueAt(0.5, 0.2)).toBeCloseTo(0.06, 6);
    expect(w.converted(row({ mode: "ablate", strength: 0, usual: 0.6 }), "add_max")).toBe(0.6);
  });
  it("reach as far as is usual for the mode", () => {
    expect(w.reach(row())).toBe(8);
    expect(w.reach(row({ usual: null }))).toBe(8);
    expect(w.reach(row({ usual: 0.6 }))).toBe(3);
    expect(w.reach(row({ usual: 0.8 }))).toBe(4);
    expect(w.reach(row({ usual: 0.04 }))).toBe(0.2);
    expect(w.reach(row({ usual: 4 }))).toBe(20);
    expect(w.reach(row({ mode: "add", a_max: 10, usual: 0.6 }))).toBe(30);
    expect(w.reach(row({ mode: "scale" }))).toBe(8);
    expect(w.reach(row({ mode: "add", a_max: 41.7 }))).toBe(330);
    expect(w.reach(row({ mode: "clamp", a_max: 41.7 }))).toBe(83);
    expect(w.reach(row({ mode: "add", a_max: null }))).toBe(200);
  });
  it("say what they do", () => {
    const said = (change: object) => [w.effect(row(change)), w.effectSpoken(row(change))];
    expect(said({})).toEqual(["= 83.4 along d", "2.0 × max activation = 83.4"]);
    expect(said({ strength: -1, a_max: 27 })).toEqual(["= −27.0 along d", "-1.0 × max activation = -27.0"]);
    expect(said({ a_max: null })).toEqual(["", "2.0 × max activation"]);
    expect(said({ mode: "add" })).toEqual(["2.0 along d", "2.0 along the decoder direction"]);
    expect(said({ mode: "clamp", strength: 0 })).toEqual(["off at every token", "clamped to 0"]);
    expect(said({ mode: "conditional_clamp" })).toEqual(["2.0 where active", "clamped to 2 where active"]);
    expect(said({ mode: "scale", strength: 1 })).toEqual(["unchanged", "scaled by 1"]);
    expect(said({ mode: "scale" })).toEqual(["× 2 where active", "scaled by 2"]);
    expect(said({ mode: "ablate", strength: 0 })).toEqual(["off at every token", "ablated"]);
  });
  it("stay what they were in another mode, as near as can be said", () => {
    expect(w.converted(row(), "add")).toBe(83.4);
    expect(w.converted(row({ mode: "add", strength: 83.4 }), "add_max")).toBe(2);
    expect(w.converted(row({ mode: "add", strength: 3, a_max: null }), "add_max")).toBe(0);
    expect(w.converted(row(), "ablate")).toBe(0);
    expect(w.converted(row({ mode: "ablate", strength: 0 }), "add_max")).toBe(2);
    expect(w.converted(row({ mode: "scale", strength: 3 }), "clamp")).toBe(41.7);
  });
});

describe("the gauge", () => {
  it("has zones of 50, 25 and 25 percent", () => {
    expect([0, 0.38, 0.5, 0.75, 1, 1.5, 2, 9].map(w.gaugeAt)).toEqual([0, 38, 50, 62.5, 75, 87.5, 100, 100]);
    expect([0.38, 0.5, 0.99, 1, 3].map(w.zone)).toEqual(["moderate", "strong", "strong", "breaks text", "breaks text"]);
    expect([null, 0, 0.001, 0.384].map(w.ratioText)).toEqual(["–", "0", "< 0.01", "0.38"]);
  });
});

describe("what was written", () => {
  it("is summed up", () => {
    expect(w.differenceWords(texts())).toBe("same seed and sampling; first difference at token 1");
    expect(w.differenceWords(texts({ first_difference: null }))).toBe("same seed and sampling; no difference");
    const n = texts().baseline.pieces.length;
    const m = texts().steered?.pieces.length;
    expect(w.doneWords(texts())).toBe(`Generated ${n} + ${m} tokens in 1.4 s`);
    expect(w.doneWords(texts({ stopped: true, seconds: 12.3 }))).toBe(`Stopped after ${n} + ${m} tokens in 12 s`);
    expect(w.doneWords(texts({ steered: null }))).toBe("Ran 0 strengths in 1.4 s");
    expect(w.doneWords(null)).toBe("");
  });
  it("is followed", () => {
    const { run } = EMPTY_STEERING;
    const live = { run: "baseline", strength: null, tokens: 12, text: "" } as const;
    const settings = { new_tokens: 60, strengths: [-4, -2, 0, 2, 4] };
    expect(w.progressWords(run, settings)).toBe("");
    expect(w.progressWords({ ...run, status: "running", phase: "loading" }, settings)).toBe("Loading the model…");
    expect(w.progressWords({ ...run, status: "running", phase: "writing", texts: [live] }, settings)).toBe(
      "Writing, 12 of 60 tokens",
    );
    const short = { ...settings, new_tokens: 1 };
    expect(w.progressWords({ ...run, status: "running", phase: "writing" }, short)).toBe("Writing, 0 of 1 token");
    expect(w.progressWords({ ...run, status: "stopping" }, settings)).toBe("Stopping…");
    const sweep = { ...live, run: "sweep", strength: 2 } as const;
    expect(w.progressWords({ ...run, status: "running", kind: "sweep", texts: [live, sweep] }, settings)).toBe(
      "Sweeping, strength 1 of 5",
    );
  });
  it("has numbers in few digits", () => {
    expect([null, 11.23, 1234.5, 2.5e7].map(w.perplexityText)).toEqual(["–", "11.2", "1235", "2.5e7"]);
    expect([w.percent(0.31), w.probability(0.314)]).toEqual(["31 %", "31.4 %"]);
  });
});
