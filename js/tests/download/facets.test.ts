import { describe, expect, it } from "vitest";
import { gemmaListing, gemmaRows, row } from "../../demo/hub";
import { type Choices, choose, chosen, type Facet, matching, optionsOf } from "../../src/download/facets";

const rows = gemmaListing().rows;
const pick = (...steps: [Facet, string][]): Choices =>
  steps.reduce<Choices>((choices, [facet, value]) => choose(rows, choices, facet, value), []);
const counts = (facet: Facet, choices: Choices) =>
  Object.fromEntries(optionsOf(rows, facet, choices).map((option) => [option.label, option.count]));

describe("facets", () => {
  it("count what is there, in the order people expect", () => {
    expect(counts("site", [])).toEqual({ Residual: 285, "MLP output": 260, Attention: 260, Transcoder: 26 });
    expect(optionsOf(rows, "layer", []).map((option) => option.label)).toEqual(
      Array.from({ length: 26 }, (_, i) => `${i}`),
    );
    expect(optionsOf(rows, "width", []).map((option) => option.label)).toEqual([
      "16k",
      "32k",
      "65k",
      "131k",
      "262k",
      "524k",
      "1M",
    ]);
  });

  it("narrow one another, whichever is chosen first", () => {
    expect(counts("layer", pick(["site", "resid_post"]))["12"]).toBe(35);
    expect(counts("layer", pick(["width", "1m"]))).toEqual({ "12": 5 });
    expect(counts("width", pick(["site", "resid_post"], ["layer", "3"]))).toEqual({ "16k": 5, "65k": 5 });
    expect(counts("site", pick(["width", "1m"]))).toEqual({ Residual: 5 });
  });

  it("keep the numbers a choice was made from, so that the others stay in reach", () => {
    const choices = pick(["site", "resid_post"], ["layer", "12"], ["width", "16k"]);
    expect(counts("layer", choices)["12"]).toBe(35);
    expect(counts("site", choices).Residual).toBe(285);
    expect(counts("width", choices)["16k"]).toBe(5);
  });

  it("take the canonical L0 once the rest is settled", () => {
    const choices = pick(["site", "resid_post"], ["layer", "12"], ["width", "16k"]);
    expect(chosen(choices, "l0")).toBe("82");
    expect(matching(rows, choices).map((one) => one.path)).toEqual(["layer_12/width_16k/average_l0_82"]);
    expect(optionsOf(rows, "l0", choices).find((option) => option.canonical)?.label).toBe("82");
    const any = choose(rows, choices, "l0", null);
    expect(chosen(any, "l0")).toBeNull();
    expect(matching(rows, any)).toHaveLength(5);
  });

  it("settle what has only one value by themselves", () => {
    const one = gemmaRows(0, "resid_post", 1).filter((r) => r.width === "16k");
    expect(chosen(choose(one, [], "layer", "0"), "l0")).toBe("82");
  });

  it("drop a choice that a change of an earlier one makes impossible, and nothing else", () => {
    const choices = pick(["site", "resid_post"], ["layer", "12"], ["width", "1m"], ["layer", "3"]);
    expect(choices).toEqual([
      ["site", "resid_post"],
      ["layer", "3"],
    ]);
    const kept = pick(["site", "resid_post"], ["layer", "12"], ["width", "16k"], ["site", "mlp_out"]);
    expect(chosen(kept, "layer")).toBe("12");
    expect(chosen(kept, "width")).toBe("16k");
  });

  it("stay when they are chosen again, and are taken back one by one", () => {
    const choices = pick(["site", "resid_post"], ["layer", "3"], ["site", "resid_post"]);
    expect(choices).toEqual([
      ["site", "resid_post"],
      ["layer", "3"],
    ]);
    expect(choose(rows, choices, "site", null)).toEqual([["layer", "3"]]);
  });

  it("leave rows out that do not say", () => {
    const odd = [row({ site: null, layer: null, d_sae: null, l0: null })];
    for (const facet of ["site", "layer", "width", "l0"] as const) expect(optionsOf(odd, facet, [])).toEqual([]);
    expect(matching(odd, [])).toHaveLength(1);
  });

  it("count 14,000 rows in one go over them", () => {
    const many = Array.from({ length: 14_000 }, (_, i) => row({ path: `l${i}`, layer: i % 60, l0: i % 300 }));
    const start = performance.now();
    for (const facet of ["site", "layer", "width", "l0"] as const) optionsOf(many, facet, [["layer", "3"]]);
    expect(performance.now() - start).toBeLessThan(200);
  });
});
