/** Bars lie where their edges are, however near these are to each other. */
import { render } from "@testing-library/preact";
import { h } from "preact";
import { expect, it } from "vitest";
import { Histogram } from "../../src/lib/histogram";
import type { Histogram as Data } from "../../src/lib/wire";

const DATA: Data = {
  title: "Decoder norms",
  note: "",
  x_label: "norm",
  edges: [],
  counts: [],
  log: false,
  digits: 3,
  zeros: 0,
  zeros_label: "0",
  summary: "",
};

function bars(edges: number[], counts: number[], changes: Partial<Data> = {}) {
  const { container } = render(h(Histogram, { data: { ...DATA, edges, counts, ...changes } }));
  return [...container.querySelectorAll("rect")].map((bar) => ({
    x: Number(bar.getAttribute("x")),
    width: Number(bar.getAttribute("width")) / 0.9,
    words: bar.textContent ?? "",
  }));
}

it.each([
  ["ordinary", 0.9, 0.05],
  ["nearly equal", 1, 1e-7],
  ["nearly equal and large", 1_000_000, 0.25],
  ["nearly equal and small", 3e-5, 1e-11],
])("draws bins of %s values where their edges are", (_, low, width) => {
  const edges = [0, 1, 3, 4].map((i) => low + i * width); // the second is twice as wide as the others
  const found = bars(edges, [5, 6, 7]);
  expect(found.map((bar) => Math.round(bar.x))).toEqual([0, 25, 75]);
  expect(found.map((bar) => Math.round(bar.width))).toEqual([25, 50, 25]);
  const ends = found.flatMap((bar) => bar.words.split(": ")[0]?.split(" to ") ?? []);
  expect(new Set(ends).size).toBe(4);
});

it("says edges in few digits where these tell them apart", () => {
  expect(bars([0.9, 1, 1.1], [5, 1234]).map((bar) => bar.words)).toEqual(["0.9 to 1: 5", "1 to 1.1: 1,234"]);
});

it("writes one minus sign, and labels the axis of bins over less than two powers of ten", () => {
  const ticks = (edges: number[], log: boolean) => {
    const { container } = render(h(Histogram, { data: { ...DATA, edges, counts: [1, 2], log } }));
    return [...container.querySelectorAll(".xt")].map((tick) => tick.textContent);
  };
  expect(ticks([-1.6, 0, 1.6], false)).toContain("−1.5");
  expect(ticks([0.01, 0.02, 0.04], true)).toEqual(["0.01", "0.02", "0.03", "0.04"]);
});

it("draws one bin for values that are all equal", () => {
  const [bar, ...others] = bars([0.999, 1.001], [40]);
  expect([bar?.x, Math.round(bar?.width ?? 0), bar?.words, others]).toEqual([0, 100, "0.999 to 1.001: 40", []]);
});
