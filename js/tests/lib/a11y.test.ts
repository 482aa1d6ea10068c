import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Announcer, isTyping, roveTo } from "../../src/lib/a11y";
import { toCsv } from "../../src/lib/copy";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("moves with arrows, Home and End, and wraps around", () => {
  expect([roveTo("ArrowRight", 2, 3), roveTo("ArrowUp", 0, 3), roveTo("End", 0, 3), roveTo("Home", 2, 3)]).toEqual([
    0, 2, 2, 0,
  ]);
  expect(roveTo("a", 0, 3)).toBeNull();
  expect(roveTo("Home", 0, 0)).toBeNull();
});

it("knows where letters are text", () => {
  const input = (type: string) => Object.assign(document.createElement("input"), { type });
  expect([input("text"), input("search"), document.createElement("select")].map(isTyping)).toEqual([true, true, true]);
  expect([input("checkbox"), input("range"), document.createElement("button"), null].map(isTyping)).toEqual([
    false,
    false,
    false,
    false,
  ]);
});

it("announces at most every five seconds, what came in between together", async () => {
  const said: string[] = [];
  const announcer = new Announcer((text) => said.push(text));
  announcer.announce("a: Running");
  await vi.advanceTimersByTimeAsync(1);
  announcer.announce("b: Paused");
  announcer.announce("c: Failed");
  announcer.announce("c: Failed");
  await vi.advanceTimersByTimeAsync(4000);
  expect(said).toEqual(["a: Running"]);
  await vi.advanceTimersByTimeAsync(1100);
  expect(said).toEqual(["a: Running", "b: Paused. c: Failed"]);
  announcer.announce("d");
  announcer.stop();
  await vi.advanceTimersByTimeAsync(20_000);
  expect(said).toHaveLength(2);
});

it("writes CSV that neither breaks nor runs", () => {
  expect(
    toCsv([
      ["name", "loss"],
      ['a "b", c', 0.5],
      ["=cmd()", -1],
    ]),
  ).toBe('name,loss\r\n"a ""b"", c",0.5\r\n\'=cmd(),-1\r\n');
});
