/** One feature on the page: what Python knows of it, and what was asked about it. Answers about another one are dropped. */
import { signal } from "@preact/signals";
import { type Asked, Latest, rest } from "../lib/ask";
import { type Answer, asFailure, isAbort, type Rpc, toFloat32 } from "../lib/rpc";
import { withKey } from "../lib/store";
import type * as wire from "../lib/wire";
import type { Context, ExampleContext, ExampleData, FeaturePage } from "../lib/wire";
import { signed } from "./words";

/** Tokens before and after the strongest one. */
const AROUND: Record<Exclude<Context, "full">, number> = { short: 5, snippet: 16 };

/** Tokens in a row, with what is known of each. */
export interface Passage {
  texts: readonly string[];
  tokens: readonly number[];
  values: Float32Array;
  peak: number;
  before: boolean;
  after: boolean;
  offset: number;
  context: number | null;
  document: number | null;
  /** Place of the context's first token in the stream of all text that was read; null: it is none of that. */
  start: number | null;
  typed?: string;
}

/** Of a passage that is a whole text, and none of those that were read. */
export const ALONE = { before: false, after: false, offset: 0, context: null, document: null, start: null };

export interface ShownExample {
  key: string;
  example: ExampleData;
  passage: Passage;
}

export interface ShownGroup {
  title: string;
  low: number | null;
  high: number | null;
  count: number;
  share: number | null;
  token_share: number | null;
  examples: ShownExample[];
}

/** The groups of a page with the activations of each example. Throws when there are not as many as there are tokens. */
export function groupsOf(page: FeaturePage, values: Float32Array): ShownGroup[] {
  let at = 0;
  const groups = page.groups.map((group, g) => ({
    ...group,
    examples: group.examples.map((example, i) => {
      const start = at;
      at += example.tokens.length;
      const passage: Passage = {
        texts: page.texts,
        tokens: example.tokens,
        values: values.subarray(start, at),
        peak: example.peak,
        before: example.before,
        after: example.after,
        ...placeOf(example, example.peak),
      };
      return { key: `${g}.${i}`, example, passage };
    }),
  }));
  if (at !== values.length) throw new RangeError(`${at} tokens of examples came with ${values.length} activations.`);
  return groups;
}

export function passageOf(whole: ExampleContext, values: Float32Array, example: ExampleData): Passage {
  const { texts, tokens, peak } = whole; // the token that begins every context may be left out
  return { texts, tokens, values, peak, before: false, after: false, ...placeOf(example, peak) };
}

/** Where a passage stands whose strongest token is its `peak`th. */
const placeOf = ({ offset, position, context, document }: ExampleData, peak: number) => ({
  offset: offset - peak,
  context,
  document,
  start: position - offset,
});

interface Range {
  from: number;
  to: number;
  before: boolean;
  after: boolean;
}

export function rangeOf(passage: Passage, context: Context): Range {
  const { length } = passage.tokens;
  if (context === "full") return { from: 0, to: length, before: passage.before, after: passage.after };
  const n = AROUND[context];
  const [from, to] = [Math.max(0, passage.peak - n), Math.min(length, passage.peak + n + 1)];
  return { from, to, before: passage.before || from > 0, after: passage.after || to < length };
}

export const textAt = (passage: Passage, i: number): string => passage.texts[passage.tokens[i] ?? -1] ?? "";

export function copyOf(passage: Passage, context: Context): string {
  const { from, to } = rangeOf(passage, context);
  let text = "";
  for (let i = from; i < to; i += 1) text += textAt(passage, i);
  return text;
}

/** Examples as lines: activation, tab, text with its line ends as spaces. */
export const copyOfAll = (examples: readonly ShownExample[], context: Context): string =>
  examples
    .map(
      ({ example, passage }) => `${example.value.toFixed(4)}\t${copyOf(passage, context).replace(/\s+/g, " ").trim()}`,
    )
    .join("\n");

export interface TokenInfo {
  text: string;
  value: number;
  position: number;
  context: number | null;
  document: number | null;
  place: { position: number } | { text: string; token: number } | null;
}

export function tokenInfo(passage: Passage, i: number): TokenInfo | null {
  if (i < 0 || i >= passage.tokens.length) return null;
  const { context, document, start, typed } = passage;
  const value = passage.values[i] ?? Number.NaN;
  const position = passage.offset + i;
  const own = typed === undefined ? null : { text: typed, token: i };
  const place = start === null ? own : { position: start + position };
  return { text: textAt(passage, i), value, position, context, document, place };
}

