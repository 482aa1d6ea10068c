/** Steering: a model writes with features turned up, down or off, beside what it writes itself. */
import { bundleOf, mountWidget } from "../lib/host";
import type { Model } from "../lib/rpc";
import { Store } from "./store";
import { Widget } from "./widget";

function render(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const frame = store.state.value.embedded ? "part" : "whole";
  const close = () => store.closeInnermost();
  mountWidget(model, parent, store, { label: "Steering", frame, close }, <Widget store={store} />);
}

export const VIEWS = { steering: render };
export default bundleOf(VIEWS);
