/** The prompt; how to sample, and the two buttons. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button, Checkbox } from "../lib/controls";
import { parseInteger, parseNumber } from "../lib/format";
import { Field, FieldBox } from "../lib/forms";
import { HiddenNote } from "../lib/tokens";
import { NEW_TOKENS } from "../lib/wire";
import type { Store } from "./store";

type FieldName = "multiplier" | "new_tokens" | "temperature" | "top_p" | "frequency_penalty" | "seed";
type NumberField = [label: string, parse: typeof parseNumber, low: number, high: number, why: string];

const most = NEW_TOKENS.toLocaleString("en-US");
const LARGEST = Number.MAX_SAFE_INTEGER;
const FIELDS: Record<FieldName, NumberField> = {
  multiplier: ["Multiplier", parseNumber, -100, 100, "Enter −100 to 100; the change of all features is so many times."],
  new_tokens: ["New tokens", parseInteger, 1, NEW_TOKENS, `Enter 1 to ${most}; 60 is usual.`],
  temperature: ["Temperature", parseNumber, 0, 100, "Enter 0 to 100; 0 always takes the likeliest token."],
  top_p: ["Top-p", parseNumber, Number.MIN_VALUE, 1, "Enter a number above 0, at most 1."],
  frequency_penalty: ["Frequency penalty", parseNumber, -10, 10, "Enter −10 to 10; 0 is usual."],
  seed: ["Seed", parseInteger, 0, LARGEST, "Enter a whole number, 0 or more."],
};
const NAMES = Object.keys(FIELDS) as FieldName[];

export function Prompt({ store }: { store: Store }) {
  const { prompt, chat, system } = store.settings();
  const { chat_problem, system_problem, turns } = store.state.value;
  const again = chat && turns.length > 0;
  return (
    <div class="bd g4">
      {chat && (
        <Field
          label="System prompt"
          rows={1}
          maxLength={100_000}
          value={system}
          disabled={system_problem !== "" && system === ""}
          hint={system_problem}
          onInput={(text) => store.set({ system: text })}
        />
      )}
      <Field
        label="Prompt"
        rows={2}
        maxLength={100_000}
        value={prompt}
        placeholder={again ? "The next message; empty: the last one is answered again" : undefined}
        onInput={(text) => store.set({ prompt: text })}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
          event.preventDefault();
          void store.start("generate");
        }}
      />
      <HiddenNote text={prompt} />
      <div class="row w">
        <Checkbox
          label="Chat"
          checked={chat}
          disabled={chat_problem !== "" && !chat}
          onChange={(on) => store.set({ chat: on })}
        >
          Chat: a user’s message, in the model’s chat template
        </Checkbox>
        <div class="sp" />
        {again && (
          <>
            <Button text="Edit last message" small disabled={store.running} onClick={() => store.chat("edit")} />
            <Button text="New chat" small disabled={store.running} onClick={() => store.chat("new")} />
          </>
        )}
      </div>
      {chat_problem && (
        <p class={chat ? "sm bad" : "xs t2"} role={chat ? "alert" : undefined}>
          {chat_problem}
        </p>
      )}
    </div>
  );
}

export function Settings({ store }: { store: Store }) {
  const { status } = store.state.value.run;
  const running = store.running;
  const wrong = NAMES.map((name) => FIELDS[name]).filter(([label]) => store.invalid.value.has(label));
  return (
    <div class="bd line">
      <div class="row w settings end">
        {NAMES.map((name) => (
          <Setting key={name} store={store} name={name} />
        ))}
        <div class="sp" />
        <Button
          text={status === "stopping" ? "Stopping…" : "Stop"}
          icon="stop"
          disabled={!running || status === "stopping"}
          onClick={() => store.stopWriting()}
        />
        <Button
          text="Generate"
          kind="primary"
          icon="play"
          disabled={running || store.refused !== ""}
          title={store.refused || undefined}
          onClick={() => store.start("generate")}
        />
      </div>
      {wrong.map(([label, , , , why]) => (
        <p key={label} class="sm bad" role="alert">
          {`${label}: ${why}`}
        </p>
      ))}
    </div>
  );
}

function Setting({ store, name }: { store: Store; name: FieldName }) {
  const [label, parse, low, high, why] = FIELDS[name];
  const value = store.settings()[name];
  const [typed, setTyped] = useState<string | null>(null);
  const wrong = store.invalid.value.has(label);
  const input = useFocusField(store, label);
  // another value from elsewhere (a preset) takes the place of what was typed
  useEffect(() => {
    if (typed !== null && parse(typed) !== value && !store.invalid.value.has(label)) setTyped(null);
  }, [value, typed, label, store]);
  return (
    <FieldBox label={label}>
      {(control) => (
        <input
          {...control}
          dir="auto"
          ref={input}
          inputMode={parse === parseInteger ? "numeric" : "decimal"}
          aria-invalid={wrong ? "true" : undefined}
          value={typed ?? String(value)}
          onInput={(event) => {
            const text = event.currentTarget.value;
            const next = parse(text);
            const good = next !== null && next >= low && next <= high;
            setTyped(text);
            store.setInvalid(label, good ? undefined : why);
            if (good) store.set({ [name]: next });
          }}
          onBlur={() => {
            if (!wrong) setTyped(null);
          }}
        />
      )}
    </FieldBox>
  );
}

/** For the box of a field: it gets the focus when something is wrong with it. */
export function useFocusField(store: Store, field: string) {
  const input = useRef<HTMLInputElement>(null);
  const called = store.focusField.value === field;
  useLayoutEffect(() => {
    if (!called) return;
    store.focusField.value = null;
    input.current?.focus();
  }, [called, store]);
  return input;
}
