// @vitest-environment node
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { CommandError, type Model, POLL_AFTER, Rpc } from "../../src/lib/rpc";

class Wire implements Model {
  sent: { id: string; kind: string }[] = [];
  listeners = new Set<(...args: unknown[]) => void>();
  get = () => undefined;
  buffers: unknown[] = [];
  send(content: unknown, _callbacks?: unknown, buffers?: unknown): void {
    this.sent.push(content as { id: string; kind: string });
    this.buffers.push(buffers);
  }
  on(_name: string, callback: (...args: never[]) => void): void {
    this.listeners.add(callback as never);
  }
  off(_name: string, callback?: ((...args: never[]) => void) | null): void {
    this.listeners.delete(callback as never);
  }
  reply(message: unknown, buffers: DataView[] = []): void {
    for (const listener of [...this.listeners]) listener(message, buffers);
  }
  id(i: number): string {
    return this.sent[i]?.id ?? "";
  }
}

let wire: Wire;
let rpc: Rpc;
beforeEach(() => {
  vi.useFakeTimers();
  wire = new Wire();
  rpc = new Rpc(wire);
});
afterEach(() => {
  rpc.close();
  vi.useRealTimers();
});

it("answers each command by its id, in any order", async () => {
  const first = rpc.send({ kind: "refresh", revision: 1 });
  const second = rpc.send({ kind: "refresh", revision: 2 });
  expect(wire.id(0)).not.toBe(wire.id(1));
  wire.reply({ id: wire.id(1), kind: "result", value: "second" });
  wire.reply({ id: wire.id(0), kind: "result", value: "first" });
  expect((await first).value).toBe("first");
  expect((await second).value).toBe("second");
});

it("sends binary data beside a command, and none where there is none", async () => {
  const data = new ArrayBuffer(4);
  const answers = [
    rpc.send({ kind: "upload_chunk" }, { buffers: [data] }),
    rpc.send({ kind: "train_demo" }),
    rpc.send({ kind: "train_demo" }, { buffers: [] }),
  ];
  expect(wire.buffers).toEqual([[data], undefined, undefined]);
  expect(wire.sent[0]).not.toHaveProperty("buffers");
  for (const i of [0, 1, 2]) wire.reply({ id: wire.id(i), kind: "result", value: null });
  await Promise.all(answers);
});

it("ignores replies to other views and messages that are none", async () => {
  const other = new Rpc(wire);
  const mine = rpc.send({ kind: "train_demo" });
  const theirs = other.send({ kind: "train_demo" });
  wire.reply("noise");
  wire.reply({ id: wire.id(1), kind: "result", value: "theirs" });
  expect((await theirs).value).toBe("theirs");
  wire.reply({ id: wire.id(0), kind: "result", value: "mine" });
  expect((await mine).value).toBe("mine");
  other.close();
});

it("does not call a command late that is acknowledged within half a second", async () => {
  const onLate = vi.fn();
  const answer = rpc.send({ kind: "train_demo" }, { onLate });
  await vi.advanceTimersByTimeAsync(400);
  wire.reply({ id: wire.id(0), kind: "ack" });
  await vi.advanceTimersByTimeAsync(5000);
  expect(onLate).not.toHaveBeenCalled();
  wire.reply({ id: wire.id(0), kind: "result", value: null });
  await answer;
});

it("says that a command is late, and that it was acknowledged after all", async () => {
  const onLate = vi.fn();
  const answer = rpc.send({ kind: "train_demo" }, { onLate });
  await vi.advanceTimersByTimeAsync(501);
  expect(onLate.mock.calls).toEqual([[true]]);
  wire.reply({ id: wire.id(0), kind: "ack" });
  expect(onLate.mock.calls).toEqual([[true], [false]]);
  wire.reply({ id: wire.id(0), kind: "result", value: 1 });
  expect((await answer).value).toBe(1);
});

it("rejects with the parts of a failure", async () => {
  const answer = rpc.send({ kind: "create", config: {} });
  wire.reply({
    id: wire.id(0),
    kind: "failure",
    what: "k is too large.",
    hint: "Lower it.",
    fields: { "sae.k": "no" },
  });
  const error = await answer.catch((e: unknown) => e);
  expect(error).toBeInstanceOf(CommandError);
  expect((error as CommandError).message).toBe("k is too large. Lower it.");
  expect((error as CommandError).failure.fields).toEqual({ "sae.k": "no" });
});