const THEN = 150; // ms on a feature before what needs the model is asked for
const TYPING = 450; // ms after the last key of a text to test

export interface Tested {
  answer: wire.TestedText;
  passage: Passage;
}

type Whole = Asked<{ answer: wire.ExampleContext; passage: Passage }>;

export interface Loaded {
  page: wire.FeaturePage;
  groups: ShownGroup[];
}

export const loadedOf = (answer: Answer<wire.FeaturePage>): Loaded => ({
  page: answer.value,
  groups: groupsOf(answer.value, activationsOf(answer)),
});

export interface Pointed {
  info: TokenInfo;
  element: HTMLElement;
}

/** The buffer of an answer as float32 values, one per token. */
export function activationsOf(answer: Answer, tokens?: number): Float32Array {
  const values = toFloat32(answer.buffers[answer.columns.indexOf("activations")] ?? new ArrayBuffer(0));
  if (tokens !== undefined && values.length !== tokens)
    throw new RangeError(`${tokens} tokens came with ${values.length} activations.`);
  return values;
}

export class FeatureView {
  readonly loaded = new Latest<Loaded>();
  readonly logits = new Latest<wire.FeatureLogitsData>();
  readonly relations = new Latest<wire.FeatureRelationsData>();
  readonly tested = new Latest<Tested>();
  /** The last answer had logits, so the page reserves their place for the next. */
  hasLogits = true;
  readonly text = signal("");
  readonly wholes = signal<ReadonlyMap<string, Whole>>(new Map());
  readonly opened = signal<ReadonlyMap<string, boolean>>(new Map());
  readonly pointed = signal<Pointed | null>(null);
  readonly pinned = signal(false);
  /** A value to mark in the histogram, of the token that is pointed at. */
  readonly marked = signal<number | null>(null);
  /** Label, description and notes that were typed and not saved, by feature. */
  readonly drafts = signal<ReadonlyMap<string, Partial<Draft>>>(new Map());
  readonly loss: LossEffects;
  /** Pages that were shown last or come next, so that ← and → answer at once. What people say empties it. */
  private near = new Map<number, Loaded | null>(); // null: asked for
  extraction = "";
  index: number | null = null;
  private stop = new AbortController();
  private later: ReturnType<typeof setTimeout> | undefined;
  private typing: ReturnType<typeof setTimeout> | undefined;
  private expanding = Promise.resolve();

  constructor(
    private readonly rpc: Rpc,
    private readonly isLive: () => boolean,
    private readonly onNotes: (notes: wire.FeatureNotes) => void,
    /** The features before and after one, as far as they are known. */
    private readonly neighbours: (index: number) => readonly number[] = () => [],
  ) {
    this.loss = new LossEffects(rpc, isLive);
  }

  /** Shows a feature; null: none. The one before stays on the screen, marked as busy, until the answer is there. */
  show(extraction: string, index: number | null): void {
    if (extraction === this.extraction && index === this.index) return;
    if (extraction !== this.extraction || this.loaded.value.problem) this.loaded.forget();
    if (extraction !== this.extraction) this.near = new Map();
    else if (this.current) this.near.set(this.current.page.index, this.current);
    this.extraction = extraction;
    this.index = index;
    this.giveUp();
    const known = index === null ? undefined : this.near.get(index);
    for (const one of [this.logits, this.relations, this.tested]) one.forget();
    this.wholes.value = new Map();
    this.opened.value = new Map();
    this.unpoint(true);
    this.loss.forget();
    if (known) {
      this.loaded.set(known);
      this.later = setTimeout(() => this.more(known.page), THEN);
    } else if (index === null) this.loaded.forget();
    else void this.load(true);
  }

  get current(): Loaded | null {
    const { data } = this.loaded.value;
    return data && data.page.index === this.index && data.page.extraction_id === this.extraction ? data : null;
  }

  /** Reads it again, without what needs the model: labels, stars or notes changed. */
  refresh(): void {
    this.near = new Map();
    if (this.index !== null) void this.load(false);
  }

  again(): void {
    if (this.index !== null) void this.load(true);
  }

  private async load(whole: boolean): Promise<void> {
    const index = this.index ?? 0;
    const loaded = await this.loaded.ask((signal) => this.read(index, signal), this.current !== null);
    if (loaded && whole) this.later = setTimeout(() => this.more(loaded.page), THEN);
    else if (loaded) void this.lookAround();
  }

