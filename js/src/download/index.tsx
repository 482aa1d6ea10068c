/** DownloadFromHF: look into repositories, choose SAEs, download them. */
import { mountWidget } from "../lib/host";
import { placeIn } from "../lib/keep-focus";
import type { Model } from "../lib/rpc";
import { places } from "./problems";
import { Store } from "./store";
import { Widget } from "./widget";

export function renderDownload(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const options = {
    label: "Download from Hugging Face",
    frame: store.state.value.embedded ? "part" : "whole",
    close: () => store.closeInnermost(),
    letters: (root: HTMLElement) => ({ "/": () => placeIn(root, places("search", "repository", "release"))?.focus() }),
  } as const;
  mountWidget(model, parent, store, options, <Widget store={store} />);
  void store.loadKnown();
  if (store.repository.value) void store.preview();
}
