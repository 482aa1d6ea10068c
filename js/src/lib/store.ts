/** What every widget part on the page has: its state, the link to its kernel, what is open, and the commands it sends. */
import { type Signal, signal } from "@preact/signals";
import { type Answer, type AnswerTo, asFailure, isAbort, type Model, type Options, Rpc } from "./rpc";
import type { Failure } from "./wire";

export type Link = "live" | "silent" | "gone";

const FIRST_AFTER = 5000; // ms without any answer since opening
const SILENT_AFTER = 10_000; // ms without a word while a question waits
const LOOK_EVERY = 1000; // ms

/** Does the front end mark this widget, or the box around it, as one without a kernel? */
const isMarked = (host: Element): boolean => host.closest(".jupyter-widgets-disconnected") !== null;

/** Has JupyterLab's widget manager no kernel? Other front ends have no such property, and then nothing is known. */
function hasNoKernel(manager: unknown): boolean {
  if (typeof manager !== "object" || manager === null || !("kernel" in manager)) return false;
  const kernel = manager.kernel as { isDisposed?: unknown; connectionStatus?: unknown } | null | undefined;
  return !kernel || kernel.isDisposed === true || kernel.connectionStatus === "disconnected";
}

export class LinkWatch {
  readonly link: Signal<Link> = signal("live");
  /** When the state was last known to be up to date, by `performance.now()`; null if never. */
  readonly heardAt = signal<number | null>(null);

  private cut = false;

  constructor(
    private readonly model: Model,
    private readonly rpc: Rpc,
    private readonly host: Element,
    stop: AbortSignal,
  ) {
    rpc.onGone = () => {
      this.link.value = "gone";
    };
    const lose = () => rpc.lose();
    model.on("comm_live_update", lose); // all that a widget outside of a box is told
    const timer = setInterval(this.listen, LOOK_EVERY);
    stop.addEventListener("abort", () => {
      model.off("comm_live_update", lose);
      clearInterval(timer);
    });
  }

  /** Python said something: an answer to what was asked, or a new state. */
  heard(): void {
    if (this.cut) return; // a state restored from the notebook, not from a kernel
    this.heardAt.value = performance.now();
    this.link.value = "live";
  }

  private readonly listen = (): void => {
    const cut = isMarked(this.host) || hasNoKernel(this.model.widget_manager);
    if (cut !== this.cut) {
      this.cut = cut;
      if (cut) this.rpc.disconnect();
      else {
        this.rpc.reconnect();
        this.link.value = "live"; // the next question tells
      }
    }
    if (this.link.value === "gone") return;
    const last = Math.max(
      this.heardAt.value ?? Number.NEGATIVE_INFINITY,
      this.rpc.lastHeard ?? Number.NEGATIVE_INFINITY,
    );
    const since = this.rpc.waitingSince();
    const quiet = since === null ? 0 : performance.now() - Math.max(since, last);
    this.link.value = quiet >= (Number.isFinite(last) ? SILENT_AFTER : FIRST_AFTER) ? "silent" : "live";
  };
}

/** The trait `state` or the answer to `refresh`; null when it is something else. What is missing is as in `empty`. */
export function stateOf<S extends { revision: number }>(value: unknown, empty: S): S | null {
  const isState = typeof value === "object" && value !== null && typeof (value as S).revision === "number";
  return isState ? { ...empty, ...(value as Partial<S>) } : null;
}

/** Follows the trait `name` until `stop` aborts. `parse` turns foreign data into T, or null to keep the last good one. */
export function traitSignal<T>(
  model: Model,
  name: string,
  parse: (value: unknown) => T | null,
  initial: T,
  stop: AbortSignal,
): Signal<T> {
  const value = signal(parse(model.get(name)) ?? initial);
  const follow = () => {
    const next = parse(model.get(name));
    if (next !== null) value.value = next;
  };
  model.on(`change:${name}`, follow);
  stop.addEventListener("abort", () => model.off(`change:${name}`, follow));
  return value;
}

const ACTIVE = 1000; // ms between two questions while something runs
const IDLE = 4000; // and while nothing does

interface PullOptions<S> {
  /** An answer as a state; null when there is nothing new, or it is none. */
  parse: (value: unknown) => S | null;
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
  let timer: ReturnType<typeof setTimeout> | undefined;
  let lastChange = performance.now();
  let asked = -1;
  const unsubscribe = state.subscribe(() => {
    lastChange = performance.now();
  });

  const wait = () => {
    if (stop.aborted) return;
    const recent = performance.now() - lastChange < 10_000;
    timer = setTimeout(ask, options.isActive(state.value) || recent ? ACTIVE : IDLE);
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
      // Not reported here: that the kernel is gone or silent is said by whoever follows the link.
    }
    wait();
  };

  timer = setTimeout(ask, 50); // at once: after a page reload the saved state may be old
  stop.addEventListener("abort", () => {
    clearTimeout(timer);
    unsubscribe();
  });
}

export type Problem = Omit<Failure, "id" | "kind">;

export interface Done {
  text: string;
  sae?: string | undefined;
  title?: string | undefined;
}

export interface Outcome {
  title: string;
  lines: string[];
}

export const SETTLE = 2000; // ms in which the state that follows from an answer has surely arrived

/** `key` with its value, or without it when the value is undefined: maps in signals are replaced, not changed. */
export function withKey<K, V>(map: ReadonlyMap<K, V>, key: K, value: V | undefined): Map<K, V> {
  const next = new Map(map);
  if (value === undefined) next.delete(key);
  else next.set(key, value);
  return next;
}

/** `flag` is true for as long as the work takes. */
export async function during<T>(flag: Signal<boolean>, work: Promise<T>): Promise<T> {
  flag.value = true;
  try {
    return await work;
  } finally {
    flag.value = false;
  }
}

