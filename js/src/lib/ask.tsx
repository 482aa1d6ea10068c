/** Questions to Python: one for as long as a component is shown, or the newest of many. */
import { type Signal, signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Failed } from "./notes";
import { type AnswerTo, asFailure, isAbort, type Rpc } from "./rpc";
import type { Problem } from "./store";

/** Something that is asked for: nothing yet, under way, there, or failed. */
export interface Asked<T> {
  data: T | null;
  problem: Problem | null;
  /** No answer yet to the newest question. */
  busy: boolean;
}

/** A question of which only the newest counts; what is known stays until the answer comes. */
export class Latest<T> {
  readonly asked: Signal<Asked<T>> = signal({ data: null, problem: null, busy: false });
  private stop = new AbortController();

  get value(): Asked<T> {
    return this.asked.value;
  }

  /** Asks; an earlier question is given up. The answer, or null where there is none. `keep`: also when it fails. */
  async ask(question: (signal: AbortSignal) => Promise<T>, keep = false): Promise<T | null> {
    this.stop.abort();
    const stop = new AbortController();
    this.stop = stop;
    this.asked.value = { data: this.value.data, problem: null, busy: true };
    try {
      const data = await question(stop.signal);
      if (stop.signal.aborted) return null;
      this.asked.value = { data, problem: null, busy: false };
      return data;
    } catch (error) {
      if (isAbort(error) || stop.signal.aborted) return null;
      this.asked.value = { data: keep ? this.value.data : null, problem: asFailure(error), busy: false };
      return null;
    }
  }

  set(data: T | null): void {
    this.asked.value = { ...this.value, data };
  }

  /** Gives up the question; what is known stays. */
  giveUp(): void {
    this.stop.abort();
    if (this.value.busy) this.asked.value = { ...this.value, busy: false };
  }

  forget(): void {
    this.stop.abort();
    this.asked.value = { data: null, problem: null, busy: false };
  }
}

export interface Asking<T> extends Asked<T> {
  /** Asks again. */
  again: () => void;
}

/**
 * Asks when it is first shown, whenever `key` changes and, if told, every so many ms; what is known stays on the screen
 * meanwhile.
 */
export function useAnswer<const C extends { kind: string }>(
  rpc: Rpc,
  command: C,
  key: string,
  every?: number,
): Asking<AnswerTo<C>> {
  const [asked, setAsked] = useState<Asked<AnswerTo<C>>>({ data: null, problem: null, busy: true });
  const [round, setRound] = useState(0);
  // `key` stands for the command, which is made anew each time
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async () => {
      setAsked((before) => ({ ...before, busy: true }));
      try {
        const { value } = await rpc.send(command, { signal: stop.signal });
        setAsked({ data: value, problem: null, busy: false });
      } catch (error) {
        if (isAbort(error)) return;
        setAsked((before) => ({ ...before, problem: asFailure(error), busy: false }));
      }
      if (every && !stop.signal.aborted) timer = setTimeout(ask, every);
    };
    void ask();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [rpc, key, every, round]);
  return { ...asked, again: () => setRound((old) => old + 1) };
}

interface AnsweredProps<T> {
  of: Asking<T>;
  /** What is said until the answer comes. */
  wait?: string;
  children: (data: T) => ComponentChildren;
}

/** What was asked for; or that it is on its way, or why it did not come. */
export function Answered<T>({ of: { data, problem, again }, wait = "Asking the kernel…", children }: AnsweredProps<T>) {
  return (
    <>
      {problem && <Failed problem={problem} onAgain={again} />}
      {data === null && !problem && (
        <p class="sm t2" role="status">
          {wait}
        </p>
      )}
      {data !== null && children(data)}
    </>
  );
}
