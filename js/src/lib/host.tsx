/** Puts a widget part into the page: root element, theme, keyboard, live region, and what its kernel's end does to it. */
import type { Signal } from "@preact/signals";
import { type ComponentChild, render } from "preact";
import { Announcer } from "./a11y";
import { keepFocus } from "./keep-focus";
import { widgetKey } from "./keys";
import { flip } from "./kit";
import type { Link } from "./link";
import type { Model } from "./rpc";
import { followTheme } from "./theme";
import type { Theme } from "./wire";

/** The trait `theme` of a widget. */
export const asTheme = (value: unknown): Theme | "auto" => (value === "light" || value === "dark" ? value : "auto");

/** The trait `height` of a widget, in pixels. */
const asHeight = (value: unknown): number | undefined => (typeof value === "number" && value > 0 ? value : undefined);

export interface RootOptions {
  label: string;
  /** "part": one of several in a box that carries the border. */
  frame: "whole" | "part";
  theme: Theme | "auto";
  height?: number | undefined;
  store: { readonly stop: AbortSignal; readonly link: Signal<Link> };
  onTheme?: (theme: Theme) => void;
  /** A key that no control inside used; return true when it was handled. */
  onKey?: (event: KeyboardEvent) => boolean;
}

export interface Root {
  element: HTMLElement;
  announce: (text: string) => void;
  draw: (content: ComponentChild) => void;
}

export function mountRoot(parent: HTMLElement, options: RootOptions): Root {
  const element = document.createElement("section");
  element.className = options.frame === "part" ? "sw sw-part" : "sw";
  element.setAttribute("aria-label", options.label);
  // JupyterLab's shortcuts listen in the capture phase, where stopping propagation comes too late; it honours this.
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  if (options.height) element.style.setProperty("--sw-max-h", `${options.height}px`);

  const live = document.createElement("div");
  live.className = "vh";
  live.setAttribute("role", "status");
  live.setAttribute("aria-live", "polite");
  const content = document.createElement("fieldset"); // disables all in it at once
  content.className = "whole";
  content.setAttribute("role", "presentation");
  element.append(content, live);
  parent.append(element);

  const announcer = new Announcer((text) => {
    live.textContent = text;
  });
  const setTheme = (theme: Theme) => {
    element.dataset.swTheme = theme;
    const frame = element.closest<HTMLElement>(".sw-frame");
    if (frame) frame.dataset.swTheme = theme;
    options.onTheme?.(theme);
  };
  const { theme, store } = options;
  const { stop } = store;
  store.link.subscribe((link) => {
    content.disabled = link === "gone";
  });
  whenConnected(element, stop, () => (theme === "auto" ? followTheme(element, setTheme, stop) : setTheme(theme)));

  element.addEventListener("keydown", (event) => {
    if (!event.defaultPrevented && options.onKey?.(event)) event.preventDefault();
    event.stopPropagation(); // front ends that listen further out: a notebook's single-letter commands
  });
  for (const type of ["keyup", "keypress"] as const) element.addEventListener(type, (event) => event.stopPropagation());

  keepFocus(element, stop);
  stop.addEventListener("abort", () => {
    announcer.stop();
    render(null, content);
    element.remove();
  });
  return { element, announce: (text) => announcer.announce(text), draw: (what) => render(what, content) };
}

interface WidgetOptions {
  label: string;
  frame?: "whole" | "part";
  /** Closes the innermost thing that is open; false when nothing is. */
  close: () => boolean;
  /** Keys that work now, beside `?`. */
  letters?: (root: HTMLElement) => Record<string, () => void>;
}

type WidgetStore = RootOptions["store"] & { announce: (text: string) => void; readonly keysShown: Signal<boolean> };

/** Puts a whole widget, with its keys, into the page. */
export function mountWidget(
  model: Model,
  parent: HTMLElement,
  store: WidgetStore,
  { label, frame = "part", close, letters }: WidgetOptions,
  content: ComponentChild,
): void {
  const root = mountRoot(parent, {
    label,
    frame,
    theme: asTheme(model.get("theme")),
    height: asHeight(model.get("height")),
    store,
    onKey: (event) =>
      widgetKey(root.element, event, { close, letters: { "?": flip(store.keysShown), ...letters?.(root.element) } }),
  });
  store.announce = root.announce;
  root.draw(content);
}

/** `render` runs before the host has put the element into the page. */
function whenConnected(element: Element, stop: AbortSignal, then: () => void): void {
  if (stop.aborted) return;
  if (element.isConnected) then();
  else setTimeout(() => whenConnected(element, stop, then), 20);
}
