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
  const [data, setData] = useState<T | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(true);
  const [round, setRound] = useState(0);
  // `key` stands for the command, which is made anew each time
  useEffect(() => {
    const stop = new AbortController();
    setBusy(true);
    rpc.send(command, { signal: stop.signal }).then(
      (answer) => {
        setData(answer.value as T);
        setProblem(null);
        setBusy(false);
      },
      (error) => {
        if (isAbort(error)) return;
        setProblem(asFailure(error));
        setBusy(false);
      },
    );
    return () => stop.abort();
  }, [rpc, key, round]);
  return { data, problem, busy, again: () => setRound(round + 1) };
}
