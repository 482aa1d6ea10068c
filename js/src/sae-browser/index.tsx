/** The SAE browser in the page. */
import { mountWidget } from "../lib/host";
import type { Model } from "../lib/rpc";
import { Browser } from "./browser";
import { Store } from "./store";

export function renderBrowser(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const options = {
    label: "SAE browser",
    close: () => closeInnermost(store),
    letters: () => ({ n: () => store.turnPage(1, true), p: () => store.turnPage(-1, true) }),
  };
  mountWidget(model, parent, store, options, <Browser store={store} />);
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
