/** The three parts of the TrainingPanel. Each is a widget of its own, because bqplot's figures stand between them. */
import { asTheme, mountRoot, mountWidget } from "../lib/host";
import type { Model } from "../lib/rpc";
import type { Theme } from "../lib/wire";
import { ChartsBar } from "./charts-bar";
import { Footer } from "./footer";
import { closeInnermost, lettersOf, Panel } from "./panel";
import { Store } from "./store";

export function renderPanel(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const options = { label: "Training panel", close: () => closeInnermost(store), letters: () => lettersOf(store) };
  mountWidget(model, parent, store, options, <Panel store={store} />);
}

export function renderCharts(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  let sent: Theme | null = null;
  const root = mountRoot(parent, {
    label: "Charts",
    frame: "part",
    theme: asTheme(model.get("theme")),
    store,
    onTheme: (theme) => {
      // The figures' colours are set in Python, which cannot see the page.
      if (theme === (sent ?? store.state.value.charts.theme)) return;
      sent = theme;
      void store.changeCharts({ theme });
    },
  });
  root.draw(<ChartsBar store={store} />);
}

export function renderFooter(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const root = mountRoot(parent, { label: "Panel status", frame: "part", theme: asTheme(model.get("theme")), store });
  root.draw(<Footer store={store} />);
}
