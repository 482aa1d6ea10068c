/**
 * A stand-in for an anywidget model and the Python half behind it: traits, listeners, and answers to commands. What it
 * shows is what Python's widgets said of a small workspace (`states.json`, written by tools/demo_states.py) with made-up
 * scenes on top (`scenes.json`): runs in every status, a hub, texts.
 */
import type { Model } from "../src/lib/rpc";
import type { Failure, Answers as Recorded } from "../src/lib/wire";
import scenes from "./scenes.json";
import states from "./states.json";

type Listener = (...args: never[]) => void;
type Sent<C> = C & { id: string };
type Json = Record<string, unknown>;
type Kind = { kind: string };

export const HOSTILE = "<img src=x onerror=alert(1)>";
/** What becomes of a job by an action. */
export const NEXT: Record<string, string> = {
  ...{ start: "running", resume: "running", retry: "running", pause: "paused", cancel: "cancelled" },
  ...{ stop: "stopped", stop_without_saving: "stopped" },
};
/** Tells what a job does first, and what has become of it then. */
export function moved(action: string, tell: (status: string) => void): void {
  const first = action === "pause" ? "pausing" : action.startsWith("stop") && "stopping";
  if (first) tell(first);
  setTimeout(() => tell(NEXT[action] ?? ""), first ? 800 : 0);
}

const now = Date.now() / 1000;
const isObject = (data: unknown): data is Json => typeof data === "object" && data !== null && !Array.isArray(data);

/** A scene over what Python said; "key!" instead of it. Items of a list are over Python's first, times count from now. */
function played(scene: unknown, real?: unknown): unknown {
  if (Array.isArray(scene)) return scene.map((one) => played(one, Array.isArray(real) ? real[0] : undefined));
  if (!isObject(scene)) return scene;
  const under = isObject(real) ? real : {};
  const over = Object.entries(scene).map(([key, value]) => {
    if (key.endsWith("_at") && typeof value === "number" && value <= 0) return [key, now + value];
    return [key.replace("!", ""), played(value, under[key])];
  });
  return { ...under, ...Object.fromEntries(over) };
}

const SCENES = played(scenes, states) as typeof scenes;
const WIDGETS = Object.values(SCENES) as { answers?: Json }[];
/** What Python answers to commands of a kind. */
export const RECORDED = Object.assign({}, ...WIDGETS.map((one) => one.answers)) as Recorded;

const WILD = [` ${HOSTILE}`, "\u0000", "\u202egnirts", "x".repeat(10_000), "\t", "\u200b"];

/** Words that nobody should trust in place of an answer's own. */
function untrusted(key: string, value: unknown): unknown {
  if (key === "texts") return [...WILD, ...(value as string[]).slice(WILD.length)];
  if (key === "label" && value) return `${HOSTILE} ${"y".repeat(10_000)}`;
  return key === "token" || key === "text" ? HOSTILE : value;
}

/** A recorded answer; what the command names is as there. */
function asked(answer: unknown, command: object): unknown {
  if (!isObject(answer)) return answer ?? null;
  if ("numbers" in answer) return { ...answer, value: asked(answer.value, command) };
  const named = Object.entries(command).filter(([key, value]) => key in answer && key !== "id" && value !== null);
  return { ...answer, ...Object.fromEntries(named) };
}

export const sceneOf = <K extends keyof typeof scenes>(name: K) => SCENES[name];

/** The fields of a form that have a value here, with it. */
export const filled = <F extends { name: string }>(fields: F[], key: keyof F, values: Json): F[] =>
  Object.keys(values).flatMap((name) =>
    fields.filter((field) => field.name === name).map((field) => ({ ...field, [key]: values[name] })),
  );

/** An answer with columns of numbers. */
export interface Read<T = unknown> {
  value: T;
  numbers: Record<string, number[]>;
}

/** Applies a change to the items of these ids. */
export const patched = <T extends { id: string }>(items: T[], ids: readonly string[], change: Partial<T>): T[] =>
  items.map((one) => (ids.includes(one.id) ? { ...one, ...change } : one));

/** An answer with which a command fails. */
export type Refusal = Pick<Failure, "what"> & Partial<Failure>;

export interface FakeOptions<C extends Kind = Kind> {
  /** The kernel is busy for a while, or never answers. */
  late?: boolean;
  silent?: boolean;
  /** Tokens and labels that nobody should trust. */
  hostile?: boolean;
  failures?: Partial<Record<C["kind"], Refusal>>;
  /** What is different about the answer to a command. */
  says?: Partial<Record<C["kind"], object>>;
  /** ms that the answer to a command takes. */
  delays?: Partial<Record<C["kind"], number>>;
}

/** What is not answered as recorded, by command. */
export type Answers<C extends Kind> = {
  [K in C["kind"]]?: (command: Sent<Extract<C, { kind: K }>>) => unknown;
};

export abstract class FakeWidget<
  S extends { revision: number },
  C extends Kind,
  O extends FakeOptions<C> = FakeOptions<C>,
> implements Model
{
  readonly sent: Sent<C>[] = [];
  readonly buffers: ArrayBuffer[] = [];
  protected readonly traits: Record<string, unknown>;
  protected abstract readonly view: string;
  protected abstract readonly answers: Answers<C>;
  private readonly listeners = new Map<string, Set<Listener>>();

  constructor(
    state: S,
    readonly options = {} as O,
  ) {
    this.traits = { state, theme: "auto", height: 640 };
  }

  send(content: unknown, _callbacks?: unknown, buffers: ArrayBuffer[] = []): void {
    const command = content as Sent<C>;
    this.sent.push(command);
    this.buffers.push(...buffers);
    if (!this.options.silent) setTimeout(() => this.reply(command), this.options.late ? 2500 : 4);
  }

  private reply(command: Sent<C>): void {
    const { id } = command;
    const kind = command.kind as C["kind"];
    this.emit("msg:custom", { id, kind: "ack" }, []);
    const say = (message: object, data: DataView[] = []) =>
      setTimeout(() => this.emit("msg:custom", { id, ...message }, data), this.options.delays?.[kind] ?? 5);
    const refusal = "replace" in command && command.replace ? undefined : this.options.failures?.[kind];
    const answer =
      refusal ?? this.answers[kind]?.(command as never) ?? asked((RECORDED as object as Json)[kind], command);
    if (isObject(answer) && "what" in answer) {
      return void say({ kind: "failure", where: null, hint: null, fields: {}, ...answer });
    }
    const plain = !isObject(answer) || !("numbers" in answer);
    const { value, numbers } = plain ? { value: answer, numbers: {} } : (answer as object as Read);
    const own = isObject(value) ? { ...value, ...this.options.says?.[kind] } : value;
    const said = this.options.hostile ? JSON.parse(JSON.stringify(own, untrusted)) : own;
    const buffers = Object.entries(numbers).map(([name, data]) => {
      const Type = name === "activations" ? Float32Array : Float64Array;
      return new DataView(Type.from(data).buffer);
    });
    say({ kind: "result", value: said, columns: Object.keys(numbers) }, buffers);
  }

  get(name: string): unknown {
    return name === "_view" ? this.view : this.traits[name];
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
