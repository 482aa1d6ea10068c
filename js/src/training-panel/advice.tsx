/** What to change in a run, and the form that starts with the change made. */
import { useState } from "preact/hooks";
import { Button, NoteBox } from "../lib/controls";
import type { AdviceRow, Card } from "../lib/wire";
import { statusOf } from "./state";
import type { Store } from "./store";

export function AdviceList({ store, card, rows }: { store: Store; card: Card; rows: readonly AdviceRow[] }) {
  if (rows.length === 0) {
    const early = statusOf(card) === "running" || statusOf(card) === "queued";
    return (
      <p class="sm t2">
        {early
          ? "Nothing stands out so far. Dead latents, L0 and the loss are looked at as the run goes on."
          : `Nothing stands out: ${card.tiles.dead === null ? "" : "dead latents, "}L0 and the loss are as they should be.`}
      </p>
    );
  }
  return (
    <div class="notes">
      {rows.map((row) => (
        <Item key={row.kind} store={store} card={card} row={row} />
      ))}
    </div>
  );
}

function Item({ store, card, row }: { store: Store; card: Card; row: AdviceRow }) {
  const [open, setOpen] = useState(false);
  const edit = () => {
    if (row.kind === "longer") store.openFor(card.id, { kind: "longer" });
    else store.form.value = { from: card, changes: row.changes };
  };
  return (
    <NoteBox
      tone={row.severity === "warning" ? "warn" : "info"}
      title={row.title}
      actions={
        <Button small onClick={edit}>
          {row.kind === "longer" ? "Train longer" : "Edit and retry"}
        </Button>
      }
    >
      {row.text}{" "}
      <button type="button" class="lk" aria-expanded={open} onClick={() => setOpen(!open)}>
        Why this helps
      </button>
      {open && <p class="why">{row.why}</p>}
    </NoteBox>
  );
}
