/** Train longer: how many tokens in all. */
import { useState } from "preact/hooks";
import * as f from "../lib/format";
import { Field, InlineForm } from "../lib/kit";
import type { Card } from "../lib/wire";
import type { Store } from "./store";

export function LongerForm({ store, card, onClose }: { store: Store; card: Card; onClose: () => void }) {
  const [text, setText] = useState(f.count(2 * card.tokens_total));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const submit = async () => {
    const tokens = f.parseInteger(text);
    if (tokens === null || tokens <= card.tokens_done) {
      const why = tokens === null ? `“${text.trim()}” is not a whole number.` : "It has seen so many already.";
      return setError(`${why} Enter more than ${f.count(card.tokens_done)}.`);
    }
    setBusy(true);
    const command = { kind: "train_longer", training_id: card.id, tokens } as const;
    const answer = await store.command(card.id, "Train longer", command);
    setBusy(false);
    if (!answer) return;
    store.openFor(card.id, undefined); // and the focus goes to the new run, not back to where it was
    store.focusAnswer(answer);
    store.announce("Training started");
  };
  return (
    <InlineForm
      label={`Train ${card.name} longer`}
      submit={busy ? "Starting…" : "Train longer"}
      disabled={busy}
      onSubmit={() => void submit()}
      onClose={onClose}
      select
      wrong={error}
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
  );
}
