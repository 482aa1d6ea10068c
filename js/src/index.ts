/** One bundle for all widgets: the synced trait `_view` says which one a model is. */
import type { Model } from "./lib/rpc";
import { renderCharts, renderFooter, renderPanel } from "./training-panel";

type View = (model: Model, parent: HTMLElement, stop: AbortSignal) => void;

export const VIEWS: Record<string, View> = {
  training_panel: renderPanel,
  chart_controls: renderCharts,
  training_footer: renderFooter,
};

interface RenderContext {
  model: Model;
  el: HTMLElement;
  signal?: AbortSignal;
}

function render({ model, el, signal }: RenderContext): () => void {
  const name = String(model.get("_view"));
  const view = VIEWS[name];
  if (view === undefined) throw new Error(`saewidgets: this bundle has no view "${name}". Reload the page.`);
  const stop = new AbortController();
  // anywidget ends a view by its signal since 0.11, and by the function returned here before.
  signal?.addEventListener("abort", () => stop.abort());
  view(model, el, stop.signal);
  return () => stop.abort();
}

export default { render };