  async read(index: number, signal: AbortSignal): Promise<Loaded> {
    return loadedOf(await this.ask("open_feature", signal, index));
  }

  /** Asks for the neighbours' pages, one after the other, for as long as this feature is shown. */
  async lookAround(): Promise<void> {
    const { near, stop } = this;
    const wanted = this.neighbours(this.index ?? 0);
    for (const index of near.keys()) if (!wanted.includes(index)) near.delete(index);
    for (const index of this.current ? wanted : []) {
      if (near.has(index)) continue;
      near.set(index, null);
      const page = await this.read(index, stop.signal).catch(() => null);
      if (page) near.set(index, page);
      else near.delete(index); // it is asked for again when it is opened
      if (stop.signal.aborted || near !== this.near) return;
    }
  }

  private more(page: wire.FeaturePage): void {
    if (page.fired > 0) this.askLogits(); // of a dead one when it is wanted
    this.askRelations();
    void this.lookAround();
    if (this.text.value.trim() !== "" && this.isLive()) void this.test();
  }

  askLogits(): void {
    void this.logits
      .ask(async (signal) => (await this.ask("feature_logits", signal)).value)
      .then(() => {
        const { data, problem } = this.logits.value;
        if (data || problem) this.hasLogits = (data?.raises.length ?? 0) > 0;
      });
  }

  /** The effects of all features are stored now: those that were not to be had are. */
  logitsCame(): void {
    const { data, problem, busy } = this.logits.value;
    if (!busy && (problem || data?.problem)) this.askLogits();
  }

  askRelations(): void {
    void this.relations.ask(async (signal) => (await this.ask("feature_relations", signal)).value);
  }

  private ask<K extends "open_feature" | "feature_logits" | "feature_relations">(
    kind: K,
    signal: AbortSignal,
    index = this.index ?? 0,
  ): Promise<Answer<wire.Answers[K]>> {
    const command = { kind, extraction_id: this.extraction, index };
    return this.rpc.send(command, { signal }) as Promise<Answer<wire.Answers[K]>>;
  }

  // -------------------------------------------------------------------------------------------- own text

  type(text: string): void {
    this.text.value = text;
    clearTimeout(this.typing);
    if (this.isLive()) this.typing = setTimeout(() => this.test(), TYPING);
  }

  async test(): Promise<void> {
    clearTimeout(this.typing);
    const text = this.text.value;
    const { index, extraction } = this;
    if (index === null || text.trim() === "") return this.tested.forget();
    const command = { kind: "test_text", extraction_id: extraction, index, text } as const;
    await this.tested.ask(async (signal) => {
      const answer = await this.rpc.send(command, { signal });
      const { texts, tokens } = answer.value;
      const values = activationsOf(answer, tokens.length);
      const passage = { texts, tokens, values, peak: strongest(values), ...ALONE, typed: text };
      return { answer: answer.value, passage };
    });
  }

  // -------------------------------------------------------------------------------------------- whole contexts

  /** Asks for the whole context of an example, after those that were asked for before it. */
  expand(key: string, example: wire.ExampleData): void {
    if (this.wholes.value.has(key)) return;
    this.wholes.value = withKey<string, Whole>(this.wholes.value, key, { data: null, problem: null, busy: true });
    const { stop } = this;
    this.expanding = this.expanding.then(async () => {
      if (stop.signal.aborted) return;
      const whole = await this.contextOf(example, stop);
      if (!stop.signal.aborted) this.wholes.value = withKey(this.wholes.value, key, whole);
    });
  }

  retry(key: string, example: wire.ExampleData): void {
    this.wholes.value = withKey<string, Whole>(this.wholes.value, key, undefined);
    this.expand(key, example);
  }

  private async contextOf(example: wire.ExampleData, stop: AbortController): Promise<Whole> {
    const command: wire.ViewerCommand = {
      kind: "expand_example",
      extraction_id: this.extraction,
      index: this.index ?? 0,
      position: example.position,
    };
    try {
      const answer = await this.rpc.send(command, { signal: stop.signal });
      const context = answer.value;
      const passage = passageOf(context, activationsOf(answer, context.tokens.length), example);
      return { data: { answer: context, passage }, problem: null, busy: false };
    } catch (error) {
      return { data: null, problem: asFailure(error), busy: false };
    }
  }

  // -------------------------------------------------------------------------------------------- tokens

