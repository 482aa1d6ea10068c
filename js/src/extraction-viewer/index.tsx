/** The extraction viewer in the page. */
import { bundleOf, mountWidget } from "../lib/host";
import type { Model } from "../lib/rpc";
import type { Context } from "../lib/wire";
import { showContext } from "./example-list";
import { Store } from "./store";
import { Viewer } from "./viewer";

function render(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const options = {
    label: "Extraction viewer",
    close: () => closeInnermost(store),
    letters: (root: HTMLElement) => lettersOf(store, root),
  };
  mountWidget(model, parent, store, options, <Viewer store={store} />);
}

export const VIEWS = { extraction_viewer: render };
export default bundleOf(VIEWS);

const NEXT: Record<Context, Context> = { short: "snippet", snippet: "full", full: "short" };

/** The keys that work now: those of a feature's page only while one is shown. */
function lettersOf(store: Store, root: HTMLElement): Record<string, () => void> {
  const { tab, feature, context } = store.view.value;
  if (store.opened === null || store.starting.shown || tab !== "features" || feature === null) return {};
  const focus = (selector: string) => () => {
    const field = root.querySelector<HTMLInputElement>(selector);
    field?.focus();
    field?.scrollIntoView?.({ block: "nearest" });
  };
  return {
    arrowleft: () => store.step("previous"),
    arrowright: () => store.step("next"),
    r: () => store.step("random"),
    s: () => {
      const known = store.feature.current?.page.notes.starred;
      if (known !== undefined) void store.star(feature, !store.isStarred(feature, known));
    },
    l: focus(".label-form input"),
    t: focus(".own-text textarea"),
    c: () => showContext(store, NEXT[context]),
  };
}

function closeInnermost(store: Store): boolean {
  if (store.feature.pinned.value || store.feature.pointed.value) store.feature.unpoint(true);
  else if (store.keysShown.value) store.keysShown.value = false;
  else if (store.starting.shown) store.starting.close();
  else if (store.panel.value) store.panel.value = null;
  else if (store.open.value.size) store.open.value = new Map();
  else return false;
  return true;
}
