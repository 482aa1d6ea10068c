/**
 * Where the focus goes when what holds it is taken away and what comes next is somewhere else: after *Browse* on another
 * tab, after *Clear* in the next card. Everything else goes back to what opened it (`lib/keep-focus.ts`).
 */
import type { ComponentChildren, RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

const PLACES = {
  tab: '[role="tab"][aria-selected="true"]',
  repository: '.where input[type="text"]',
  token: '.where input[type="password"]',
  release: ".release select",
  search: ".srch input",
  device: '[aria-label="Load on"]',
  start: ".ft2 .b.p",
};

export type Place = keyof typeof PLACES;

/** The first of `places` that is on the page. */
export function placeIn(root: HTMLElement, ...places: readonly Place[]): HTMLElement | null {
  for (const place of places) {
    const found = root.querySelector<HTMLElement>(PLACES[place]);
    if (found) return found;
  }
  return null;
}

/**
 * A target for the focus, asked for when the page is drawn without what held it. `siblings`: what stood beside that,
 * those after it first, then those before it, nearest first; some may be gone too.
 */
export type Target = (root: HTMLElement, siblings: readonly Element[]) => HTMLElement | null | undefined;

export const toPlace =
  (...places: readonly Place[]): Target =>
  (root) =>
    placeIn(root, ...places);

/** What is returned belongs to the element that holds the focus; the component that calls this goes with it. */
export function useWayBack<E extends HTMLElement>(to: Target): RefObject<E | null> {
  const box = useRef<E>(null);
  const target = useRef(to);
  target.current = to;
  useLayoutEffect(() => {
    const element = box.current;
    return () => {
      const root = element?.closest<HTMLElement>(".sw");
      if (!element || !root || !element.contains(element.ownerDocument.activeElement)) return;
      const siblings = around(element);
      // Nobody presses anything before this runs: where the focus is by then, only `keepFocus` put it.
      queueMicrotask(() => {
        if (root.isConnected) target.current(root, siblings)?.focus();
      });
    };
  }, []);
  return box;
}

function around(element: Element): Element[] {
  const all = [...(element.parentElement?.children ?? [])];
  const at = all.indexOf(element);
  return [...all.slice(at + 1), ...all.slice(0, at).reverse()];
}

/** The same around `children`, without a box of its own in the layout. */
export function WayBack({ to, children }: { to: Target; children: ComponentChildren }) {
  const box = useWayBack<HTMLDivElement>(to);
  return (
    <div class="way-back" ref={box}>
      {children}
    </div>
  );
}
