/**
 * Commands with answers over the widget's custom messages.
 *
 * Several views and parts share one channel: every command has an id of its own and replies to other ids are ignored.
 * Python acknowledges at once; a command that is not acknowledged in `ACK_AFTER` waits behind a running cell, which
 * `onLate` tells the caller so that it can say so.
 *
 * ipykernel 7.0 to 7.3 can leave a request unread until the next one arrives (fixed in 7.4: its shell socket is read on
 * edges, and a reply sent at the same moment uses one up). So while a command waits for its acknowledgement, a `nudge` is
 * sent now and then, ever less often: a kernel busy for an hour finds some dozens of them, not thousands.
 *
 * Colab does not show what Python sends later than its acknowledgement. So the nudges go on, faster, while a command waits
 * for its answer: they name it, and the answer comes with the acknowledgement of the nudge.
 */
import type { Ack, Answers, Failure, Result } from "./wire";

export type Buffer = DataView | ArrayBuffer | Uint8Array;

/** The bytes of a column of values of `size` bytes; copied where the view does not start at a multiple of that. */
function columnOf(buffer: Buffer, size: 4 | 8): [ArrayBufferLike, number, number] {
  const whole = buffer instanceof ArrayBuffer;
  const bytes = whole ? new Uint8Array(buffer) : new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  if (bytes.byteLength % size !== 0) throw new RangeError(`A float${8 * size} column has ${bytes.byteLength} bytes.`);
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return [aligned.buffer, aligned.byteOffset, aligned.byteLength / size];
}

/** Little-endian float64 values. */
export const toFloat64 = (buffer: Buffer): Float64Array => new Float64Array(...columnOf(buffer, 8));

/** Little-endian float32 values. */
export const toFloat32 = (buffer: Buffer): Float32Array => new Float32Array(...columnOf(buffer, 4));

/** The columns of a `Result` by name. Throws when names and buffers do not match, rather than show shifted numbers. */
export function columnsOf(names: readonly string[], buffers: readonly Buffer[]): Map<string, Float64Array> {
  if (names.length !== buffers.length) {
    throw new RangeError(`${names.length} column names came with ${buffers.length} buffers.`);
  }
  return new Map(names.map((name, i) => [name, toFloat64(buffers[i] as Buffer)]));
}

const ACK_AFTER = 500; // ms
const NUDGE_AFTER = 2000; // ms; doubles each time, up to a minute
const NUDGE_AT_MOST_EVERY = 60_000; // ms
export const POLL_AFTER = 150; // ms; what is acknowledged, and asked for while the kernel answers
const POLL_EVERY = 500; // ms
export const BUFFER_LIMIT = 1_000_000; // bytes; what Python takes as one buffer (widgets/commands.py)
const TIMEOUT = 10 * 60_000; // ms: a queued click waits for the user's cell, however long that runs

/** What the page needs of an anywidget model. */
export interface Model {
  get(name: string): unknown;
  readonly widget_manager?: unknown;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[] | ArrayBufferView[]): void;
  on(name: string, callback: (...args: never[]) => void): void;
  off(name: string, callback?: ((...args: never[]) => void) | null): void;
}

/** Python refused: `what`, `where`, `hint` and the fields at fault. */
export class CommandError extends Error {
  constructor(readonly failure: Omit<Failure, "id" | "kind">) {
    super([failure.what, failure.hint].filter(Boolean).join(" "));
    this.name = "CommandError";
  }
}

const problem = (what: string, where: string | null, hint: string) =>
  new CommandError({ what, where, hint, fields: {} });
const notConnected = () => problem("The kernel is not connected.", null, "Run the cell again.");
const silent = (kind: string) =>
  problem(
    `The kernel did not answer for ${TIMEOUT / 1000} s.`,
    kind,
    "It may be busy or gone. Try again, or run the cell again.",
  );
const givenUp = (why: string) => new DOMException(why, "AbortError");

export type AnswerTo<C extends { kind: string }> = C["kind"] extends keyof Answers ? Answers[C["kind"]] : null;

export interface Answer<T = unknown> {
  value: T;
  columns: string[];
  buffers: Buffer[];
}

export interface Options {
  /** Called with true when there is no acknowledgement after half a second, with false once it comes (or all is over). */
  onLate?: (late: boolean) => void;
  signal?: AbortSignal;
  /** Binary data that travels with the command, at most `BUFFER_LIMIT` bytes each. */
  buffers?: ArrayBuffer[];
}

interface Pending {
  since: number;
  heard: boolean;
  resolve: (answer: Answer) => void;
  reject: (error: Error) => void;
  acknowledge: () => void;
}

