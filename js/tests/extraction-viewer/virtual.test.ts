import { expect, it } from "vitest";
import { ROW, rowAfter, scrollTo, windowOf } from "../../src/extraction-viewer/grid";

it("draws the rows in sight and a few around them", () => {
  const top = windowOf(16_384, 600, 0);
  expect(top).toMatchObject({ height: 16_384 * ROW, first: 0, last: 23, top: 0, fitting: 15 });
  const middle = windowOf(16_384, 600, 1000 * ROW);
  expect(middle).toMatchObject({ first: 992, last: 1023, top: 992 * ROW });
  expect(windowOf(16_384, 600, 1e9)).toMatchObject({ last: 16_384 });
  expect(windowOf(3, 600, 0)).toMatchObject({ first: 0, last: 3, height: 120 });
  expect(windowOf(0, 600, 0)).toMatchObject({ first: 0, last: 0, height: 0 });
});

it("reaches every row of a list that is higher than browsers draw", () => {
  const count = 2_000_000;
  const { height } = windowOf(count, 600, 0);
  expect(height).toBeLessThan(17_000_000);
  const end = windowOf(count, 600, height - 600);
  expect(end.last).toBe(count);
  // the last row ends where the sight ends
  expect(end.top + (count - end.first) * ROW).toBeCloseTo(height, 3);
  for (const row of [0, 17, 999_999, count - 1]) {
    const at = scrollTo(row, count, 600, row === 0 ? height : 0) ?? 0;
    const shown = windowOf(count, 600, at);
    const y = shown.top + (row - shown.first) * ROW - at;
    expect(y).toBeGreaterThanOrEqual(-0.5);
    expect(y).toBeLessThanOrEqual(600 - ROW + 0.5);
  }
});

it("scrolls no further than it has to", () => {
  expect(scrollTo(3, 1000, 400, 0)).toBeNull();
  expect(scrollTo(10, 1000, 400, 0)).toBe(11 * ROW - 400);
  expect(scrollTo(4, 1000, 400, 5 * ROW)).toBe(4 * ROW);
  expect(scrollTo(500, 1000, 400, 0)).toBeCloseTo(500 * ROW - 200 + ROW / 2);
  expect(scrollTo(2, 5, 400, 0)).toBeNull();
});

it("knows where the keys lead", () => {
  expect(rowAfter("ArrowDown", 5, 10, 4)).toBe(6);
  expect(rowAfter("ArrowDown", 9, 10, 4)).toBe(9);
  expect(rowAfter("PageUp", 5, 10, 4)).toBe(2);
  expect(rowAfter("End", 5, 10, 4)).toBe(9);
  expect(rowAfter("Home", 5, 10, 4)).toBe(0);
  expect(rowAfter("x", 5, 10, 4)).toBeNull();
  expect(rowAfter("End", 0, 0, 4)).toBeNull();
});
