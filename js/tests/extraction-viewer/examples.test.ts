import { describe, expect, it } from "vitest";
import { SHIP } from "../../demo/viewer";
import {
  copyOf,
  copyOfAll,
  groupsOf,
  rangeOf,
  type ShownExample,
  tokenInfo,
} from "../../src/extraction-viewer/feature";

const { value: page } = SHIP;
const values = SHIP.numbers.activations ?? [];
const groups = groupsOf(page, Float32Array.from(values));
const first = groups[0]?.examples[0] as ShownExample;

describe("the examples of a page", () => {
  it("have one activation per token, in the order of the buffer", () => {
    for (const { examples } of groups) {
      for (const { example, passage } of examples) {
        expect(passage.values).toHaveLength(example.tokens.length);
        expect(passage.values[passage.peak]).toBeCloseTo(example.value, 4);
      }
    }
  });
  it("are refused when the buffer is of another length, rather than shifted", () => {
    expect(() => groupsOf(page, Float32Array.from(values.slice(1)))).toThrow("came with");
  });
  it("are cut around the strongest token", () => {
    const { passage } = first;
    expect(rangeOf(passage, "short")).toEqual({
      from: passage.peak - 5,
      to: passage.peak + 6,
      before: true,
      after: true,
    });
    expect(rangeOf(passage, "full")).toMatchObject({ from: 0, to: passage.tokens.length });
    const whole = { ...passage, before: false, after: false };
    expect(rangeOf(whole, "full")).toMatchObject({ before: false, after: false });
    expect(rangeOf(whole, "short")).toMatchObject({ before: true, after: true });
  });
  it("can be copied, all of them as lines", () => {
    expect(copyOf(first.passage, "short")).toBe(" that it was the largest ship that had ever been seen");
    const lines = copyOfAll(groups[0]?.examples ?? [], "short").split("\n");
    expect(lines).toHaveLength(5);
    expect(lines[0]).toBe("41.7013\tthat it was the largest ship that had ever been seen");
    expect(lines[2]).not.toContain("\n");
  });
  it("say where a token stands", () => {
    const { peak } = first.passage;
    expect(tokenInfo(first.passage, peak)).toMatchObject({ text: " ship", position: 118, context: 157, document: 40 });
    expect(tokenInfo(first.passage, peak - 2)?.position).toBe(116);
    expect(tokenInfo(first.passage, 999)).toBeNull();
  });
});
