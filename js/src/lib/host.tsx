/** Puts a widget part into the page: root element, theme, keyboard, live region, and what its kernel's end does to it. */
import type { Signal } from "@preact/signals";
import { type ComponentChild, render } from "preact";
import { Announcer, isTyping } from "./a11y";
import { Button } from "./controls";
import { keepFocus } from "./keep-focus";
import { flip, put } from "./kit";
import type { Model } from "./rpc";
import type { Link } from "./store";
import type { Theme } from "./wire";

/** "#111", "#111111", "rgb(17, 17, 17)", "color(srgb r g b / a)" → [r, g, b, alpha], 0…255 and 0…1; else null. */
export function parseColor(text: string): [number, number, number, number] | null {
  const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(text.trim())?.[1];
  if (hex) {
    const full = hex.length === 3 ? [...hex].map((c) => c + c).join("") : hex;
    const n = Number.parseInt(full, 16);
    return [n >> 16, (n >> 8) & 255, n & 255, 1];
  }
  const numbers = text.match(/-?[\d.]+(?:e-?\d+)?/g)?.map(Number);
  if (!numbers || numbers.length < 3) return null;
  const [r = 0, g = 0, b = 0, alpha = 1] = numbers;
  if (text.startsWith("rgb")) return [r, g, b, alpha];
  if (text.startsWith("color(srgb")) return [r * 255, g * 255, b * 255, alpha];
  return null;
}

export function luminance(r: number, g: number, b: number): number {
  const linear = (c: number) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

const themeOf = ([r, g, b]: readonly number[]): Theme =>
  luminance(r ?? 255, g ?? 255, b ?? 255) < 0.18 ? "dark" : "light";

/** The theme of the first opaque background from `element`'s parent upwards, else what the host says; else light. */
export function measureTheme(element: Element): Theme {
  for (let at: Element | null = element.parentElement; at; at = parentOf(at)) {
    // Our own frame takes its ground from the theme being measured.
    if (at.classList.contains("sw-frame")) continue;
    const color = parseColor(getComputedStyle(at).backgroundColor);
    if (color && color[3] > 0.5) return themeOf(color);
  }
  // A frame with a transparent page (VS Code, Colab): the host's variable or attribute.
  const variable = getComputedStyle(element).getPropertyValue("--vscode-editor-background");
  const color = parseColor(variable);
  if (color) return themeOf(color);
  return document.documentElement.getAttribute("theme") === "dark" ? "dark" : "light";
}

function parentOf(element: Element): Element | null {
  if (element.parentElement) return element.parentElement;
  const root = element.getRootNode();
  return root instanceof ShadowRoot ? root.host : null;
}

/** Calls `onChange` now and whenever the host's theme changes, until `stop` aborts. */
export function followTheme(element: Element, onChange: (theme: Theme) => void, stop: AbortSignal): void {
  let last: Theme | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const measure = () => {
    if (!element.isConnected) return;
    const theme = measureTheme(element);
    if (theme !== last) onChange(theme);
    last = theme;
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(measure, 60); // the host swaps a style sheet after it sets the attribute
  };
  const observer = new MutationObserver(() => {
    soon();
    setTimeout(soon, 500);
  });
  const watch = { attributes: true, attributeFilter: ["class", "style", "theme", "data-jp-theme-light", "data-theme"] };
  observer.observe(document.documentElement, watch);
  observer.observe(document.body, watch);
  const media = window.matchMedia?.("(prefers-color-scheme: dark)");
  media?.addEventListener?.("change", soon);
  measure();
  stop.addEventListener("abort", () => {
    observer.disconnect();
    clearTimeout(timer);
    media?.removeEventListener?.("change", soon);
  });
}

export type KeyRow = readonly [readonly string[], string];

interface KeysProps {
  rows: readonly KeyRow[];
  /** What has to have the focus: "the panel". */
  where: string;
  shown: Signal<boolean>;
}

export function Keys({ rows, where, shown }: KeysProps) {
  if (!shown.value) return null;
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of help lines, not of form fields
    <div class="bd panel-note" role="group" aria-label="Keys">
      <div class="row">
        <h3>Keys</h3>
        <span class="sm t2">{`while the focus is in ${where}`}</span>
        <div class="sp" />
        <Button small kind="quiet" icon="close" label="Close keys" onClick={put(shown, false)} />
      </div>
      <dl class="keys">
        {rows.map(([keys, what]) => (
          <>
            <dt key={`${what}-keys`}>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd key={what}>{what}</dd>
          </>
        ))}
      </dl>
    </div>
  );
}

