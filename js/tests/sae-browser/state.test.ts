// @vitest-environment node
import { describe, expect, it } from "vitest";
import { library, SAES, sae } from "../../demo/library";
import { linearAxis, linearTicks, niceCeiling, powerTicks, shortNumber, tickTexts } from "../../src/lib/histogram";
import { EMPTY_BROWSER } from "../../src/lib/wire";
import { tagsOf } from "../../src/sae-browser/drawer";
import {
  ageWords,
  choicesOf,
  deleteQuestion,
  filterWords,
  modelLine,
  namesOf,
  othersOf,
  outcomeWords,
  placeWords,
  slug,
  stateNote,
} from "../../src/sae-browser/state";

const { facets } = library(SAES);

describe("words", () => {
  it("says how old an SAE is", () => {
    const now = new Date(2026, 10, 20, 12).getTime();
    const ago = (seconds: number) => ageWords(now / 1000 - seconds, now);
    expect(ago(5)).toBe("added just now");
    expect(ago(-5)).toBe("added just now"); // clocks of two machines
    expect(ago(60)).toBe("added 1 minute ago");
    expect(ago(4 * 60 + 50)).toBe("added 4 minutes ago");
    expect(ago(3 * 3600)).toBe("added 3 hours ago");
    expect(ago(2 * 86_400)).toBe("added 2 days ago");
    expect(ago(9 * 86_400)).toBe("added 11 Nov");
    expect(ago(400 * 86_400)).toBe("added 16 Oct 2025");
  });
  it("says where in the model it reads", () => {
    expect(placeWords(sae())).toBe("layer 6, residual");
    expect(placeWords(sae({ layer: null, site: "embedding" }))).toBe("embedding");
    expect(placeWords(sae({ layer: null, hook_name: "my.hook", site: "my.hook" }))).toBe("");
    expect(modelLine(sae({ model: null, layer: null, site: "" }))).toEqual(["model unknown"]);
  });
  it("says what the filters ask for", () => {
    expect(filterWords(facets, { ...EMPTY_BROWSER.query, source: "trained", search: " k32 " })).toBe(
      "Source is Trained and the search is “k32”.",
    );
    expect(filterWords(facets, { ...EMPTY_BROWSER.query, search: "k32" })).toBe("The search is “k32”.");
  });
  it("keeps a chosen value among the choices when nothing has it any more", () => {
    const query = { ...EMPTY_BROWSER.query, layer: 99 };
    expect(choicesOf(facets, query, "layer").at(-1)).toEqual({ value: "99", label: "99", count: 0 });
    expect(choicesOf(facets, query, "source")).toBe(facets.source);
  });
  it("counts what several questions are about", () => {
    const trained = sae({ training_id: "t", features_extracted: 1 });
    expect(deleteQuestion([trained, trained], () => {}).children).toBe(
      "202 MB of weights and 2 features go too. The training records stay. You can undo this for ten seconds.",
    );
  });
  it("names whom a question is about, as many as fit into a sentence", () => {
    expect([["a"], ["a", "b"], ["a", "b", "c", "d"]].map(namesOf)).toEqual(["a", "a and b", "a, b, c and d"]);
    expect(namesOf(["a", "b", "c", ...Array(47).fill("x")])).toBe("a, b, c and 47 more");
    expect(namesOf(["n".repeat(300), "b"])).toBe(`${"n".repeat(119)}… and b`);
    expect(othersOf(["a", "b", "c", "d", "e"])).toEqual(["d", "e"]);
    expect(othersOf(["a", "b", "c", "d"])).toEqual([]);
    expect(deleteQuestion([sae({ name: "a" }), sae({ name: "b" })], () => {}).title).toBe("Delete 2 SAEs: a and b?");
    expect(deleteQuestion([sae({ name: "n".repeat(300) })], () => {}).title).toBe(`Delete ${"n".repeat(300)}?`);
  });
  it("says what did not work of several, each with its reason", () => {
    const problem = (where: string, what: string) => ({ what, where, hint: "Wait.", kind: "error" }) as const;
    const problems = [problem("a", "a is in use: an extraction reads it."), problem("b", "The disk is full.")];
    expect(outcomeWords("delete", 3, problems)).toEqual({
      title: "2 of 3 SAEs were not deleted.",
      lines: ["a is in use: an extraction reads it. Wait.", "b: The disk is full. Wait."],
    });
    const title = (asked: number, failed: number) => outcomeWords("export", asked, problems.slice(0, failed))?.title;
    expect(title(3, 1)).toBe("1 of 3 SAEs was not exported.");
    expect(title(2, 2)).toBe("None of the 2 SAEs was exported.");
  });
  it("says which FVU it is", () => {
    expect(modelLine(sae({ fvu: 0.118, fvu_label: "FVU (held out)" }))).toContain("FVU (held out) 0.118");
  });
  it("says what is wrong with files", () => {
    expect(stateNote(sae())).toBeNull();
    expect(stateNote(sae({ state: "missing", features_extracted: 3 }))?.text).toBe(
      "Features, labels and notes are kept and can still be read.",
    );
  });
  it("makes folder names and lists of tags", () => {
    expect(slug(" a/b: é_1.0 ")).toBe("a-b-é_1.0");
    expect(slug("../..")).toBe("sae");
    expect(tagsOf(" a, b ,,a ")).toEqual(["a", "b"]);
  });
});

