/** One question to Python for as long as a component is shown. */
import { useEffect, useState } from "preact/hooks";
import { asFailure, isAbort, type Rpc } from "./rpc";
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
export function useAnswer<T>(rpc: Rpc, command: { kind: string; [field: string]: unknown }, key: string): Asked<T> {
  const [asked, setAsked] = useState<Omit<Asked<T>, "again">>({ data: null, problem: null, busy: true });
  const [round, setRound] = useState(0);
  // `key` stands for the command, which is made anew each time
  useEffect(() => {
    const stop = new AbortController();
    setAsked((before) => ({ ...before, busy: true }));
    rpc.send(command, { signal: stop.signal }).then(
      (answer) => setAsked({ data: answer.value as T, problem: null, busy: false }),
      (error) => {
        if (!isAbort(error)) setAsked((before) => ({ ...before, problem: asFailure(error), busy: false }));
      },
    );
    return () => stop.abort();
  }, [rpc, key, round]);
  return { ...asked, again: () => setRound(round + 1) };
}