/** Keys of a whole widget; true when one was used. Letters (lower case) work only while nothing is typed. */
export function widgetKey(
  root: HTMLElement,
  event: KeyboardEvent,
  close: () => boolean,
  letters: Record<string, () => void>,
): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.key === "Escape") {
    if (close()) return true;
    if (!root.contains(document.activeElement)) return false;
    (document.activeElement as HTMLElement).blur();
    return true;
  }
  if (isTyping(event.target)) return false;
  const action = letters[event.key.toLowerCase()];
  if (action) action();
  else if (event.key === "/") root.querySelector<HTMLElement>("input[type=search]:not(details:not([open]) *)")?.focus();
  else return false;
  return true;
}

interface WidgetOptions {
  label: string;
  /** "part": one of several in a box that carries the border. */
  frame?: "whole" | "part";
  onTheme?: (theme: Theme) => void;
  /** Closes the innermost thing that is open; false when nothing is. Without it the part has no keys. */
  close?: () => boolean;
  letters?: (root: HTMLElement) => Record<string, () => void>;
}

interface WidgetStore {
  readonly stop: AbortSignal;
  readonly link: Signal<Link>;
  readonly keysShown: Signal<boolean>;
  announce: (text: string) => void;
}

export function mountWidget(
  model: Model,
  parent: HTMLElement,
  store: WidgetStore,
  { label, frame = "part", onTheme, close, letters }: WidgetOptions,
  what: ComponentChild,
): void {
  const { stop } = store;
  const element = document.createElement("section");
  element.className = frame === "part" ? "sw sw-part" : "sw";
  element.setAttribute("aria-label", label);
  // JupyterLab's shortcuts listen in the capture phase, where stopping propagation comes too late; it honours this.
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  const height = model.get("height") as number | null;
  if (height) element.style.setProperty("--sw-max-h", `${height}px`);

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
  if (close) store.announce = (text) => announcer.announce(text); // of several parts only the first says things
  const given = model.get("theme") as Theme | "auto";
  const setTheme = (host: Theme) => {
    const theme = given === "auto" ? host : given;
    for (const at of [element, element.closest<HTMLElement>(".sw-frame")]) {
      if (at) at.dataset.swTheme = theme;
      at?.toggleAttribute("data-sw-own", theme !== host); // the host's ground and text are of the other theme
    }
    onTheme?.(theme);
  };
  store.link.subscribe((link) => {
    content.disabled = link === "gone";
  });
  whenConnected(element, stop, () => followTheme(element, setTheme, stop));

  element.addEventListener("keydown", (event) => {
    const keys = { "?": flip(store.keysShown), ...letters?.(element) };
    if (close && !event.defaultPrevented && widgetKey(element, event, close, keys)) event.preventDefault();
    event.stopPropagation(); // front ends that listen further out: a notebook's single-letter commands
  });
  for (const type of ["keyup", "keypress"] as const) element.addEventListener(type, (event) => event.stopPropagation());

  keepFocus(element, stop);
  stop.addEventListener("abort", () => {
    announcer.stop();
    render(null, content);
    element.remove();
  });
  render(what, content);
}

/** `render` runs before the host has put the element into the page. */
function whenConnected(element: Element, stop: AbortSignal, then: () => void): void {
  if (stop.aborted) return;
  if (element.isConnected) then();
  else setTimeout(() => whenConnected(element, stop, then), 20);
}

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
