/** Which tokens are steered: all, those of the prompt, those that follow, or chosen ones. */
import { useEffect } from "preact/hooks";
import { rove } from "../lib/a11y";
import { Checkbox, Segments } from "../lib/controls";
import { ItemNotes } from "../lib/notes";
import { chipText } from "../lib/tokens";
import type { Store } from "./store";

const OPTIONS = [
  { value: "all", label: "All" },
  { value: "generated", label: "Generated" },
  { value: "prompt", label: "Prompt" },
  { value: "chosen", label: "Chosen" },
] as const;

const TYPING = 400; // ms after the last key in the prompt

export function Positions({ store }: { store: Store }) {
  const { positions, prompt, steer_bos } = store.settings();
  const choosing = store.choosing.value;
  const selected = choosing || Array.isArray(positions) ? "chosen" : positions;
  const known = store.state.value.rows.length > 0;
  useEffect(() => {
    if (selected !== "chosen" || !known) return;
    const timer = setTimeout(() => void store.loadTokens(), store.tokens.value === null ? 0 : TYPING);
    return () => clearTimeout(timer);
  }, [selected, prompt, known, store]);
  return (
    <div class="pp">
      <div class="row w sm">
        <span class="t2">Positions</span>
        <Segments label="Positions" options={OPTIONS} selected={selected} onSelect={(value) => store.position(value)} />
        {selected !== "chosen" && (
          <Checkbox label="Steer BOS" checked={steer_bos} onChange={(on) => store.set({ steer_bos: on })}>
            BOS too
          </Checkbox>
        )}
      </div>
      {selected === "chosen" && <Chosen store={store} />}
    </div>
  );
}

function Chosen({ store }: { store: Store }) {
  const { positions } = store.settings();
  const data = store.tokens.value;
  const why = store.invalid.value.get("positions");
  const chosen = new Set(Array.isArray(positions) ? positions : []);
  return (
    <div class="cho g4">
      <ItemNotes store={store} id="tokens" />
      {data === null && !store.problems.value.has("tokens") && <span class="sm t2">Reading the prompt…</span>}
      {data !== null && (
        // biome-ignore lint/a11y/useSemanticElements: a group of buttons, not of form fields
        <div class="pts" role="group" aria-label="Tokens of the prompt" onKeyDown={(event) => rove(event, "button")}>
          {data.map((token, at) => (
            <button
              key={at}
              type="button"
              class="tk"
              data-focus={at === 0 ? "positions" : undefined}
              aria-pressed={chosen.has(at)}
              aria-label={`Token ${at}: ${chipText(token.piece)}`}
              tabIndex={at === 0 ? 0 : -1}
              onClick={() => store.togglePosition(at)}
            >
              {chipText(token.piece)}
            </button>
          ))}
        </div>
      )}
      {why ? (
        <span class="sm bad" role="alert">
          {why}
        </span>
      ) : (
        <span class="xs t2">
          {chosen.size === 0 ? "Click the tokens to steer." : `${chosen.size} of ${data?.length ?? "?"} tokens`}
        </span>
      )}
    </div>
  );
}
