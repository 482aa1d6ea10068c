/** A button that copies something; a page that may not says so, with the text to copy by hand. */
import { useEffect, useState } from "preact/hooks";
import { Button } from "../lib/controls";
import { copyText } from "../lib/copy";
import type { IconName } from "../lib/icons";
import { cut } from "../lib/tokens";
import { PAGE, type Store } from "./store";

interface CopyProps {
  store: Store;
  label: string;
  /** Shown beside the icon. */
  word?: string;
  icon?: IconName;
  quiet?: boolean;
  tabIndex?: number;
  text: () => string;
}

export function Copy({ store, label, word, icon = "copy", quiet, tabIndex, text }: CopyProps) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async () => {
    const what = text();
    if (await copyText(what)) {
      setDone(true);
      store.announce("Copied.");
    } else {
      const hint = `Copy it by hand: ${cut(what, 2000)}`;
      store.refuse(PAGE, "This page may not use the clipboard.", hint);
    }
  };
  return (
    <Button
      text={word}
      small
      kind={quiet ? "quiet" : "plain"}
      icon={done ? "check" : icon}
      label={label}
      title={done ? "Copied" : label}
      tabIndex={tabIndex}
      onClick={(event) => {
        event.stopPropagation(); // a row that opens on a click
        void copy();
      }}
    />
  );
}
