// @vitest-environment node
import { expect, it } from "vitest";
import { columnsOf, toFloat64 } from "../../src/lib/rpc";

const fromFloat64 = (values: number[]) => Float64Array.from(values).buffer;

it("reads a view that starts in the middle of a message, aligned or not", () => {
  for (const offset of [0, 8, 3]) {
    const message = new Uint8Array(offset + 16);
    message.set(new Uint8Array(Float64Array.from([1.5, Number.NaN]).buffer), offset);
    const values = toFloat64(new DataView(message.buffer, offset, 16));
    expect([...values]).toEqual([1.5, Number.NaN]);
  }
});

it("refuses a column of another type and columns that do not match their names", () => {
  expect(() => toFloat64(new ArrayBuffer(12))).toThrow("12 bytes");
  expect(() => columnsOf(["step", "loss"], [fromFloat64([1])])).toThrow("2 column names came with 1 buffers");
});

it("names the columns", () => {
  const columns = columnsOf(["step", "loss"], [fromFloat64([1, 2]), fromFloat64([0.5, 0.25])]);
  expect([...(columns.get("loss") ?? [])]).toEqual([0.5, 0.25]);
});
