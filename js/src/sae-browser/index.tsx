/** The SAE browser in the page. */
import { asHeight, asTheme, mountRoot } from "../lib/host";
import { widgetKey } from "../lib/keys";
import type { Model } from "../lib/rpc";
import { Browser } from "./browser";
import { Store } from "./store";

export function renderBrowser(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const root = mountRoot(parent, {
    label: "SAE browser",
    frame: "part",
    theme: asTheme(model.get("theme")),
    height: asHeight(model.get("height")),
    store,
    onKey: (event) =>
      widgetKey(root.element, event, {
        close: () => closeInnermost(store),
        letters: {
          n: () => void store.turnPage(1, true),
          p: () => void store.turnPage(-1, true),
          "?": () => {
            store.keysShown.value = !store.keysShown.value;
          },
        },
      }),
  });
  store.announce = root.announce;
  root.draw(<Browser store={store} />);
}

function closeInnermost(store: Store): boolean {
  if (store.keysShown.value) store.keysShown.value = false;
  else if (store.adding.shown.value && !store.adding.busy) store.adding.shown.value = false;
  else if (store.bulk.value) store.bulk.value = null;
  else if (store.compared.value) store.compared.value = null;
  else if (store.open.value.size) store.open.value = new Map();
  else return false;
  return true;
}
