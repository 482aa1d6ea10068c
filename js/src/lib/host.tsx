/** Puts a widget part into the page: root element, theme, keyboard, live region, and what its kernel's end does to it. */
import type { Signal } from "@preact/signals";
import { type ComponentChild, render } from "preact";
import { Announcer, isTyping } from "./a11y";
import { Button } from "./controls";
import { keepFocus } from "./keep-focus";
import { flip, put } from "./kit";
import type { Model } from "./rpc";
import type { Link } from "./store";
import { followTheme } from "./theme";
import type { Theme } from "./wire";

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
  else if (event.key === "/") root.querySelector<HTMLElement>("input[type=search]")?.focus();
  else return false;
  return true;
}

const asTheme = (value: unknown): Theme | "auto" => (value === "light" || value === "dark" ? value : "auto");

const asHeight = (value: unknown): number | undefined => (typeof value === "number" && value > 0 ? value : undefined);

interface WidgetOptions {
  label: string;
  /** "part": one of several in a box that carries the border. */
  frame?: "whole" | "part";
  onTheme?: (theme: Theme) => void;
  /** Closes the innermost thing that is open; false when nothing is. Without it the part has no keys. */
  close?: () => boolean;
  /** Keys that work now, beside `?`. */
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
  const height = asHeight(model.get("height"));
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
  const setTheme = (theme: Theme) => {
    element.dataset.swTheme = theme;
    const outer = element.closest<HTMLElement>(".sw-frame");
    if (outer) outer.dataset.swTheme = theme;
    onTheme?.(theme);
  };
  const theme = asTheme(model.get("theme"));
  store.link.subscribe((link) => {
    content.disabled = link === "gone";
  });
  whenConnected(element, stop, () => (theme === "auto" ? followTheme(element, setTheme, stop) : setTheme(theme)));

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
