/** Train longer: how many tokens in all. */

import { useRef, useState } from "preact/hooks";
import * as f from "../lib/format";
import { Field, InlineForm } from "../lib/kit";
import type { Card } from "../lib/wire";
import type { Store } from "./store";

export function LongerForm({ store, card, onClose }: { store: Store; card: Card; onClose: () => void }) {
  const [text, setText] = useState(f.count(2 * card.tokens_total));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const root = useRef<HTMLDivElement>(null);
  const submit = async () => {
    const tokens = f.parseInteger(text);
    if (tokens === null || tokens <= card.tokens_done) {
      setError(
        `${tokens === null ? `“${text.trim()}” is not a whole number.` : "It has seen so many already."} Enter more than ${f.count(card.tokens_done)}.`,
      );
      root.current?.querySelector<HTMLElement>("input")?.focus();
      return;
    }
    setBusy(true);
    const answer = await store.command(card.id, "Train longer", {
      kind: "train_longer",
      training_id: card.id,
      tokens,
    });
    setBusy(false);
    if (!answer) return;
    store.openFor(card.id, undefined); // and the focus goes to the new run, not back to where it was
    store.focusAnswer(answer);
    store.announce("Training started");
  };
  return (
    <div ref={root}>
      <InlineForm
        label={`Train ${card.name} longer`}
        submit={busy ? "Starting…" : "Train longer"}
        disabled={busy}
        onSubmit={() => void submit()}
        onClose={onClose}
        select
      >
        <Field
          class="grow"
          label="Tokens in all"
          numeric
          value={text}
          onInput={(typed) => {
            setText(typed);
            setError(null);
          }}
          error={error}
          hint={`A new run goes on from the newest checkpoint, after ${f.tokens(card.last_checkpoint_tokens ?? card.tokens_done)}; this one stays as it is.`}
        />
      </InlineForm>
    </div>
  );
}
