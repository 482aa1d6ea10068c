/** The three parts of the TrainingPanel. Each is a widget of its own, because bqplot's figures stand between them. */
import { bundleOf, mountWidget } from "../lib/host";
import type { Model } from "../lib/rpc";
import type { Theme } from "../lib/wire";
import { ChartsBar } from "./charts-bar";
import { closeInnermost, Footer, lettersOf, Panel } from "./panel";
import { Store } from "./store";

function renderPanel(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const options = { label: "Training panel", close: () => closeInnermost(store), letters: () => lettersOf(store) };
  mountWidget(model, parent, store, options, <Panel store={store} />);
}

function renderCharts(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  let sent: Theme | null = null;
  const onTheme = (theme: Theme) => {
    // The figures' colours are set in Python, which cannot see the page.
    if (theme === (sent ?? store.state.value.charts.theme)) return;
    sent = theme;
    void store.changeCharts({ theme });
  };
  mountWidget(model, parent, store, { label: "Charts", onTheme }, <ChartsBar store={store} />);
}

function renderFooter(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  mountWidget(model, parent, store, { label: "Panel status" }, <Footer store={store} />);
}

export const VIEWS = { training_panel: renderPanel, chart_controls: renderCharts, training_footer: renderFooter };
export default bundleOf(VIEWS);