/** `S`: the synced state; `C`: the commands; `O`: what can be open in one item of a list. */
export abstract class BaseStore<S extends { revision: number }, C extends { kind: string }, O> {
  readonly rpc: Rpc;
  readonly state: Signal<S>;
  readonly link: Signal<Link>;
  readonly heardAt: Signal<number | null>;
  readonly keysShown = signal(false);
  readonly open = signal<ReadonlyMap<string, O>>(new Map());
  readonly late = signal<ReadonlyMap<string, string>>(new Map());
  readonly problems = signal<ReadonlyMap<string, Problem>>(new Map());
  readonly pending = signal<ReadonlyMap<string, string>>(new Map());
  readonly done = signal<ReadonlyMap<string, Done>>(new Map());
  readonly outcome = signal<Outcome | null>(null);
  readonly focusCard = signal<string | null>(null);
  private readonly watch: LinkWatch;

  announce: (text: string) => void = () => {};

  constructor(
    model: Model,
    host: Element,
    readonly stop: AbortSignal,
    empty: S,
    private readonly parse: (value: unknown) => S | null = (value) => stateOf(value, empty),
  ) {
    this.rpc = new Rpc(model);
    this.watch = new LinkWatch(model, this.rpc, host, stop);
    this.link = this.watch.link;
    this.heardAt = this.watch.heardAt;
    this.state = traitSignal(model, "state", this.parse, empty, stop);
  }

  /** Starts to follow the state: `onState` is called now and after every change. To be called once, when all is set up. */
  protected follow(onState: (before: S, after: S, first: boolean) => void, isActive: (state: S) => boolean): void {
    let first = true;
    let before = this.state.value;
    const unsubscribe = this.state.subscribe((next) => {
      if (!first) this.watch.heard();
      const [earlier, isFirst] = [before, first];
      first = false;
      before = next;
      onState(earlier, next, isFirst);
    });
    pull(this.rpc, this.state, this.stop, { parse: this.parse, isActive, onHeard: () => this.watch.heard() });
    this.stop.addEventListener("abort", () => {
      unsubscribe();
      this.rpc.close();
    });
  }

  /** Sends a command for the item `key`; failures and a busy kernel show up there. */
  async command<const K extends C>(
    key: string,
    word: string,
    command: K,
    options: Options = {},
  ): Promise<Answer<AnswerTo<K>> | null> {
    this.problems.value = withKey(this.problems.value, key, undefined);
    try {
      return await this.rpc.send(command, {
        ...options,
        onLate: (late) => {
          this.late.value = withKey(this.late.value, key, late ? word : undefined);
        },
      });
    } catch (error) {
      this.fail(key, error);
      return null;
    }
  }

  noted(id: string): boolean {
    return [this.late, this.problems, this.done].some((map) => map.value.has(id));
  }

  /** Notes below an item what was done there (the note is a status: readers hear of it). */
  say(key: string, text?: string, sae?: string, title?: string): void {
    this.done.value = withKey(this.done.value, key, text === undefined ? undefined : { text, sae, title });
  }

  /** Counts something as under way for these items. */
  protected mark(ids: readonly string[], action: string): void {
    for (const id of ids) this.pending.value = withKey(this.pending.value, id, action);
  }

  /** It is no longer; `late`: once the state that follows has surely arrived. */
  protected unmark(ids: readonly string[], action?: string, late = false): void {
    const end = () => {
      const ended = ids.filter((id) => action === undefined || this.pending.value.get(id) === action);
      for (const id of ended) this.pending.value = withKey(this.pending.value, id, undefined);
    };
    if (late) setTimeout(end, SETTLE);
    else end();
  }

  protected unmarkChanged<C extends { id: string }>(
    before: readonly C[],
    after: readonly C[],
    of: (card: C) => unknown,
  ): void {
    if (this.pending.value.size === 0) return;
    const now = new Map(after.map((card) => [card.id, of(card)]));
    this.unmark(before.filter((card) => now.get(card.id) !== of(card)).map((card) => card.id));
  }

  openFor(id: string, what: O | undefined): void {
    this.open.value = withKey(this.open.value, id, what);
  }

  dismiss(key: string): void {
    this.problems.value = withKey(this.problems.value, key, undefined);
  }

  refuse(key: string, what: string, hint: string): void {
    this.problems.value = withKey(this.problems.value, key, { what, hint, where: null, fields: {} });
  }

  fail(key: string, error: unknown): void {
    if (!isAbort(error)) this.problems.value = withKey(this.problems.value, key, asFailure(error));
  }
}

/** Settings that the user chose a moment ago, on top of those of Python's state until that carries them. */
export class Chosen<T extends object> {
  private readonly chosen: Signal<Partial<T>> = signal({});

  get all(): Partial<T> {
    return this.chosen.value;
  }

  over(state: T): T {
    return { ...state, ...this.chosen.value };
  }

  ahead(state: T): boolean {
    return (Object.entries(this.chosen.value) as [keyof T, unknown][]).some(([key, is]) => state[key] !== is);
  }

  take(change: Partial<T>): void {
    this.chosen.value = { ...this.chosen.value, ...change };
  }

  /** Lets the state decide again, except where something else was chosen meanwhile. */
  forget(change: Partial<T>, late = false): void {
    const end = () => {
      const left = { ...this.chosen.value };
      for (const key of Object.keys(change) as (keyof T)[]) if (left[key] === change[key]) delete left[key];
      this.chosen.value = left;
    };
    // an answer may overtake the state that carries the change
    if (late) setTimeout(end, SETTLE);
    else end();
  }
}
