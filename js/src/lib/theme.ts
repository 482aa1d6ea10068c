/** Light or dark, measured from what is really behind the widget; front ends have no common way to tell. */
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

/** Relative luminance (WCAG), 0…1. */
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
