/** One feature that is steered with: mode, strength, what that adds up to. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { rove, useUid } from "../lib/a11y";
import { rest, useAsked } from "../lib/ask";
import { Button, Checkbox, NoteBox, Segments, useHelp } from "../lib/controls";
import { Icon } from "../lib/icons";
import { Pick, Search as SearchBox } from "../lib/kit";
import { ItemNotes } from "../lib/notes";
import { chipText, LabelOrTokens, visible } from "../lib/tokens";
import type { PositionWord, SteeringRow, Gauge as Value } from "../lib/wire";
import type { Store } from "./store";
import {
  converted,
  effect,
  effectSpoken,
  gaugeAt,
  MODES,
  parseStrength,
  placeOf,
  ratioText,
  reach,
  stepOf,
  strengthText,
  valueAt,
  zone,
} from "./words";

const TYPING = 200; // ms after the last key

export type Search = ReturnType<typeof useSearch>;

export function useSearch(store: Store) {
  const [text, set] = useState("");
  const { sae_id } = store.state.value;
  const find = async (signal: AbortSignal) => {
    if (!text.trim() || !sae_id) return null;
    await rest(TYPING);
    return (await store.rpc.send({ kind: "steering_find", sae_id, text }, { signal })).value;
  };
  const { data: hits, problem } = useAsked(find, `${sae_id} ${text}`);
  return { text, set, hits, problem };
}

export function AddBox({ store, search }: { store: Store; search: Search }) {
  const { saes, sae_id } = store.state.value;
  return (
    <>
      {saes.length > 1 && (
        <Pick
          label="SAE"
          width={200}
          value={sae_id}
          options={saes.map(({ id, name }) => ({ value: id, label: visible(name) }))}
          onPick={(id) => store.choose(id)}
        />
      )}
      <SearchBox
        label="Add a feature"
        placeholder="Add: index or label"
        disabled={!sae_id}
        value={search.text}
        onInput={search.set}
        onEnter={() => addFirst(store, search)}
      />
    </>
  );
}

function addFirst(store: Store, search: Search): void {
  const { text, hits } = search;
  const plain = text.trim().replace(/[,_]/g, "");
  const first = hits?.text === text ? hits.hits[0] : undefined;
  if (/^\d+$/.test(plain)) void adding(store, search, Number(plain), first?.label ?? "");
  else if (first) void adding(store, search, first.index, first.label);
}

async function adding(store: Store, search: Search, index: number, label: string): Promise<void> {
  if (await store.add(index, label)) search.set("");
}

export function Hits({ store, search }: { store: Store; search: Search }) {
  const id = useUid("sw-hits");
  const { hits, text, problem } = search;
  const shown = hits !== null && text.trim() !== "";
  return (
    <>
      <ItemNotes store={store} id="add" />
      {problem && <NoteBox tone="err" title={problem.what} />}
      {shown && (
        <section class="hits box" aria-labelledby={id}>
          <span id={id} class="vh">
            Features found
          </span>
          {hits.hits.map((hit) => (
            <button
              key={hit.index}
              type="button"
              class="hit"
              aria-label={`Add feature ${hit.index}${hit.label ? `: ${visible(hit.label)}` : ""}`}
              onClick={() => adding(store, search, hit.index, hit.label)}
            >
              <Icon name="plus" />
              <b>{hit.index}</b> <LabelOrTokens label={visible(hit.label)} tokens={hit.tokens} none="no label" />
            </button>
          ))}
          {hits.note && <p class="sm t2">{hits.note}</p>}
        </section>
      )}
    </>
  );
}

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
      <span class="el sm" data-preview={row.key} title={title.filter(Boolean).join("\n")}>
        <Button
          text={index}
          kind="link"
          label={`Examples of feature ${index}`}
          onClick={({ currentTarget }) => store.preview.show((currentTarget as HTMLElement).parentElement, true)}
        />{" "}
        <LabelOrTokens label={label} tokens={row.tokens} none="" />
        {several && <span class="t2">{` ${visible(row.sae)}`}</span>}
      </span>
      <Pick
        label={`Mode of feature ${index}`}
        class="sfm"
        value={mode}
        options={MODES}
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
      <Button small kind="quiet" icon="close" label={`Remove feature ${index}`} onClick={() => store.remove(row)} />
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

interface SliderProps {
  label: string;
  spoken: string;
  value: number;
  /** Strengths go from −end to end; what was typed may lie beyond. */
  end: number;
  disabled?: boolean;
  onInput: (value: number) => void;
}

/** In steps of an arrow key: 0.1, on a slider that ends below 1 a tenth of that. */
const STEPS: Record<string, number> = {
  ArrowRight: 1,
  ArrowUp: 1,
  ArrowLeft: -1,
  ArrowDown: -1,
  PageUp: 10,
  PageDown: -10,
};

