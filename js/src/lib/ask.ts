/** One question to Python for as long as a component is shown. */
import { useEffect, useState } from "preact/hooks";
import { type AnswerTo, asFailure, isAbort, type Rpc } from "./rpc";
import type { Problem } from "./store";

export interface Asked<T> {
  data: T | null;
  problem: Problem | null;
  /** No answer yet to the newest question. */
  busy: boolean;
  /** Asks again. */
  again: () => void;
}

/** Asks when it is first shown and whenever `key` changes; what is known stays on the screen meanwhile. */
export function useAnswer<const C extends { kind: string }>(rpc: Rpc, command: C, key: string): Asked<AnswerTo<C>> {
  const [asked, setAsked] = useState<Omit<Asked<AnswerTo<C>>, "again">>({ data: null, problem: null, busy: true });
  const [round, setRound] = useState(0);
  // `key` stands for the command, which is made anew each time
  useEffect(() => {
    const stop = new AbortController();
    setAsked((before) => ({ ...before, busy: true }));
    rpc.send(command, { signal: stop.signal }).then(
      (answer) => setAsked({ data: answer.value, problem: null, busy: false }),
      (error) => {
        if (!isAbort(error)) setAsked((before) => ({ ...before, problem: asFailure(error), busy: false }));
      },
    );
    return () => stop.abort();
  }, [rpc, key, round]);
  return { ...asked, again: () => setRound(round + 1) };
}
