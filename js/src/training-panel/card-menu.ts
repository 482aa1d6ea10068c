/** What opens in a card of the list, and its menu: the same for a run and for a group of them. */
import type { RefObject } from "preact";
import { useCard } from "../lib/kit";
import type { MenuItem } from "../lib/menu";
import type { Open, Store } from "./store";

/** `details` is what the menu's Details opens. */
export function useCardMenu(
  store: Store,
  root: RefObject<HTMLElement | null>,
  run: { id: string; name: string },
  details: Open,
) {
  const card = useCard(store, root, run, (open) => open.kind === "delete" || open.kind === "stop");
  const show = (what: Open) => () => store.openFor(run.id, what);
  const items: MenuItem[] = [
    { label: "Rename", run: show({ kind: "rename" }) },
    { label: "Details", run: show(details) },
    { label: "Save as template", run: show({ kind: "template" }) },
    { label: "Export", run: show({ kind: "export" }) },
    { label: "Copy ID", run: () => void card.copyId() },
  ];
  return { ...card, items };
}
