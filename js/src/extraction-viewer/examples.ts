/** The examples of a feature as they are shown: which tokens, with which activations, and as text to copy. */
import type { Context, Example, ExampleContext, FeaturePage } from "../lib/wire";

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
  /** Place of the first token in its context. */
  offset: number;
  context: number | null;
  document: number | null;
  /** Place of the context's first token in the stream of all text that was read; null: it is none of that. */
  start: number | null;
  /** The text that was typed, of which these are the tokens. */
  typed?: string;
}

export interface ShownExample {
  key: string;
  example: Example;
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
        offset: example.offset - example.peak,
        context: example.context,
        document: example.document,
        start: example.position - example.offset,
      };
      return { key: `${g}.${i}`, example, passage };
    }),
  }));
  if (at !== values.length) throw new RangeError(`${at} tokens of examples came with ${values.length} activations.`);
  return groups;
}

export function passageOf(context: ExampleContext, values: Float32Array, example: Example): Passage {
  return {
    texts: context.texts,
    tokens: context.tokens,
    values,
    peak: context.peak,
    before: false,
    after: false,
    offset: example.offset - context.peak, // the token that begins every context may be left out
    context: example.context,
    document: example.document,
    start: example.position - example.offset,
  };
}

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
  /** NaN where it is not known. */
  value: number;
  position: number;
  context: number | null;
  document: number | null;
  /** How Python is asked about it; null: it cannot be. */
  place: TokenPlace | null;
}

type TokenPlace = { position: number } | { text: string; token: number };

export function tokenInfo(passage: Passage, i: number): TokenInfo | null {
  if (i < 0 || i >= passage.tokens.length) return null;
  const { context, document } = passage;
  const value = passage.values[i] ?? Number.NaN;
  const position = passage.offset + i;
  return { text: textAt(passage, i), value, position, context, document, place: placeOf(passage, i) };
}

function placeOf({ start, offset, typed }: Passage, i: number): TokenPlace | null {
  if (start !== null) return { position: start + offset + i };
  return typed === undefined ? null : { text: typed, token: i };
}
