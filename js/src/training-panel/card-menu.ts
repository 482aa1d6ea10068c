/** What opens in a card of the list, and its menu: the same for a run and for a group of them. */
import type { RefObject } from "preact";
import { useState } from "preact/hooks";
import { useCalledFocus, useFocusReturn } from "../lib/a11y";
import { copyText } from "../lib/copy";
import type { MenuItem } from "../lib/menu";
import type { Open, Store } from "./store";

export interface CardMenu {
  /** What is open in the card. */
  open: Open | undefined;
  /** A question is open: it takes the place of the buttons, which are back after the next drawing. */
  asks: boolean;
  /** The name of the button that opens the menu. */
  more: string;
  /** Gives focus to the button of a name. */
  returnTo: (name: string) => void;
  /** Closes what is open, and gives focus to a button, that of the menu if no other is named. */
  close: (focus?: string) => void;
  items: MenuItem[];
  /** What became of a copied ID; null while nobody asked, the ID where it has to be copied by hand. */
  copied: string | null;
  setCopied: (copied: string | null) => void;
}

/** `details` is what the menu's Details opens. */
export function useCardMenu(
  store: Store,
  root: RefObject<HTMLElement | null>,
  { id, name }: { id: string; name: string },
  details: Open,
): CardMenu {
  const [copied, setCopied] = useState<string | null>(null);
  const open = store.open.value.get(id);
  const more = `More actions: ${name}`;
  const asks = open?.kind === "delete" || open?.kind === "stop";
  useCalledFocus(root, id, store.focusCard);
  const returnTo = useFocusReturn(root, asks);
  const close = (focus = more) => {
    store.openFor(id, undefined);
    returnTo(focus);
  };
  const copyId = async () => {
    close();
    setCopied((await copyText(id)) ? "" : id);
  };
  const items: MenuItem[] = [
    { label: "Rename", run: () => store.openFor(id, { kind: "rename" }) },
    { label: "Details", run: () => store.openFor(id, details) },
    { label: "Save as template", run: () => store.openFor(id, { kind: "template" }) },
    { label: "Export", run: () => store.openFor(id, { kind: "export" }) },
    { label: "Copy ID", run: () => void copyId() },
  ];
  return { open, asks, more, returnTo, close, items, copied, setCopied };
}
