/** Questions to Python: one for as long as a component is shown, or the newest of many. */
import { type Signal, signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Failed } from "./notes";
import { asFailure, isAbort, type Rpc } from "./rpc";
import type { Problem } from "./store";

export interface Asked<T> {
  data: T | null;
  problem: Problem | null;
  /** No answer yet to the newest question. */
  busy: boolean;
}

/** A question of which only the newest counts; what is known, or went wrong, stays until the answer comes. */
export class Latest<T> {
  readonly asked: Signal<Asked<T>> = signal({ data: null, problem: null, busy: false });
  private stop = new AbortController();

  get value(): Asked<T> {
    return this.asked.value;
  }

  /** Asks; an earlier question is given up. The answer, or null where there is none. `keep`: what is known, if it fails. */
  async ask(question: (signal: AbortSignal) => Promise<T>, keep = false): Promise<T | null> {
    this.stop.abort();
    this.stop = new AbortController();
    const { signal } = this.stop;
    this.asked.value = { ...this.asked.peek(), busy: true };
    try {
      const data = await question(signal);
      if (signal.aborted) return null;
      this.asked.value = { data, problem: null, busy: false };
      return data;
    } catch (error) {
      if (!isAbort(error) && !signal.aborted)
        this.asked.value = { data: keep ? this.value.data : null, problem: asFailure(error), busy: false };
      return null;
    }
  }

  set(data: T | null): void {
    this.asked.value = { ...this.value, data };
  }

  giveUp(): void {
    this.stop.abort();
    if (this.value.busy) this.asked.value = { ...this.value, busy: false };
  }

  forget(): void {
    this.stop.abort();
    this.asked.value = { data: null, problem: null, busy: false };
  }
}

/** For a question that follows typing: it is asked when that rests. */
export const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export interface Asking<T> extends Asked<T> {
  again: () => void;
}

/** Asks when it is first shown, whenever `key` changes and, if told, every so many ms. */
export function useAsked<T>(question: (signal: AbortSignal) => Promise<T>, key: string, every?: number): Asking<T> {
  const latest = useMemo(() => new Latest<T>(), []);
  const [round, setRound] = useState(0);
  // `key` stands for the question, which is made anew each time
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let shown = true;
    const ask = async () => {
      await latest.ask(question, true);
      if (every && shown) timer = setTimeout(ask, every);
    };
    void ask();
    return () => {
      shown = false;
      latest.giveUp();
      clearTimeout(timer);
    };
  }, [key, every, round]);
  const { data, problem, busy } = latest.value;
  return { data, problem, busy: busy || (data === null && problem === null), again: () => setRound(round + 1) };
}

export const useAnswer = <const C extends { kind: string }>(rpc: Rpc, command: C, key: string, every?: number) =>
  useAsked(async (signal) => (await rpc.send(command, { signal })).value, key, every);

interface AnsweredProps<T> {
  of: Asking<T>;
  wait?: string;
  children: (data: T) => ComponentChildren;
}

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
