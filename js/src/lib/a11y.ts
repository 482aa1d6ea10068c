/** Keyboard and screen-reader helpers. */
import type { RefObject } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";

const page = Math.random().toString(36).slice(2, 7); // every part of a panel loads its own copy of this module
let counter = 0;

export const useUid = (prefix = "sw"): string =>
  useMemo(() => {
    counter += 1;
    return `${prefix}-${page}-${counter}`;
  }, [prefix]);

const STEPS: Record<string, number> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** Where an arrow key, Home or End leads in a row of `length` items; null for any other key. Wraps around. */
export function roveTo(key: string, index: number, length: number): number | null {
  if (length === 0) return null;
  if (key === "Home") return 0;
  if (key === "End") return length - 1;
  const step = STEPS[key];
  return step === undefined ? null : (index + step + length) % length;
}

/** Roving focus among what `selector` finds in a group: moves it to the next one and returns its index. */
export function rove(event: KeyboardEvent, selector: string): number | null {
  if (event.altKey || event.ctrlKey || event.metaKey) return null;
  const group = event.currentTarget as HTMLElement;
  const items = [...group.querySelectorAll<HTMLElement>(selector)];
  const index = items.indexOf((event.target as HTMLElement).closest(selector) as HTMLElement);
  const next = roveTo(event.key, index, items.length);
  if (next === null || index < 0) return null;
  event.preventDefault();
  items[next]?.focus();
  return next;
}

/** Does this key send a form? Enter in a text field, Ctrl+Enter (⌘ Enter) anywhere; not while a word is composed. */
export function sendsForm(event: KeyboardEvent): boolean {
  if (event.key !== "Enter" || event.defaultPrevented || event.isComposing || event.repeat) return false;
  if (event.ctrlKey || event.metaKey) return true;
  const field = event.target as HTMLElement;
  return !event.shiftKey && !event.altKey && field.tagName === "INPUT" && (field as HTMLInputElement).type === "text";
}

/** For a text box: Enter does what the button beside it does; not with Shift, nor while a word is composed. */
export const onEnter = (run: () => void) => (event: KeyboardEvent) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  run();
};

export const onSubmit = (run: () => void) => (event: Event) => {
  event.preventDefault();
  run();
};

/** For what Esc closes: it closes that alone, nothing around it. */
export const onEsc = (close: () => void) => (event: KeyboardEvent) => {
  if (event.key !== "Escape" || event.defaultPrevented) return;
  event.preventDefault();
  close();
};

/** For what opens in place: it comes into view, and the first control that `selector` finds gets the focus. */
export function useOpened<E extends HTMLElement = HTMLFormElement>(
  selector: string,
  select = false,
  key: unknown = null,
): RefObject<E | null> {
  const box = useRef<E>(null);
  useLayoutEffect(() => {
    const control = box.current?.querySelector<HTMLElement>(selector);
    control?.focus();
    if (select) (control as HTMLInputElement | undefined)?.select();
    box.current?.scrollIntoView?.({ block: "nearest" });
  }, [key]);
  return box;
}

/** Does this element take typed text? Single-letter keys are not shortcuts there. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable)
    return true;
  return target instanceof HTMLInputElement && !["checkbox", "radio", "range", "button"].includes(target.type);
}

/** Says status changes to screen readers, at most once in `every` ms: what comes in between is said together. */
export class Announcer {
  private waiting: string[] = [];
  private last = Number.NEGATIVE_INFINITY;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly say: (text: string) => void,
    private readonly every = 5000,
  ) {}

  /** Says `text` when it is its turn; `""` takes back what was said last, unless something is about to replace it. */
  announce(text: string): void {
    if (text === "") {
      if (this.waiting.length === 0) this.say("");
      return;
    }
    if (!this.waiting.includes(text)) this.waiting.push(text);
    if (this.timer !== undefined) return;
    const wait = Math.max(0, this.last + this.every - performance.now());
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.last = performance.now();
      const lines = this.waiting.splice(0);
      this.say(lines.length > 4 ? `${lines.slice(0, 4).join(". ")}, and ${lines.length - 4} more.` : lines.join(". "));
    }, wait);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.waiting = [];
  }
}
