import { signal } from "@preact/signals";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Answer, Rpc } from "../../src/lib/rpc";
import { pull, stateOf } from "../../src/lib/store";
import { EMPTY_STATE, type PanelState } from "../../src/lib/wire";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function setup(answer: (revision: number) => Promise<unknown>) {
  const state = signal<PanelState>({ ...EMPTY_STATE, revision: 3 });
  const asked: number[] = [];
  const rpc = {
    send: async (command: { revision: number }): Promise<Answer> => {
      asked.push(command.revision);
      return { value: await answer(command.revision), columns: [], buffers: [] };
    },
  } as unknown as Rpc;
  const stop = new AbortController();
  const heard = vi.fn();
  pull(rpc, state, stop.signal, {
    parse: (value) => stateOf(value, EMPTY_STATE),
    isActive: () => true,
    onHeard: heard,
  });
  return { state, asked, stop, heard };
}

it("takes a newer state and asks with its revision next", async () => {
  const { state, asked, stop, heard } = setup(async (revision) =>
    revision === 3 ? { ...EMPTY_STATE, revision: 5 } : null,
  );
  await vi.advanceTimersByTimeAsync(2200);
  expect(state.value.revision).toBe(5);
  expect(asked).toEqual([3, 5, 5]);
  expect(heard).toHaveBeenCalledTimes(3);
  stop.abort();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked).toHaveLength(3);
});

it("does not go back behind a push that overtook the answer", async () => {
  const { state, stop } = setup(
    () => new Promise((resolve) => setTimeout(() => resolve({ ...EMPTY_STATE, revision: 5 }), 300)),
  );
  await vi.advanceTimersByTimeAsync(100);
  state.value = { ...EMPTY_STATE, revision: 9 };
  await vi.advanceTimersByTimeAsync(500);
  expect(state.value.revision).toBe(9);
  stop.abort();
});

it("does not pile up questions to a kernel that does not answer", async () => {
  const { asked, stop } = setup(() => new Promise(() => {}));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toHaveLength(1);
  stop.abort();
});