/** The native slider keeps value, name and focus; it is drawn and dragged here, as a native one is even all along. */
export function Slider({ label, spoken, value, end, disabled, onInput }: SliderProps) {
  const root = useRef<HTMLSpanElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const place = placeOf(value, end);
  const at = 50 + 50 * place;
  const unit = stepOf(end);
  const round = (to: number): number => Number(to.toFixed(unit < 0.1 ? 2 : 1));

  const drag = (event: PointerEvent) => {
    const box = root.current?.getBoundingClientRect();
    if (!box || box.width <= 12) return;
    const next = valueAt((2 * (event.clientX - box.left - 6)) / (box.width - 12) - 1, end);
    if (next !== value) onInput(next);
  };

  return (
    <span class={`sld${disabled ? " off" : ""}`} ref={root}>
      <span class="trk" aria-hidden="true">
        <i class="mid" />
        <i class="fil" style={{ left: `${Math.min(50, at)}%`, width: `${Math.abs(at - 50)}%` }} />
        <i class="knb" style={{ left: `${at}%` }} />
      </span>
      <input
        ref={input}
        type="range"
        aria-label={label}
        aria-valuetext={spoken}
        aria-disabled={disabled ? "true" : undefined}
        min={-Math.max(end, Math.abs(value))}
        max={Math.max(end, Math.abs(value))}
        step="any"
        value={value}
        // what a script or an assistive tool sets; pointers and keys do not come this way
        onInput={(event) => !disabled && onInput(round(Number(event.currentTarget.value)))}
        onMouseDown={(event) => event.preventDefault()}
        onPointerDown={(event) => {
          if (disabled || event.button !== 0) return;
          input.current?.focus();
          input.current?.setPointerCapture?.(event.pointerId);
          drag(event);
        }}
        onPointerMove={(event) => {
          if (!disabled && event.buttons & 1 && input.current?.hasPointerCapture?.(event.pointerId)) drag(event);
        }}
        onDblClick={() => !disabled && onInput(0)}
        onKeyDown={(event) => {
          if (disabled || event.ctrlKey || event.metaKey || event.altKey) return;
          const step = STEPS[event.key];
          let next: number;
          if (step !== undefined) next = round(value + step * unit);
          else if (event.key === "0") next = 0;
          else if (event.key === "Home") next = -end;
          else if (event.key === "End") next = end;
          else return;
          event.preventDefault();
          onInput(next);
        }}
      />
    </span>
  );
}

export function Gauge({ gauge }: { gauge: Value }) {
  const { ratio } = gauge;
  const [button, text] = useHelp(
    "Size of the change",
    "The length of what steering adds, Δ, over the length of the hidden state h it is added to: the mean over the tokens " +
      "that are steered, of all features together. While sliders move it is measured on the prompt; after Generate, on " +
      "all steered tokens.",
  );
  return (
    <div class="gg">
      <div class="row sm">
        <b>‖Δ‖ / ‖h‖</b>
        {button}
        <span>{ratioText(ratio)}</span>
        <div class="sp" />
        <span class="t2 xs">{ratio === null ? "not measured yet" : `mean over ${gauge.over || "steered tokens"}`}</span>
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: a native one has two colours and no words */}
      <div
        class="gb"
        role="meter"
        aria-label="Size of the change against the residual"
        aria-valuenow={ratio === null ? 0 : Math.min(2, Number(ratio.toFixed(2)))}
        aria-valuemin={0}
        aria-valuemax={2}
        aria-valuetext={ratio === null ? "not measured yet" : `${ratioText(ratio)}: ${zone(ratio)}`}
      >
        <div class="gauge">
          <i />
          <i />
          <i />
        </div>
        {ratio !== null && <i class="gmk" style={{ left: `${gaugeAt(ratio)}%` }} />}
      </div>
      <div class="xs t2 gl" aria-hidden="true">
        <span>0 moderate</span>
        <span>0.5 strong</span>
        <span>1 breaks text</span>
      </div>
      {text}
    </div>
  );
}

const OPTIONS: Record<PositionWord | "chosen", string> = {
  all: "All",
  generated: "Generated",
  prompt: "Prompt",
  chosen: "Chosen",
};

const PROMPT_RESTS = 400; // ms after the last key in the prompt

export function Positions({ store }: { store: Store }) {
  const { positions, prompt, chat, system, steer_bos } = store.settings();
  const { turns } = store.state.value;
  const choosing = store.choosing.value;
  const selected = choosing || Array.isArray(positions) ? "chosen" : positions;
  const known = store.state.value.rows.length > 0;
  useEffect(() => {
    if (selected !== "chosen" || !known) return;
    const timer = setTimeout(() => store.loadTokens(), store.tokens.value === null ? 0 : PROMPT_RESTS);
    return () => clearTimeout(timer);
  }, [selected, prompt, chat, system, turns, known, store]);
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
              aria-label={`Token ${at}: ${chipText(token)}`}
              tabIndex={at === 0 ? 0 : -1}
              onClick={() => store.togglePosition(at)}
            >
              {chipText(token)}
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
