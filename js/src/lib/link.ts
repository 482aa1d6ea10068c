/**
 * What the page can know of its kernel.
 *
 * `gone`: the front end itself says so. JupyterLab tells the models of a kernel that was restarted, marks boxes of them with
 * a class, and its widget manager has no connected kernel any more after a shutdown; others refuse to send. `silent`:
 * something was asked and nothing at all was heard for a while. That is a kernel busy with a cell (where there are no
 * subshells) or one that died unnoticed: the page cannot tell, and must not call it disconnected.
 */
import { type Signal, signal } from "@preact/signals";
import type { Model, Rpc } from "./rpc";

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
