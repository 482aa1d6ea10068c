import { describe, expect, it } from "vitest";
import { chip, chipText, cut, draw, hiddenIn, line, shadeClass, shadeStep, visible } from "../../src/lib/tokens";

describe("what a text box does not draw", () => {
  it("is named, each once; line ends and tabs are no such thing", () => {
    expect(hiddenIn("a\u202Eb\u202E\x07\n\tc\u200B")).toEqual(["⟨202E⟩", "␇", "⟨200B⟩"]);
    expect(hiddenIn("שלום, plain 😀")).toEqual([]);
  });
});

describe("the shade of an activation", () => {
  it("follows step = ceil(8 · log10(1 + 9·a/max)) over the whole list", () => {
    const max = 41.7;
    for (const [value, step] of [
      [41.7, 8],
      [28.4, 7],
      [14.6, 5],
      [6.7, 4],
      [1.9, 2],
      [0.3, 1],
    ] as const) {
      expect(shadeStep(value, max)).toBe(Math.ceil(8 * Math.log10(1 + (9 * value) / max)));
      expect(shadeStep(value, max), `${value}`).toBe(step);
    }
  });
  it("is none for what is nothing, and never beyond the last step", () => {
    for (const value of [0, 4.9e-5, -3, Number.NaN]) expect(shadeStep(value, 10)).toBe(0);
    expect(shadeStep(5e-5, 10)).toBe(1);
    expect(shadeStep(20, 10)).toBe(8);
    expect(shadeStep(1, 0)).toBe(0);
    expect([shadeClass(0, 1), shadeClass(1, 1)]).toEqual(["", "a8"]);
  });
});

describe("foreign text", () => {
  it("shows what cannot be seen or would turn the text around it", () => {
    expect(visible("a\u0000b\u001b\u007f")).toBe("a␀b␛␡");
    expect(visible("\u202egnirts\u2066\u200b\ufeff\u061c")).toBe("⟨202E⟩gnirts⟨2066⟩⟨200B⟩⟨FEFF⟩⟨61C⟩");
    expect(visible("שלום 👩‍👧 naïve\nend")).toBe("שלום 👩‍👧 naïve\nend");
  });
  it("is cut with an ellipsis, never within a character", () => {
    expect(cut("abc", 3)).toBe("abc");
    expect(cut("x".repeat(10_000), 80)).toBe(`${"x".repeat(80)}…`);
    expect(cut("a😀b", 2)).toBe("a…");
  });
  it("is one line where it is a label", () => {
    expect(line("two\nlines\tof it")).toBe("two lines of it");
    expect(line("y".repeat(10_000)).length).toBe(301);
  });
});

describe("a token on its own", () => {
  it("has a dot for each leading space, and pictures of line ends and tabs", () => {
    expect(chip(" ship")).toEqual({ dots: "·", rest: "ship" });
    expect(chip("   ")).toEqual({ dots: "···", rest: "" });
    expect(["\n", "\r\n", "\t", "er", ""].map((text) => chipText(text))).toEqual(["↵", "↵", "⇥", "er", ""]);
  });
});

describe("a token within its text", () => {
  it("keeps leading spaces apart, so that they are drawn outside the shade", () => {
    expect(draw(" ship", " ")).toEqual({ space: " ", body: "ship" });
    expect(draw("er", " ")).toEqual({ space: "", body: "er" });
    expect(draw("  ", " ")).toEqual({ space: "", body: "  " });
  });
  it("shows line ends when asked to", () => {
    expect(draw(".\n\nHe", " ").body).toBe(".  He");
    expect(draw(".\nHe", "↵").body).toBe(".↵He");
    expect(draw("\n", "↵\n").body).toBe("↵\n");
  });
});
