/** What a bundle gives to anywidget: one `render` for several views; the synced trait `_view` says which one a model is. */
import type { Model } from "./rpc";

export type View = (model: Model, parent: HTMLElement, stop: AbortSignal) => void;
type Views = Record<string, View>;

interface RenderContext {
  model: Model;
  el: HTMLElement;
  signal?: AbortSignal;
}

export function bundleOf(views: Views): { render: (context: RenderContext) => () => void } {
  return {
    render({ model, el, signal }) {
      const name = String(model.get("_view"));
      const view = views[name];
      if (view === undefined) throw new Error(`saewidgets: this bundle has no view "${name}". Reload the page.`);
      const stop = new AbortController();
      // anywidget ends a view by its signal since 0.11, and by the function returned here before.
      signal?.addEventListener("abort", () => stop.abort());
      view(model, el, stop.signal);
      // Static copies in the notebook's outputs (widgets/shell.py): nobody needs them where the view itself is.
      const copies = document.createElement("style");
      copies.textContent = String(model.get("_hide"));
      el.append(copies);
      stop.signal.addEventListener("abort", () => copies.remove());
      return () => stop.abort();
    },
  };
}
