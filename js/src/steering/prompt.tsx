/** The prompt, how to sample, and the two buttons. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button } from "../lib/controls";
import { parseInteger, parseNumber } from "../lib/format";
import { HiddenNote } from "../lib/hidden-note";
import { NEW_TOKENS, type SteeringSettings } from "../lib/wire";
import type { Store } from "./store";

interface Field {
  name: "new_tokens" | "temperature" | "top_p" | "seed";
  label: string;
  parse: (text: string) => number | null;
  ok: (value: number) => boolean;
  why: string;
}

const FIELDS: readonly Field[] = [
  {
    name: "new_tokens",
    label: "New tokens",
    parse: parseInteger,
    ok: (n) => n >= 1 && n <= NEW_TOKENS,
    why: `Enter 1 to ${NEW_TOKENS.toLocaleString("en-US")}; 60 is usual.`,
  },
  {
    name: "temperature",
    label: "Temperature",
    parse: parseNumber,
    ok: (n) => n >= 0 && n <= 100,
    why: "Enter 0 to 100; 0 always takes the likeliest token.",
  },
  {
    name: "top_p",
    label: "Top-p",
    parse: parseNumber,
    ok: (n) => n > 0 && n <= 1,
    why: "Enter a number above 0, at most 1.",
  },
  {
    name: "seed",
    label: "Seed",
    parse: parseInteger,
    ok: (n) => n >= 0 && Number.isSafeInteger(n),
    why: "Enter a whole number, 0 or more.",
  },
];

export function Prompt({ store }: { store: Store }) {
  const id = useUid("sw-prompt");
  const { prompt } = store.settings();
  const { status } = store.state.value.run;
  const running = store.running;
  const wrong = FIELDS.filter(({ label }) => store.invalid.value.has(label));
  return (
    <div class="bd line">
      <div class="f">
        <div class="l">
          <label for={id}>Prompt</label>
        </div>
        <textarea
          dir="auto"
          id={id}
          rows={2}
          value={prompt}
          maxLength={100_000}
          onInput={(event) => store.set({ prompt: event.currentTarget.value })}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
            event.preventDefault();
            void store.start("generate");
          }}
        />
      </div>
      <HiddenNote text={prompt} />
      <div class="row w settings end mt8">
        {FIELDS.map((field) => (
          <NumberField key={field.name} store={store} field={field} />
        ))}
        <div class="sp" />
        <Button icon="stop" disabled={!running || status === "stopping"} onClick={() => void store.stopWriting()}>
          {status === "stopping" ? "Stopping…" : "Stop"}
        </Button>
        <Button kind="primary" icon="play" disabled={running} onClick={() => void store.start("generate")}>
          Generate
        </Button>
      </div>
      {wrong.map(({ label, why }) => (
        <p key={label} class="sm bad" role="alert">
          {`${label}: ${why}`}
        </p>
      ))}
    </div>
  );
}

function NumberField({ store, field }: { store: Store; field: Field }) {
  const id = useUid("sw-field");
  const input = useRef<HTMLInputElement>(null);
  const { label, name } = field;
  const value = store.settings()[name as keyof SteeringSettings] as number;
  const [typed, setTyped] = useState<string | null>(null);
  const wrong = store.invalid.value.has(label);
  const called = store.focusField.value === label;
  useLayoutEffect(() => {
    if (!called) return;
    store.focusField.value = null;
    input.current?.focus();
  }, [called, store]);
  // another value from elsewhere (a preset) takes the place of what was typed
  useEffect(() => {
    if (typed !== null && field.parse(typed) !== value && !store.invalid.value.has(label)) setTyped(null);
  }, [value, typed, field, label, store]);
  return (
    <div class="f">
      <div class="l">
        <label for={id}>{label}</label>
      </div>
      <input
        dir="auto"
        ref={input}
        id={id}
        inputMode={field.parse === parseInteger ? "numeric" : "decimal"}
        aria-invalid={wrong ? "true" : undefined}
        value={typed ?? String(value)}
        onInput={(event) => {
          const text = event.currentTarget.value;
          const next = field.parse(text);
          const good = next !== null && field.ok(next);
          setTyped(text);
          store.setInvalid(label, good ? undefined : field.why);
          if (good) store.set({ [name]: next });
        }}
        onBlur={() => {
          if (!wrong) setTyped(null);
        }}
      />
    </div>
  );
}
