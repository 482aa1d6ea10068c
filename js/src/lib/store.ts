/** What every widget part on the page has: its state, the link to its kernel, what is open, and the commands it sends. */
import { type Signal, signal } from "@preact/signals";
import { type Link, LinkWatch } from "./link";
import { pull } from "./pull";
import { type Answer, type AnswerTo, asFailure, isAbort, type Model, type Options, Rpc } from "./rpc";
import { stateOf, traitSignal } from "./sync";
import type { Failure } from "./wire";

export type Problem = Omit<Failure, "id" | "kind">;

/** `key` with its value, or without it when the value is undefined: maps in signals are replaced, not changed. */
export function withKey<V>(map: ReadonlyMap<string, V>, key: string, value: V | undefined): Map<string, V> {
  const next = new Map(map);
  if (value === undefined) next.delete(key);
  else next.set(key, value);
  return next;
}

/** `S`: the synced state; `C`: the commands; `O`: what can be open in one item of a list. */
export abstract class BaseStore<S extends { revision: number }, C extends { kind: string }, O> {
  readonly rpc: Rpc;
  readonly state: Signal<S>;
  readonly link: Signal<Link>;
  /** When the state was last known to be up to date, by `performance.now()`; null if never. */
  readonly heardAt: Signal<number | null>;
  readonly keysShown = signal(false);
  /** What is open in which item, by its id. */
  readonly open = signal<ReadonlyMap<string, O>>(new Map());
  /** The word for what waits behind a running cell, by item. */
  readonly late = signal<ReadonlyMap<string, string>>(new Map());
  /** What failed, by item. */
  readonly problems = signal<ReadonlyMap<string, Problem>>(new Map());
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

  openFor(id: string, what: O | undefined): void {
    this.open.value = withKey(this.open.value, id, what);
  }

  dismiss(key: string): void {
    this.problems.value = withKey(this.problems.value, key, undefined);
  }

  /** What cannot be done, found without asking Python. */
  refuse(key: string, what: string, hint: string): void {
    this.problems.value = withKey(this.problems.value, key, { what, hint, where: null, fields: {} });
  }

  fail(key: string, error: unknown): void {
    if (!isAbort(error)) this.problems.value = withKey(this.problems.value, key, asFailure(error));
  }
}
