/**
 * Asks for what changed since the last revision, slowly. Pushed traits only make it sooner: some front ends (Colab) do
 * not show what a worker thread pushes, so a page that only listened would stand still there.
 */
import type { Signal } from "@preact/signals";
import { isAbort, type Rpc } from "./rpc";

interface PullOptions<S> {
  /** An answer as a state; null when there is nothing new, or it is none. */
  parse: (value: unknown) => S | null;
  /** ms between two questions while something runs, and while nothing does. */
  active?: number;
  idle?: number;
  isActive: (state: S) => boolean;
  onHeard: () => void;
}

/** Starts the timer; it stops when `stop` aborts. One question at a time: a kernel that is busy is not sent more. */
export function pull<S extends { revision: number }>(
  rpc: Rpc,
  state: Signal<S>,
  stop: AbortSignal,
  options: PullOptions<S>,
): void {
  const { active = 1000, idle = 4000 } = options;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let lastChange = performance.now();
  let asked = -1;
  const unsubscribe = state.subscribe(() => {
    lastChange = performance.now();
  });

  const wait = () => {
    if (stop.aborted) return;
    const recent = performance.now() - lastChange < 10_000;
    timer = setTimeout(ask, options.isActive(state.value) || recent ? active : idle);
  };

  const ask = async () => {
    if (typeof document !== "undefined" && document.hidden) return wait();
    asked = state.value.revision;
    try {
      const answer = await rpc.send({ kind: "refresh", revision: asked }, { signal: stop });
      const next = options.parse(answer.value);
      // A push may have overtaken the answer.
      if (next !== null && next.revision > state.value.revision) state.value = next;
      options.onHeard();
    } catch (error) {
      if (isAbort(error)) return;
      // Not reported here: that the kernel is gone or silent is said by whoever follows the link (`link.ts`).
    }
    wait();
  };

  timer = setTimeout(ask, 50); // at once: after a page reload the saved state may be old
  stop.addEventListener("abort", () => {
    clearTimeout(timer);
    unsubscribe();
  });
}
