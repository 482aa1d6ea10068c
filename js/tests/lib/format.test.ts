// @vitest-environment node
import { describe, expect, it } from "vitest";
import * as f from "../../src/lib/format";

describe("counts and tokens", () => {
  it("puts separators into counts", () => expect(f.count(16384)).toBe("16,384"));
  it.each([
    [640, "640"],
    [57_344, "57.3K"],
    [999_960, "1M"],
    [1_840_000, "1.8M"],
    [10_000_000, "10M"],
    [124_000_000, "124M"],
    [2_500_000_000, "2.5B"],
  ])("writes %d tokens as %s", (n, text) => expect(f.tokens(n)).toBe(text));
  it("uses the unit of the total unless the part is far smaller", () => {
    expect(f.tokensOf(6_201_344, 10_000_000)).toBe("6.2M of 10M tokens");
    expect(f.tokensOf(900_000, 10_000_000)).toBe("900K of 10M tokens");
    expect(f.tokensOf(4_096, 10_000_000)).toBe("4.1K of 10M tokens");
    expect(f.tokensOf(0, 500)).toBe("0 of 500 tokens");
  });
});

describe("measured values", () => {
  it("has the decimals of each metric", () => {
    expect([f.loss(0.28412), f.fvu(0.1184), f.ce(0.957), f.l0(32), f.share(0.0213)]).toEqual([
      "0.2841",
      "0.118",
      "0.957",
      "32.0",
      "2.1 %",
    ]);
  });
  it.each([
    [0.98541, "0.9854"],
    [12.34567, "12.346"],
    [99.99999, "100.0"],
    [219.7312, "219.7"],
    [999.97, "1,000"],
    [1234.4, "1,234"],
    [99_999.4, "99,999"],
    [99_999.6, "1.0e5"],
    [330_037.266, "3.3e5"],
    [-2137.276, "−2,137"],
  ])("keeps the width of %d: %s", (n, text) => expect(f.loss(n)).toBe(text));
  it("keeps it for every metric", () =>
    expect([f.fvu(2137.276), f.l0(219.73), f.l0(12_345.6), f.ce(-150.25)]).toEqual([
      "2,137",
      "219.7",
      "12,346",
      "−150.3",
    ]));
  it("draws what is missing as a dash and says what is not finite", () => {
    expect([f.loss(null), f.share(null), f.loss("NaN"), f.fvu("Infinity"), f.ce(-0.5)]).toEqual([
      "–",
      "–",
      "NaN",
      "∞",
      "−0.500",
    ]);
  });
  it("gives densities two significant digits", () => {
    expect([f.density(0.0007123), f.density(0), f.density(3.21e-7)]).toEqual(["0.00071", "0", "3.2e-7"]);
  });
});

describe("times and sizes", () => {
  it.each([
    [0.4, "less than 1 s"],
    [45, "45 s"],
    [79, "1 min 19 s"],
    [120, "2 min"],
    [3600, "1 h"],
    [10_985, "3 h 3 min"],
    [90_000, "1 d 1 h"],
  ])("writes %d s as %s", (s, text) => expect(f.duration(s)).toBe(text));
  it.each([
    [512, "512 B"],
    [604_000_000, "604 MB"],
    [8e9, "8.0 GB"],
    [999_600_000, "1.0 GB"],
  ])("writes %d bytes as %s", (n, text) => expect(f.bytes(n)).toBe(text));
  it("adds the date to a time of another day", () => {
    const now = new Date(2026, 10, 20, 14, 2).getTime();
    expect(f.clock(now / 1000, now)).toBe("14:02");
    expect(f.clock(now / 1000 - 86_400, now)).toBe("2026-11-19 14:02");
  });
  it("says how old something is", () =>
    expect([f.ago(0.2), f.ago(12), f.ago(200)]).toEqual(["0.2 s ago", "12 s ago", "3 min ago"]));
});

describe("what people type", () => {
  it.each([
    ["16,384", 16_384],
    [" 16_384 ", 16_384],
    ["16 384", 16_384],
    ["2M", 2_000_000],
    ["2.6 M", 2_600_000],
    ["1.5k", 1500],
    ["-3", -3],
    ["1,000,000", 1_000_000],
    ["1e6", 1_000_000],
    ["2.5E+3", 2500],
    ["1e-3", null],
    ["1,5M", null],
    ["16, 32", null],
    ["1,2", null],
    ["1,0000", null],
    ["0,001", null],
    ["1.5", null],
    ["abc", null],
    ["", null],
    ["9".repeat(30), null],
  ])("reads %j as the integer %j", (text, n) => expect(f.parseInteger(text)).toBe(n));
  it.each([
    ["3e-4", 3e-4],
    ["1,000.5", 1000.5],
    [".5", 0.5],
    ["1e", null],
    ["0,001", null],
    ["2,5", null],
    ["1,000,00", null],
    ["NaN", null],
  ])("reads %j as the number %j", (text, n) => expect(f.parseNumber(text)).toBe(n));
  it("shows small numbers with an exponent", () => {
    expect([f.formNumber(3e-4), f.formNumber(0.05), f.formNumber(1e-8), f.formNumber(0)]).toEqual([
      "3e-4",
      "0.05",
      "1e-8",
      "0",
    ]);
  });
});

it.each([
  ["1 % of max", 0.01],
  ["1%", 0.01],
  ["0.01", 0.01],
  ["0.01 of max", 0.01],
  ["2.5 % of the maximum", 0.025],
  ["7 % of max", 0.07],
  ["0", 0],
  ["% of max", null],
  ["1 % of mean", null],
  ["", null],
])("reads the share %s", (text, value) => {
  expect(f.parseShare(text)).toBe(value);
});
