/** Steering: a model writes with features turned up, down or off, beside what it writes itself. */
import { asHeight, asTheme, mountRoot } from "../lib/host";
import { widgetKey } from "../lib/keys";
import type { Model } from "../lib/rpc";
import { Store } from "./store";
import { Widget } from "./widget";

export function renderSteering(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const root = mountRoot(parent, {
    label: "Steering",
    frame: store.state.value.embedded ? "part" : "whole",
    theme: asTheme(model.get("theme")),
    height: asHeight(model.get("height")),
    store,
    onKey: (event) =>
      emptied(event) ||
      widgetKey(root.element, event, {
        close: () => store.closeInnermost(),
        letters: {
          "?": () => {
            store.keysShown.value = !store.keysShown.value;
          },
        },
      }),
  });
  store.announce = root.announce;
  root.draw(<Widget store={store} />);
}

/** Esc empties the search before it closes anything. */
function emptied(event: KeyboardEvent): boolean {
  const { key, target } = event;
  if (key !== "Escape" || !(target instanceof HTMLInputElement) || target.type !== "search" || !target.value)
    return false;
  target.value = "";
  target.dispatchEvent(new Event("input", { bubbles: true }));
  return true;
}
