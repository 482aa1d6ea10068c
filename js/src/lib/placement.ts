/** Where a card stands that is about something on the page: beside it, and within what can be seen. */
import type { RefObject } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";

const GAP = 6; // px between the two

/** From where to where something is seen, as far as the window and all boxes that scroll around it leave it. */
function sightOf(element: HTMLElement): [number, number] {
  let [top, bottom] = [0, window.innerHeight];
  for (let box = element.parentElement; box; box = box.parentElement) {
    if (getComputedStyle(box).overflowY === "visible") continue;
    const { y, height } = box.getBoundingClientRect();
    if (height > 0) [top, bottom] = [Math.max(top, y), Math.min(bottom, y + height)];
  }
  return [top, bottom];
}

/** The style of a card for `at`: below it, else above it; `aside`: to its right where that fits. */
export function usePlacement(
  card: RefObject<HTMLElement | null>,
  at: HTMLElement | null,
  inputs: unknown[],
  aside = false,
) {
  const [style, setStyle] = useState<Record<string, string>>({});
  useLayoutEffect(() => {
    const own = card.current;
    const frame = (own?.offsetParent ?? own?.parentElement)?.getBoundingClientRect();
    if (!own || !frame || !at?.isConnected) return;
    const [of, [top, bottom]] = [at.getBoundingClientRect(), sightOf(own)];
    const [width, height] = [own.offsetWidth, own.scrollHeight + 2]; // with its border
    const right = aside && of.right + GAP + width <= frame.right;
    const left = right ? of.right + GAP : Math.min(of.left, frame.right - width);
    const above = !right && of.bottom + GAP + height > bottom && of.top - top > bottom - of.bottom;
    const y = right ? Math.min(of.top, bottom - height) : above ? of.top - GAP - height : of.bottom + GAP;
    const most = Math.max(60, above ? of.top - GAP - top : bottom - Math.max(y, top));
    const place = { left: Math.max(0, left - frame.left), top: Math.max(y, top) - frame.top, maxHeight: most };
    setStyle(Object.fromEntries(Object.entries(place).map(([name, px]) => [name, `${px}px`])));
  }, [card, at, aside, ...inputs]);
  return style;
}