describe("axes", () => {
  it("end at round numbers", () => {
    expect([1180, 412, 1, 0, 97, 10_000, 0.3].map(niceCeiling)).toEqual([1200, 500, 1, 1, 100, 10_000, 0.3]);
  });
  it("have round ticks that can be told apart", () => {
    expect(linearTicks(0.94, 1.06)).toEqual([0.94, 0.96, 0.98, 1, 1.02, 1.04, 1.06]);
    expect(tickTexts([0.98, 1, 1.02], false)).toEqual(["0.98", "1.00", "1.02"]);
    expect(tickTexts(linearTicks(0, 6.1), false)).toEqual(["0", "1", "2", "3", "4", "5", "6"]);
    expect(linearTicks(2, 2)).toEqual([2]);
    expect(tickTexts([2], false)).toEqual(["2"]);
  });
  it("have powers of ten on a logarithmic scale", () => {
    expect(powerTicks(1e-6, 0.1)).toEqual([1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1]);
    expect(tickTexts([1e-6, 0.01, 0.1, 1, 100], true)).toEqual(["1e-6", "1e-2", "0.1", "1", "100"]);
    expect(powerTicks(1e-12, 1).length).toBeLessThanOrEqual(7);
  });
  it("count from a round number where values are nearly equal, in one notation", () => {
    expect(linearAxis(0.94, 1.06)).toMatchObject({
      from: null,
      texts: ["0.94", "0.96", "0.98", "1.00", "1.02", "1.04", "1.06"],
    });
    expect(linearAxis(0.999995, 1.00001)).toMatchObject({ from: "1", texts: ["−5e-6", "0", "5e-6", "10e-6"] });
    expect(linearAxis(0.999, 1.001)).toMatchObject({
      from: null,
      texts: ["0.9990", "0.9995", "1.0000", "1.0005", "1.0010"],
    });
    expect(linearAxis(8123.4561, 8123.4563).from).toBe("8123.4562");
    expect(linearAxis(0, 3e-6)).toMatchObject({ from: null });
    expect(linearAxis(2, 2)).toEqual({ ticks: [2], texts: ["2"], from: null });
  });
  it("write numbers short", () => {
    expect([0, 0.94213, 12_345, 3.2e-5, -1e-7].map((n) => shortNumber(n))).toEqual([
      "0",
      "0.9421",
      "12,345",
      "3.2e-5",
      "−1e-7",
    ]);
  });
});
