/** "More actions" of a card: a menu that opens in the card and pushes content down, so that nothing can cut it off. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { rove } from "./a11y";

export interface MenuItem {
  label: string;
  danger?: boolean;
  run: () => void;
}

export function Menu({ label, items, onClose }: { label: string; items: MenuItem[]; onClose: () => void }) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    box.current?.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    box.current?.scrollIntoView?.({ block: "nearest" });
  }, []);
  return (
    <div
      ref={box}
      class="menu"
      role="menu"
      aria-label={label}
      aria-orientation="horizontal"
      tabIndex={-1}
      onKeyDown={(event) => {
        if (event.key === "Escape") {
          event.preventDefault();
          onClose();
        } else if (event.key === "Tab") onClose();
        else if (rove(event, "[role=menuitem]") === null && event.key.length === 1) focusByLetter(event);
      }}
    >
      {items.map((item, i) => (
        <button
          key={item.label}
          type="button"
          role="menuitem"
          class={`b s${item.danger ? " d" : ""}`}
          tabIndex={i === 0 ? 0 : -1}
          onClick={item.run}
        >
          {item.label}
        </button>
      ))}
    </div>
  );
}

function focusByLetter(event: KeyboardEvent): void {
  const items = [...(event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("[role=menuitem]")];
  const hit = items.find((item) => item.textContent?.toLowerCase().startsWith(event.key.toLowerCase()));
  if (hit) {
    hit.focus();
    event.preventDefault();
  }
}
