/** The name of a run as a text box, in place of the name. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { Button } from "../lib/controls";
import type { Card } from "../lib/protocol";
import type { Store } from "./store";

export function Rename({ store, card, onDone }: { store: Store; card: Card; onDone: () => void }) {
  const input = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    input.current?.focus();
    input.current?.select();
  }, []);
  const save = async () => {
    const name = input.current?.value.trim() ?? "";
    onDone();
    if (name && name !== card.name) {
      await store.command(card.id, "Rename", { kind: "rename", training_id: card.id, name });
    }
  };
  return (
    <span class="rename">
      <input
        ref={input}
        aria-label={`New name of ${card.name}`}
        defaultValue={card.name}
        maxLength={120}
        onKeyDown={(event) => {
          if (event.key === "Enter") {
            event.preventDefault();
            void save();
          }
        }}
      />
      <Button small onClick={() => void save()}>
        Save name
      </Button>
      <Button small kind="quiet" icon="close" label="Keep the old name" onClick={onDone} />
    </span>
  );
}