export class Rpc {
  private readonly pending = new Map<string, Pending>();
  private readonly client = Math.random().toString(36).slice(2, 10);
  private count = 0;
  private closed = false;
  private cut = false;
  private nudges: ReturnType<typeof setTimeout> | undefined;
  /** When Python last answered anything, by `performance.now()`; null if never. */
  lastHeard: number | null = null;
  /** Called when the front end refuses to send: the kernel behind this widget is gone. */
  onGone: () => void = () => {};

  constructor(private readonly model: Model) {
    model.on("msg:custom", this.receive);
  }

  send<const C extends { kind: string }>(command: C, options: Options = {}): Promise<Answer<AnswerTo<C>>> {
    this.count += 1;
    const id = `${this.client}-${this.count}`;
    return new Promise((resolve, reject) => {
      if (this.closed || options.signal?.aborted) return reject(givenUp("The view was closed."));
      if (this.cut) return reject(notConnected());
      let late = false;
      const lateTimer = setTimeout(() => {
        late = true;
        options.onLate?.(true);
      }, ACK_AFTER);
      const acknowledge = () => {
        clearTimeout(lateTimer);
        if (!entry.heard) this.nudge(POLL_AFTER);
        entry.heard = true;
        if (late) options.onLate?.(false);
        late = false;
      };
      const finish = () => {
        acknowledge();
        clearTimeout(timer);
        options.signal?.removeEventListener("abort", abort);
        this.pending.delete(id);
        if (this.pending.size === 0) clearTimeout(this.nudges);
      };
      const fail = (error: Error) => {
        finish();
        reject(error);
      };
      const abort = () => fail(givenUp("The command was given up."));
      const timer = setTimeout(() => fail(silent(command.kind)), TIMEOUT);
      options.signal?.addEventListener("abort", abort);
      const entry: Pending = {
        since: performance.now(),
        heard: false,
        acknowledge,
        resolve: (answer) => {
          finish();
          resolve(answer as Answer<AnswerTo<C>>);
        },
        reject: fail,
      };
      this.pending.set(id, entry);
      if (this.pending.size === 1) this.nudge(NUDGE_AFTER);
      try {
        if (options.buffers?.length) this.model.send({ id, ...command }, undefined, options.buffers);
        else this.model.send({ id, ...command });
      } catch {
        // The comm is gone (kernel shut down, saved notebook): the front end throws instead of sending.
        fail(notConnected());
        this.lose();
      }
    });
  }

  /** Since when the oldest command waits for its acknowledgement, by `performance.now()`; null when none does. */
  waitingSince(): number | null {
    const since = [...this.pending.values()].filter((entry) => !entry.heard).map((entry) => entry.since);
    return since.length ? Math.min(...since) : null;
  }

  /** The front end says that the kernel is gone: whatever waits fails now, and what follows fails at once. */
  disconnect(): void {
    this.cut = true;
    this.lose();
  }

  reconnect(): void {
    this.cut = false;
  }

  /** The kernel is gone, for all that is known: whatever waits fails now. What follows is tried. */
  lose(): void {
    for (const entry of [...this.pending.values()]) entry.reject(notConnected());
    this.onGone();
  }

  /** Asks for what is under way, again and again until nothing is; ever less often while nothing is heard. */
  private nudge(delay: number): void {
    clearTimeout(this.nudges);
    const since = performance.now();
    this.nudges = setTimeout(() => {
      this.count += 1;
      const waiting = [...this.pending].filter(([, entry]) => entry.heard).map(([id]) => id);
      try {
        this.model.send({ id: `${this.client}-${this.count}`, kind: "nudge", waiting });
      } catch {
        return; // the comm is gone: what waits was told so, or is told by its own timeout
      }
      const answers = waiting.length > 0 && (this.lastHeard ?? -1) >= since;
      this.nudge(answers ? POLL_EVERY : Math.min(2 * delay, NUDGE_AT_MOST_EVERY));
    }, delay);
  }

  /** Gives up all that is under way; to be called when the view goes. */
  close(): void {
    this.closed = true;
    this.model.off("msg:custom", this.receive);
    for (const entry of [...this.pending.values()]) entry.reject(givenUp("The view was closed."));
  }

  private readonly receive = (reply: Ack | Result | Failure, buffers: Buffer[] = []): void => {
    if (typeof reply?.id !== "string") return; // another message
    if (reply.id.startsWith(this.client)) this.lastHeard = performance.now();
    const entry = this.pending.get(reply.id);
    if (entry === undefined) return; // of another view, of a nudge, or given up
    if (reply.kind === "ack") entry.acknowledge();
    else if (reply.kind === "failure") entry.reject(new CommandError(reply));
    else entry.resolve({ value: reply.value, columns: reply.columns, buffers });
  };
}

export const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";

/** Any thrown value as the parts a note shows. */
export function asFailure(error: unknown): Omit<Failure, "id" | "kind"> {
  if (error instanceof CommandError) return error.failure;
  return { what: error instanceof Error ? error.message : String(error), where: null, hint: null, fields: {} };
}
