/** DownloadFromHF: look into repositories, choose SAEs, download them. */
import { isTyping } from "../lib/a11y";
import { asHeight, asTheme, mountRoot } from "../lib/host";
import { widgetKey } from "../lib/keys";
import type { Model } from "../lib/rpc";
import { Store } from "./store";
import { placeIn } from "./way-back";
import { Widget } from "./widget";

export function renderDownload(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const root = mountRoot(parent, {
    label: "Download from Hugging Face",
    frame: store.state.value.embedded ? "part" : "whole",
    theme: asTheme(model.get("theme")),
    height: asHeight(model.get("height")),
    store,
    onKey: (event) =>
      searchKey(root.element, event) ||
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
  void store.loadKnown();
  if (store.repository.value) void store.preview();
}

/** Esc empties the search field in which it is pressed; `/` goes to the search, else to where a repository is named. */
function searchKey(root: HTMLElement, event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  const { key, target } = event;
  if (key === "Escape" && target instanceof HTMLInputElement && target.type === "search" && target.value !== "") {
    target.value = "";
    target.dispatchEvent(new Event("input", { bubbles: true }));
    return true;
  }
  if (key !== "/" || isTyping(target)) return false;
  placeIn(root, "search", "repository", "release")?.focus();
  return true;
}
