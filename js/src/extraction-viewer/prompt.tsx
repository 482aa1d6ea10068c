/** *On a prompt*: which features fire on a text, token by token. */
import { useUid } from "../lib/a11y";
import { Button, Checkbox, NoteBox, Segments } from "../lib/controls";
import * as f from "../lib/format";
import { HiddenNote } from "../lib/hidden-note";
import { Failed } from "../lib/notes";
import type { OpenExtraction, RankBy } from "../lib/wire";
import { Heat } from "./heat";
import type { Store } from "./store";

const RANKS: readonly { value: RankBy; label: string }[] = [
  { value: "max", label: "Max over tokens" },
  { value: "sum", label: "Sum" },
  { value: "token", label: "Chosen token" },
];

export function Prompt({ store, open }: { store: Store; open: OpenExtraction }) {
  const id = useUid("sw-prompt");
  const { prompt } = store;
  const { data, problem, busy } = prompt.reading.value;
  const text = prompt.text.value;
  const read = () => {
    if (open.live && text.trim() !== "") void prompt.read();
  };
  return (
    <div class="bd prompt">
      <form
        class="row end"
        onSubmit={(event) => {
          event.preventDefault();
          read();
        }}
      >
        <div class="f grow">
          <div class="l">
            <label for={id}>Text</label>
          </div>
          <textarea
            dir="auto"
            id={id}
            rows={1}
            maxLength={100_000}
            disabled={!open.live}
            placeholder="The captain of the ship promised the crew ten dollars each"
            value={text}
            onInput={(event) => {
              prompt.text.value = event.currentTarget.value;
            }}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
              event.preventDefault();
              read();
            }}
          />
        </div>
        <Button
          text={busy ? "Reading…" : "Show features"}
          kind="primary"
          submit
          disabled={!open.live || busy || text.trim() === ""}
        />
      </form>
      <HiddenNote text={text} />
      {!open.live && <NoteBox title="The text cannot be read here.">{open.live_note}</NoteBox>}
      <div class="row w">
        <span class="sm t2">Rank by</span>
        <Segments
          label="Rank by"
          options={RANKS}
          selected={prompt.rankBy.value}
          onSelect={(by) => prompt.rankAgain(by)}
        />
        <Checkbox
          label="Hide features above 1 % density"
          checked={prompt.hideDense.value}
          onChange={(hide) => prompt.setHideDense(hide)}
        >
          Hide features above 1 % density
        </Checkbox>
        <div class="sp" />
        <span class="sm t2" role="status">
          {data ? countWords(data.answer.rows.length, data.answer.firing, data.answer.hidden) : ""}
        </span>
      </div>
      {problem && <Failed problem={problem} />}
      {prompt.choosing.value && data && <p class="sm">Choose a token above its column.</p>}
      {data && (
        <div aria-busy={busy}>
          {data.answer.rows.length > 0 ? (
            <Heat store={store} reading={data} />
          ) : (
            <p class="sm t2">
              {data.answer.hidden > 0
                ? "Only features above 1 % density fire on this text."
                : "No feature fires on this text."}
            </p>
          )}
          <p class="xs t2">
            {["Shade: share of each feature’s own maximum, log scale. Choose a token to rank by it.", data.answer.note]
              .filter(Boolean)
              .join(" ")}
          </p>
        </div>
      )}
      {!data && !problem && !busy && open.live && (
        <p class="sm t2">Every feature that fires on the text is a row, every token a column.</p>
      )}
    </div>
  );
}

/** "7 of 38 features shown". */
function countWords(shown: number, firing: number, hidden: number): string {
  return `${f.count(shown)} of ${f.plural(firing, "feature")} shown${hidden > 0 ? `, ${f.count(hidden)} dense hidden` : ""}`;
}
