/**
 * Focus that would be lost goes back: when the focused element is taken out of the page or disabled and nothing else was
 * focused for it, the browser gives focus to the page, and whoever uses the keyboard starts at its top again.
 *
 * What closes as a whole (a form, a question, a note, a menu) gives focus back to where it came from, which is what opened
 * it. A single button that goes leaves it to its neighbours, a card of a list to the next one. Where what comes next is
 * somewhere else, `data-back` on what goes says where: selectors, separated by bars, of which the first that is there counts.
 */

const FOCUSABLE =
  'button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea:not(:disabled), a[href], [tabindex="0"]';
const REMEMBERED = 40;

interface Visit {
  element: Element;
  path: readonly Element[];
  /** Its name and that of the list item around it: a button drawn anew is another element, but the same button. */
  name: string;
  item: string;
  place: number;
}

const nameOf = (element: Element): string => element.getAttribute("aria-label") ?? element.textContent ?? "";
const itemOf = (element: Element): string => element.closest("li[aria-label]")?.getAttribute("aria-label") ?? "";

/** The first of these places, selectors separated by bars, that is there. */
export function placeIn(root: HTMLElement, places: string): HTMLElement | null {
  const found = places.split(" | ").map((place) => (place ? root.querySelector<HTMLElement>(place) : null));
  return found.find((place) => place !== null) ?? null;
}

/** Watches what is inside `root` until `stop`. Focus that somebody moved on purpose is never touched. */
export function keepFocus(root: HTMLElement, stop: AbortSignal): void {
  const page = root.ownerDocument;
  let visits: Visit[] = []; // the last one is where focus is

  const alive = (element: Element) => root.contains(element) && element.matches(FOCUSABLE);

  /** The element of a visit, or the button that took its place. */
  const found = ({ element, name, item }: Visit): HTMLElement | null => {
    if (alive(element)) return element as HTMLElement;
    if (element.tagName !== "BUTTON" || !name || root.contains(element)) return null;
    const same = [...root.querySelectorAll<HTMLElement>("button:not(:disabled)")];
    return same.find((button) => nameOf(button) === name && itemOf(button) === item) ?? null;
  };

  /** Where what is gone says that the focus goes. */
  const named = ({ path }: Visit): HTMLElement | null => {
    const gone = path.find((one) => !root.contains(one) && one instanceof HTMLElement && one.dataset.back);
    return placeIn(root, (gone as HTMLElement | undefined)?.dataset.back ?? "");
  };

  /** Where focus was before it came into what is gone; null if only the focused control itself is gone. */
  const back = ({ element, path }: Visit): HTMLElement | null => {
    const gone = path.filter((one) => !root.contains(one)).at(-1);
    if (gone === undefined || gone === element || gone.matches("li.card")) return null;
    for (const visit of visits.slice(0, -1).reverse()) {
      const place = visit.path.includes(gone) ? null : found(visit);
      if (place) return place;
    }
    return null;
  };

  /** The first control in the card that took the place of what is gone, else in the innermost part that is still there. */
  const nearest = ({ element, path, place }: Visit): HTMLElement | null => {
    const list = path.find((one) => one.matches("ul.lst"));
    const cards = list && root.contains(list) ? list.querySelectorAll<HTMLElement>(":scope > li") : [];
    const card = cards[Math.min(place, cards.length - 1)];
    if (card && !path.some((one) => one.matches("li.card") && root.contains(one))) {
      return card.querySelector<HTMLElement>(FOCUSABLE);
    }
    const around = path.filter((one) => one !== element && root.contains(one));
    for (const place of [...around, root]) {
      const next = place.querySelector<HTMLElement>(FOCUSABLE);
      if (next !== null) return next;
    }
    return null;
  };

  root.addEventListener(
    "focusin",
    (event) => {
      const path: Element[] = [];
      for (let at = event.target as Element | null; at && at !== root; at = at.parentElement) path.push(at);
      const [element] = path;
      if (element === undefined) return;
      const card = element.closest("ul.lst > li");
      const place = [...(card?.parentElement?.children ?? [])].indexOf(card as Element);
      const visit = { element, path, name: nameOf(element), item: itemOf(element), place };
      visits = [...visits.filter((one) => one.element !== element), visit].slice(-REMEMBERED);
    },
    { signal: stop },
  );
  root.addEventListener(
    "focusout",
    () => {
      setTimeout(() => {
        const last = visits.at(-1);
        if (last && page.activeElement === page.body && alive(last.element)) visits = []; // somebody clicked elsewhere
      }, 0);
    },
    { signal: stop },
  );
  const observer = new MutationObserver(() => {
    const last = visits.at(-1);
    const lost = page.activeElement === null || page.activeElement === page.body;
    if (!last || !lost || !root.isConnected || alive(last.element)) return;
    (named(last) ?? back(last) ?? nearest(last))?.focus();
  });
  observer.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled"] });
  stop.addEventListener("abort", () => observer.disconnect());
}