  private passage(key: string): Passage | null {
    if (key === "test") return this.tested.value.data?.passage ?? null;
    const whole = this.wholes.value.get(key.replace(/^whole /, ""))?.data;
    if (key.startsWith("whole ")) return whole?.passage ?? null;
    const [g, i] = key.split(".").map(Number);
    return this.current?.groups[g ?? -1]?.examples[i ?? -1]?.passage ?? null;
  }

  /** The card follows the pointer and the focus, unless it is pinned. */
  point(element: HTMLElement | null): void {
    if (this.pinned.value) return;
    const from = element?.closest<HTMLElement>("[data-from]")?.dataset.from;
    const passage = from === undefined ? null : this.passage(from);
    const info = passage && element ? tokenInfo(passage, Number(element.dataset.t)) : null;
    if (info === null || element === null) this.unpoint();
    else {
      this.pointed.value = { info, element };
      void this.loss.ask(this.extraction, this.index ?? 0, info);
      this.marked.value = info.value > 0 ? info.value : null;
    }
  }

  unpoint(unpin = false): void {
    if (unpin) this.pinned.value = false;
    if (this.pinned.value) return;
    this.pointed.value = null;
    this.marked.value = null;
    this.loss.leave();
  }

  // -------------------------------------------------------------------------------------------- what people say

  draft(index: number): Partial<Draft> {
    return this.drafts.value.get(`${this.extraction} ${index}`) ?? {};
  }

  setDraft(index: number, draft: Partial<Draft> | undefined): void {
    this.drafts.value = withKey(this.drafts.value, `${this.extraction} ${index}`, draft);
  }

  takeNotes(extraction: string, notes: wire.FeatureNotes): void {
    const { data } = this.loaded.value;
    this.near.delete(notes.index);
    if (data && extraction === this.extraction && data.page.index === notes.index) {
      const page = { ...data.page, notes };
      this.loaded.set({ ...data, page });
    }
    if (extraction === this.extraction) this.onNotes(notes);
  }

  giveUp(): void {
    this.stop.abort();
    this.stop = new AbortController();
    for (const one of [this.loaded, this.logits, this.relations, this.tested]) one.giveUp();
    this.loss.leave();
    clearTimeout(this.later);
    clearTimeout(this.typing);
    this.expanding = Promise.resolve();
  }
}

export interface Draft {
  label: string;
  description: string;
  notes: string;
}

function strongest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i += 1) if ((values[i] ?? 0) > (values[best] ?? 0)) best = i;
  return best;
}

type LossCommand = Extract<wire.ViewerCommand, { kind: "read_loss_effect" }>;

const REST = 150; // ms on a token before it is asked for: a pointer passes many
const KEPT = 500; // answers

export class LossEffects {
  /** In words; "" where there is nothing to say. */
  readonly words = signal("");
  private readonly known = new Map<string, string>();
  private current = "";
  private stop = new AbortController();

  constructor(
    private readonly rpc: Rpc,
    private readonly isLive: () => boolean,
  ) {}

  async ask(extraction_id: string, index: number, { value, place }: TokenInfo): Promise<void> {
    const key = JSON.stringify([extraction_id, index, place]);
    if (key === this.current) return; // from one part of a token to another
    this.leave();
    this.current = key;
    if (place === null) return;
    const known =
      value === 0
        ? "none, it is silent here"
        : this.isLive()
          ? this.known.get(key)
          : "needs the model, which is not here";
    this.words.value = known ?? "…";
    if (known !== undefined) return;
    const { signal } = this.stop;
    await rest(REST);
    try {
      const command: LossCommand = { kind: "read_loss_effect", extraction_id, index, ...place };
      const data = (await this.rpc.send(command, { signal })).value;
      this.words.value = lossWords(data);
      if (this.known.size >= KEPT) this.known.clear();
      if (!data.problem) this.known.set(key, this.words.value);
    } catch (error) {
      if (!isAbort(error)) this.words.value = `not known: ${asFailure(error).what}`;
    }
  }

  leave(): void {
    this.stop.abort();
    this.stop = new AbortController();
    this.words.value = "";
    this.current = "";
  }

  /** Another feature is shown, or the same with other weights. */
  forget(): void {
    this.leave();
    this.known.clear();
  }
}

/** "−0.184 nats (helps)". */
function lossWords({ effect, problem }: wire.LossEffectData): string {
  if (problem) return `not known: ${problem.what}`;
  if (effect === null) return "not known";
  if (Math.abs(effect) < 0.0005) return "0.000 nats";
  return `${signed(effect, 3)} nats (${effect < 0 ? "helps" : "hurts"})`;
}
