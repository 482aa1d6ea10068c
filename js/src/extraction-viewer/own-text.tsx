/** *Test your text*: a feature on what somebody types. */
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { HiddenNote } from "../lib/hidden-note";
import { Failed } from "../lib/notes";
import { line } from "../lib/tokens";
import type { Store } from "./store";
import { roveTokens, Tokens } from "./token-row";
import { activation } from "./words";

/** `max`: the largest activation of the feature's examples. */
export function OwnText({ store, max }: { store: Store; max: number }) {
  const { feature } = store;
  const { data, problem, busy } = feature.tested.value;
  const open = store.opened;
  const live = open?.live ?? false;
  const words = data
    ? `max ${activation(data.answer.max)}, fires on ${f.count(data.answer.fired)} of ${f.plural(data.answer.tokens.length, "token")}`
    : "";
  return (
    <section class="own-text" aria-label="Test your text">
      <div class="row">
        <h3>Test your text</h3>
        <div class="sp" />
        <span class="xs t2" role="status">
          {busy ? "Reading…" : words}
        </span>
      </div>
      <form
        class="row top"
        onSubmit={(event) => {
          event.preventDefault();
          void feature.test();
        }}
      >
        <textarea
          dir="auto"
          rows={1}
          aria-label="Text to test"
          placeholder={live ? "Type a sentence" : "The model is not here"}
          disabled={!live}
          maxLength={100_000}
          value={feature.text.value}
          onInput={(event) => feature.type(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            void feature.test();
          }}
        />
        <Button
          text="Test"
          submit
          disabled={!live || busy || feature.text.value.trim() === ""}
          onClick={() => void feature.test()}
        />
      </form>
      <HiddenNote text={feature.text.value} />
      {!live && open && <p class="xs t2">{line(open.live_note)}</p>}
      {problem && <Failed problem={problem} />}
      {data && (
        // biome-ignore lint/a11y/useSemanticElements: a line of tokens, not of form fields
        <div
          class="x mono tested"
          role="group"
          aria-label="Tested text"
          aria-busy={busy}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: its tokens are walked through with the arrows
          tabIndex={0}
          data-from="test"
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.target as HTMLElement).dataset.t !== undefined) {
              feature.pinned.value = !feature.pinned.value;
            } else if (!roveTokens(event.currentTarget, event.key, data.passage.peak)) return;
            event.preventDefault();
          }}
        >
          <Tokens
            passage={data.passage}
            from={0}
            to={data.passage.tokens.length}
            max={Math.max(max, data.answer.max)}
            breaks={store.view.value.line_breaks}
            wraps
          />
        </div>
      )}
      {data?.answer.note && <p class="xs t2">{data.answer.note}</p>}
    </section>
  );
}
