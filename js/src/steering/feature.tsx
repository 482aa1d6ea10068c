/** One feature that is steered with: mode, strength, what that adds up to. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button, NoteBox } from "../lib/controls";
import { Pick } from "../lib/kit";
import { visible } from "../lib/tokens";
import type { SteeringRow } from "../lib/wire";
import { Slider } from "./slider";
import type { Store } from "./store";
import { converted, effect, effectSpoken, MODES, parseStrength, reach, strengthText } from "./words";

interface Props {
  store: Store;
  row: SteeringRow;
  /** There are features of several SAEs: each says which. */
  several: boolean;
}

export function Feature({ store, row, several }: Props) {
  const { index, mode } = row;
  const root = useRef<HTMLLIElement>(null);
  const called = store.focusRow.value === row.key;
  useLayoutEffect(() => {
    if (!called) return;
    store.focusRow.value = null;
    root.current?.querySelector<HTMLElement>("input[type=range]")?.focus();
  }, [called, store]);
  const colour = ((Number(row.key.slice(1)) - 1) % 6) + 1;
  const label = visible(row.label);
  const title = [`Feature ${index} of ${visible(row.sae)}`, label, row.a_max !== null && maximumWords(row)];
  return (
    <li class="sf" aria-label={`Feature ${index}`} ref={root}>
      <i class="swatch" style={{ "--c": `var(--sw-s${colour})` }} aria-hidden="true" />
      <span class="el sm" title={title.filter(Boolean).join("\n")}>
        <b>{index}</b> <bdi>{label}</bdi>
        {several && <span class="t2">{` ${visible(row.sae)}`}</span>}
      </span>
      <Pick
        label={`Mode of feature ${index}`}
        class="sfm"
        value={mode}
        options={MODES.map(([value, label]) => ({ value, label }))}
        onPick={(next) => store.setRow(row, { mode: next, strength: converted(row, next) })}
      />
      <Slider
        label={`Strength of feature ${index}`}
        spoken={effectSpoken(row)}
        value={row.strength}
        end={reach(row)}
        disabled={mode === "ablate"}
        onInput={(strength) => store.setRow(row, { strength })}
      />
      <StrengthBox store={store} row={row} />
      <span class="al xs t2 r" title={row.a_max !== null ? maximumWords(row) : undefined}>
        {row.pending && mode === "add_max" && row.a_max === null ? "measuring max…" : effect(row)}
      </span>
      <Button
        small
        kind="quiet"
        icon="close"
        label={`Remove feature ${index}`}
        onClick={() => void store.remove(row)}
      />
      {row.problem && (
        <div class="sfn">
          <NoteBox tone={row.problem.kind === "warn" ? "warn" : "err"} title={row.problem.what}>
            {row.problem.hint}
          </NoteBox>
        </div>
      )}
    </li>
  );
}

const maximumWords = ({ a_max, basis }: SteeringRow): string =>
  `Largest activation ${Number((a_max ?? 0).toPrecision(4))} ${basis}`.trim();

function StrengthBox({ store, row }: { store: Store; row: SteeringRow }) {
  const [typed, setTyped] = useState<string | null>(null);
  const field = `Strength value of feature ${row.index}`;
  const off = row.mode === "ablate";
  const wrong = typed !== null && parseStrength(typed) === null;
  const done = () => {
    setTyped(null);
    store.setInvalid(field, undefined);
  };
  return (
    <span class="s24">
      <input
        aria-label={field}
        aria-invalid={wrong ? "true" : undefined}
        title={wrong ? "Enter a number, such as 2 or −0.5." : undefined}
        inputMode="decimal"
        class="r"
        disabled={off}
        value={typed ?? (off ? "–" : strengthText(row.strength))}
        onInput={(event) => {
          const text = event.currentTarget.value;
          setTyped(text);
          const value = parseStrength(text);
          if (value !== null) store.setRow(row, { strength: value });
          store.setInvalid(field, value === null ? "Enter a number, such as 2 or −0.5." : undefined);
        }}
        onBlur={done}
        onKeyDown={(event) => {
          if (event.key === "Enter") done();
          const step = { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key];
          if (step === undefined) return;
          event.preventDefault();
          done();
          store.setRow(row, { strength: Number((row.strength + step).toFixed(6)) });
        }}
      />
    </span>
  );
}
