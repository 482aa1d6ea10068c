/**
 * A stand-in for an anywidget model and the Python half behind it: traits, listeners, and answers to commands. What it
 * shows is what Python's widgets said of a small workspace (`states.json`, written by tools/demo_states.py) with made-up
 * scenes on top (`scenes.json`): runs in every status, a hub, texts.
 */
import type { Model } from "../src/lib/rpc";
import scenes from "./scenes.json";
import states from "./states.json";

type Listener = (...args: never[]) => void;
type Sent<C> = C & { id: string };

export const HOSTILE = "<img src=x onerror=alert(1)>";
const now = Date.now() / 1000;

/** Times in scenes count from now, in seconds. */
function timed(data: unknown): unknown {
  if (Array.isArray(data)) return data.map(timed);
  if (typeof data !== "object" || data === null) return data;
  const later = ([key, value]: [string, unknown]) =>
    key.endsWith("_at") && typeof value === "number" && value <= 0 ? [key, now + value] : [key, timed(value)];
  return Object.fromEntries(Object.entries(data).map(later));
}

/** Answers that depend on nothing. */
const FIXED: Record<string, unknown> = scenes.answers;

/** Of one widget: what Python said, and the scenes. */
export const sceneOf = <S, R = unknown>(name: Exclude<keyof typeof scenes, "answers">): { scene: S; real: R } => ({
  scene: timed(scenes[name]) as S,
  real: (states as Record<string, unknown>)[name === "hub" ? "download" : name] as R,
});

/** Applies a change to the items of these ids. */
export const patched = <T extends { id: string }>(
  items: readonly T[],
  ids: readonly string[],
  change: Partial<T>,
): T[] => items.map((one) => (ids.includes(one.id) ? { ...one, ...change } : one));

/** An answer that is thrown, or named in `failures`: the command fails with it. */
export interface Refusal {
  what: string;
  where?: string;
  hint?: string;
  fields?: Record<string, string>;
}

/** An answer with columns of numbers. */
export class Numbers {
  readonly buffers: DataView[];

  constructor(
    readonly value: unknown,
    readonly columns: string[],
    data: number[][],
    Type: typeof Float32Array | typeof Float64Array = Float64Array,
  ) {
    this.buffers = data.map((one) => new DataView(Type.from(one).buffer));
  }
}

export interface FakeOptions<C extends { kind: string } = { kind: string }> {
  /** The kernel is busy for a while, or never answers. */
  late?: boolean;
  silent?: boolean;
  failures?: Partial<Record<C["kind"], Refusal>>;
  /** ms that the answer to a command takes. */
  delays?: Partial<Record<C["kind"], number>>;
}

/** What Python would answer, by command; nothing (null) where a command is only acknowledged. */
export type Answers<C extends { kind: string }> = {
  [K in C["kind"]]?: (command: Sent<Extract<C, { kind: K }>>) => unknown;
};

export abstract class FakeWidget<S extends { revision: number }, C extends { kind: string }> implements Model {
  readonly sent: Sent<C>[] = [];
  readonly buffers: ArrayBuffer[] = [];
  /** What some commands answer instead from now on: a failure, by kind. */
  readonly refused = new Map<string, Refusal>();
  /** Bytes of the file that was sent last. */
  uploaded = 0;
  protected readonly traits: Record<string, unknown>;
  protected abstract readonly answers: Answers<C>;
  private readonly listeners = new Map<string, Set<Listener>>();

  constructor(
    view: string,
    state: S,
    readonly options: FakeOptions<C> = {},
  ) {
    this.traits = { _view: view, state, theme: "auto", height: 640 };
  }

  send(content: unknown, _callbacks?: unknown, buffers: ArrayBuffer[] = []): void {
    const command = content as Sent<C>;
    this.sent.push(command);
    this.buffers.push(...buffers);
    if (!this.options.silent) setTimeout(() => this.reply(command, buffers), this.options.late ? 2500 : 4);
  }

  private reply(command: Sent<C>, buffers: ArrayBuffer[]): void {
    const { id } = command;
    const kind = command.kind as C["kind"];
    this.emit("msg:custom", { id, kind: "ack" }, []);
    const say = (message: object, data: DataView[] = []) =>
      setTimeout(() => this.emit("msg:custom", { id, ...message }, data), this.options.delays?.[kind] ?? 5);
    const fail = (refusal: Refusal) => say({ kind: "failure", where: null, hint: null, fields: {}, ...refusal });
    const refusal = this.refused.get(kind) ?? this.options.failures?.[kind];
    if (refusal && !("replace" in command && command.replace)) return void fail(refusal);
    try {
      const value = this.answers[kind]?.(command as never) ?? FIXED[kind] ?? this.uploads(command, buffers) ?? null;
      if (value instanceof Numbers) say({ kind: "result", value: value.value, columns: value.columns }, value.buffers);
      else say({ kind: "result", value, columns: [] });
    } catch (error) {
      if (error instanceof Error) throw error;
      fail(error as Refusal);
    }
  }

  private uploads({ kind }: { kind: string }, buffers: ArrayBuffer[]): unknown {
    if (kind === "begin_upload") this.uploaded = 0;
    for (const buffer of buffers) this.uploaded += buffer.byteLength;
    return { begin_upload: { upload_id: "u1" }, upload_chunk: { received: this.uploaded } }[kind];
  }

  get(name: string): unknown {
    return this.traits[name];
  }

  on(name: string, callback: Listener): void {
    this.listeners.set(name, (this.listeners.get(name) ?? new Set()).add(callback));
  }

  off(name: string, callback?: Listener | null): void {
    if (callback) this.listeners.get(name)?.delete(callback);
    else this.listeners.delete(name);
  }

  emit(name: string, ...args: unknown[]): void {
    for (const listener of [...(this.listeners.get(name) ?? [])]) listener(...(args as never[]));
  }

  get state(): S {
    return this.traits.state as S;
  }

  setState(change: Partial<S>): void {
    this.traits.state = { ...this.state, ...change, revision: this.state.revision + 1 };
    this.emit("change:state");
  }
}
