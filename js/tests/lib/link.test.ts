import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type Model, Rpc } from "../../src/lib/rpc";
import { LinkWatch } from "../../src/lib/store";

let listeners: Map<string, (...args: unknown[]) => void>;
let model: Model;
let host: HTMLElement;
let rpc: Rpc;
let stop: AbortController;
let watch: LinkWatch;
const send = vi.fn();

beforeEach(() => {
  vi.useFakeTimers();
  send.mockReset();
  listeners = new Map();
  model = {
    get: () => undefined,
    send,
    on: (name, callback) => void listeners.set(name, callback as never),
    off: (name) => void listeners.delete(name),
  };
  host = document.createElement("div");
  stop = new AbortController();
  rpc = new Rpc(model);
  watch = new LinkWatch(model, rpc, host, stop.signal);
});
afterEach(() => {
  stop.abort();
  rpc.close();
  vi.useRealTimers();
});

const ask = () => void rpc.send({ kind: "refresh", revision: 0 }).catch(() => {});
const answer = (i: number) =>
  listeners.get("msg:custom")?.({ id: send.mock.calls[i]?.[0].id, kind: "result", value: null }, []);

it("is silent, not gone, when a question goes unanswered for ten seconds, and live at the next word", async () => {
  ask();
  answer(0);
  watch.heard();
  await vi.advanceTimersByTimeAsync(60_000); // nothing asked: nothing to wait for
  expect(watch.link.value).toBe("live");
  ask();
  await vi.advanceTimersByTimeAsync(9000);
  expect(watch.link.value).toBe("live");
  await vi.advanceTimersByTimeAsync(2000);
  expect(watch.link.value).toBe("silent");
  watch.heard(); // a pushed state: a kernel that is busy with a cell still pushes
  expect(watch.link.value).toBe("live");
  await vi.advanceTimersByTimeAsync(9000);
  expect(watch.link.value).toBe("live");
  await vi.advanceTimersByTimeAsync(2000);
  expect(watch.link.value).toBe("silent");
});

it("is silent sooner when nothing ever answered", async () => {
  ask();
  await vi.advanceTimersByTimeAsync(6100);
  expect(watch.link.value).toBe("silent");
});

it("is not silent while Python works on what it has acknowledged", async () => {
  ask();
  listeners.get("msg:custom")?.({ id: send.mock.calls[0]?.[0].id, kind: "ack" }, []);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(watch.link.value).toBe("live");
});

it("is gone when the front end refuses to send, until something is heard", async () => {
  send.mockImplementation(() => {
    throw new Error("Cannot send");
  });
  ask();
  expect(watch.link.value).toBe("gone");
  await vi.advanceTimersByTimeAsync(20_000);
  expect(watch.link.value).toBe("gone");
  watch.heard();
  expect(watch.link.value).toBe("live");
});

it("is gone while the front end marks the widget, from the beginning too", async () => {
  const outer = document.createElement("div");
  outer.append(host);
  outer.className = "jupyter-widgets-disconnected";
  await vi.advanceTimersByTimeAsync(1100);
  expect(watch.link.value).toBe("gone");
  ask();
  expect(send).not.toHaveBeenCalled();
  outer.className = "";
  await vi.advanceTimersByTimeAsync(1100);
  expect(watch.link.value).toBe("live");
  ask();
  expect(send).toHaveBeenCalledTimes(1);
});

it("is gone when the front end tells the model, until something is heard", async () => {
  ask();
  listeners.get("comm_live_update")?.();
  expect(watch.link.value).toBe("gone");
  expect(rpc.waitingSince()).toBeNull();
  await vi.advanceTimersByTimeAsync(20_000);
  expect(watch.link.value).toBe("gone");
  watch.heard();
  expect(watch.link.value).toBe("live");
});

it("is gone when JupyterLab's widget manager has lost its kernel", async () => {
  const manager: { kernel: unknown } = { kernel: { connectionStatus: "connected" } };
  Object.assign(model, { widget_manager: manager });
  await vi.advanceTimersByTimeAsync(1100);
  expect(watch.link.value).toBe("live");
  for (const kernel of [{ connectionStatus: "disconnected" }, null, { isDisposed: true }]) {
    manager.kernel = kernel;
    await vi.advanceTimersByTimeAsync(1100);
    expect(watch.link.value).toBe("gone");
    manager.kernel = { connectionStatus: "connecting" }; // it may come back
    await vi.advanceTimersByTimeAsync(1100);
    expect(watch.link.value).toBe("live");
  }
});
