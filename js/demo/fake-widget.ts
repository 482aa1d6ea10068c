/** What every stand-in for an anywidget model does: traits, listeners, and a record of the commands it was sent. */
import type { Model } from "../src/lib/rpc";

type Listener = (...args: never[]) => void;

export abstract class FakeWidget<State extends { revision: number }, Command extends { kind: string }>
  implements Model
{
  readonly sent: (Command & { id: string })[] = [];
  protected readonly traits: Record<string, unknown>;
  private readonly listeners = new Map<string, Set<Listener>>();

  constructor(view: string, state: State, height = 640) {
    this.traits = { _view: view, state, theme: "auto", height };
  }

  abstract send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;

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

  get state(): State {
    return this.traits.state as State;
  }

  setState(change: Partial<State>): void {
    this.traits.state = { ...this.state, ...change, revision: this.state.revision + 1 };
    this.emit("change:state");
  }
}