it("hands over the buffers of a result", async () => {
  const answer = rpc.send({ kind: "metric_table", training_id: "t", names: ["loss"], limit: 1, offset: 0 });
  const view = new DataView(new ArrayBuffer(8));
  wire.reply({ id: wire.id(0), kind: "result", value: { rows: 1, total: 1 }, columns: ["loss"] }, [view]);
  expect(await answer).toMatchObject({ columns: ["loss"], buffers: [view] });
});

it("gives up on abort, on timeout and when the view closes", async () => {
  const stop = new AbortController();
  const aborted = rpc.send({ kind: "train_demo" }, { signal: stop.signal });
  stop.abort();
  await expect(aborted).rejects.toMatchObject({ name: "AbortError" });

  const slow = rpc.send({ kind: "train_demo" });
  const outcome = expect(slow).rejects.toThrow("did not answer for 600 s");
  await vi.advanceTimersByTimeAsync(600_000);
  await outcome;

  const left = rpc.send({ kind: "train_demo" });
  rpc.close();
  await expect(left).rejects.toMatchObject({ name: "AbortError" });
  expect(wire.listeners.size).toBe(0);
});

it("reports a comm that is gone as a failure", async () => {
  wire.send = () => {
    throw new Error("Comm is disposed");
  };
  await expect(rpc.send({ kind: "train_demo" })).rejects.toThrow("The kernel is not connected.");
});

it("fails what waits when the front end says the kernel is gone, and what follows without sending", async () => {
  const gone = vi.fn();
  rpc.onGone = gone;
  const waits = rpc.send({ kind: "train_demo" });
  expect(rpc.waitingSince()).not.toBeNull();
  const failed = expect(waits).rejects.toThrow("The kernel is not connected.");
  rpc.disconnect();
  await failed;
  expect(gone).toHaveBeenCalledTimes(1);
  await expect(rpc.send({ kind: "train_demo" })).rejects.toThrow("The kernel is not connected.");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(wire.sent).toHaveLength(1); // no nudges either
  rpc.reconnect();
  const again = rpc.send({ kind: "train_demo" });
  wire.reply({ id: wire.id(1), kind: "result", value: 1 });
  expect((await again).value).toBe(1);
});

it("tells what is acknowledged, and since when something is not", async () => {
  const start = performance.now();
  const answer = rpc.send({ kind: "train_demo" });
  await vi.advanceTimersByTimeAsync(100);
  expect(rpc.waitingSince()).toBe(start);
  wire.reply({ id: wire.id(0), kind: "ack" });
  expect(rpc.waitingSince()).toBeNull();
  wire.reply({ id: wire.id(0), kind: "result", value: 1 });
  await answer;
});

it("nudges a kernel that does not answer, ever less often, until it does", async () => {
  const answer = rpc.send({ kind: "train_demo" });
  await vi.advanceTimersByTimeAsync(1900);
  expect(wire.sent).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(13_000); // at 2, 6 and 14 s
  expect(wire.sent.slice(1).map((message) => message.kind)).toEqual(["nudge", "nudge", "nudge"]);
  expect(new Set(wire.sent.map((message) => message.id)).size).toBe(4);
  await vi.advanceTimersByTimeAsync(5 * 60_000);
  expect(wire.sent.length).toBeLessThan(12);
  wire.reply({ id: wire.id(1), kind: "ack" }); // of a nudge: nobody waits for it
  wire.reply({ id: wire.id(0), kind: "ack" });
  wire.reply({ id: wire.id(0), kind: "result", value: 1 });
  expect((await answer).value).toBe(1);
  const before = wire.sent.length;
  await vi.advanceTimersByTimeAsync(120_000);
  expect(wire.sent).toHaveLength(before);
});

it("asks for the answer of what is acknowledged, where a kernel answers only when it is asked", async () => {
  const answer = rpc.send({ kind: "train_demo" });
  wire.reply({ id: wire.id(0), kind: "ack" });
  await vi.advanceTimersByTimeAsync(POLL_AFTER);
  expect(wire.sent[1]).toMatchObject({ kind: "nudge", waiting: [wire.id(0)] });
  wire.reply({ id: wire.id(1), kind: "ack" });
  await vi.advanceTimersByTimeAsync(500);
  expect(wire.sent).toHaveLength(3);
  await vi.advanceTimersByTimeAsync(60_000); // nothing is heard now: ever less often
  expect(wire.sent.length).toBeLessThan(10);
  wire.reply({ id: wire.id(0), kind: "result", value: 1 });
  wire.reply({ id: wire.id(0), kind: "result", value: 2 }); // said twice
  expect((await answer).value).toBe(1);
});
