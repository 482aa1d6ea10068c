/** Train longer: how many tokens in all. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import type { Card } from "../lib/wire";
import type { Store } from "./store";

export function LongerForm({ store, card, onClose }: { store: Store; card: Card; onClose: () => void }) {
  const uid = useUid("sw-longer");
  const box = useRef<HTMLFormElement>(null);
  const [text, setText] = useState(f.count(2 * card.tokens_total));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  useLayoutEffect(() => {
    const input = box.current?.querySelector<HTMLInputElement>("input");
    input?.focus();
    input?.select();
    box.current?.scrollIntoView?.({ block: "nearest" });
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    const tokens = f.parseInteger(text);
    if (tokens === null || tokens <= card.tokens_done) {
      setError(
        `${tokens === null ? `“${text.trim()}” is not a whole number.` : "It has seen so many already."} Enter more than ${f.count(card.tokens_done)}.`,
      );
      box.current?.querySelector<HTMLElement>("input")?.focus();
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
    <form ref={box} class="inline" aria-label={`Train ${card.name} longer`} noValidate onSubmit={submit}>
      <div class="f grow">
        <label for={`${uid}-tokens`}>Tokens in all</label>
        <input
          id={`${uid}-tokens`}
          inputMode="numeric"
          autocomplete="off"
          aria-describedby={`${uid}-hint`}
          aria-invalid={error !== null}
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setError(null);
          }}
        />
        <p class={error ? "err" : "hint"} id={`${uid}-hint`}>
          {error ??
            `A new run goes on from the newest checkpoint, after ${f.tokens(card.last_checkpoint_tokens ?? card.tokens_done)}; this one stays as it is.`}
        </p>
      </div>
      <div class="acts">
        <Button submit disabled={busy}>
          {busy ? "Starting…" : "Train longer"}
        </Button>
        <Button onClick={onClose}>Cancel</Button>
      </div>
    </form>
  );
}
