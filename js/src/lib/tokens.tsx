/** Texts of tokens as they are drawn: never trusted to be short, printable or of one direction. Shades. */

export const STEPS = 8;
const NOTHING = 5e-5; // an activation below this is not shaded

/** Which of the eight shades an activation has beside the largest one of its list; 0: none. */
export function shadeStep(value: number, max: number): number {
  if (!(value >= NOTHING) || !(max > 0)) return 0;
  return Math.min(STEPS, Math.ceil(STEPS * Math.log10(1 + (9 * value) / max)));
}

export const shadeClass = (value: number, max: number): string => {
  const step = shadeStep(value, max);
  return step > 0 ? `a${step}` : "";
};

/** Marks that turn the direction of what follows, and others that nobody sees. */
const isHidden = (code: number): boolean =>
  code === 0x061c ||
  (code >= 0x200b && code <= 0x200f && code !== 0x200d && code !== 0x200c) ||
  (code >= 0x202a && code <= 0x202e) ||
  (code >= 0x2060 && code <= 0x206f) ||
  code === 0xfeff;

const isLineEnd = (code: number): boolean => code === 10 || code === 13 || code === 0x2028 || code === 0x2029;

function pictureOf(code: number): string {
  if (code === 9) return "\t";
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `⟨${code.toString(16).toUpperCase()}⟩`;
}

/** `text` with a picture for every character that cannot be seen or would turn the text around it. Line ends stay. */
export function visible(text: string): string {
  let out = "";
  let from = 0;
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (isLineEnd(code)) continue;
    if (code >= 0x20 && code < 0x7f) continue;
    if (!(code < 0x20 || (code >= 0x7f && code < 0xa0) || isHidden(code))) continue;
    out += text.slice(from, i) + pictureOf(code);
    from = i + 1;
  }
  return from === 0 ? text : out + text.slice(from);
}

/** The pictures of the characters in a text that a text box does not draw, each once. */
export function hiddenIn(text: string): string[] {
  const found = new Set<string>();
  for (const letter of text) {
    const picture = letter === "\t" ? letter : visible(letter);
    if (picture !== letter) found.add(picture);
  }
  return [...found];
}

/** The first `most` characters, with an ellipsis where that is not all. */
export function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  const code = text.charCodeAt(most - 1);
  return `${text.slice(0, code >= 0xd800 && code < 0xdc00 ? most - 1 : most)}…`;
}

const TOKEN = 80; // characters of one token that are drawn; its card has more
const LINE = 300; // of a label

export const line = (text: string): string => visible(cut(text, LINE)).replace(/[\r\n\t\u2028\u2029]+/g, " ");

interface Chip {
  /** One · for each leading space. */
  dots: string;
  rest: string;
}

/** A token on its own: `·ship`, `↵`. */
export function chip(text: string, most = TOKEN): Chip {
  const short = visible(cut(text, most))
    .replace(/\r\n?|[\n\u2028\u2029]/g, "↵")
    .replaceAll("\t", "⇥");
  const spaces = /^ */.exec(short)?.[0].length ?? 0;
  return { dots: "·".repeat(spaces), rest: short.slice(spaces) };
}

export const chipText = (text: string, most = TOKEN): string => {
  const { dots, rest } = chip(text, most);
  return dots + rest;
};

interface Drawn {
  space: string;
  body: string;
}

/** A token within its text. `end`: what a line end is drawn as: a space, "↵", or that and a new line. */
export function draw(text: string, end: " " | "↵" | "↵\n"): Drawn {
  const short = visible(cut(text, TOKEN));
  const one = short.replace(/\r\n?|[\n\u2028\u2029]/g, end).replaceAll("\t", end === " " ? " " : "⇥");
  const space = /^ */.exec(one)?.[0] ?? "";
  return space.length === one.length ? { space: "", body: one } : { space, body: one.slice(space.length) };
}

const SHOWN = 6;

export function HiddenNote({ text }: { text: string }) {
  const found = hiddenIn(text);
  if (found.length === 0) return null;
  const names = `${found.slice(0, SHOWN).join(" ")}${found.length > SHOWN ? " …" : ""}`;
  return <p class="xs t2 hidden-note">{`Not drawn in the box: ${names}`}</p>;
}

export function TokenChip({ text, most }: { text: string; most?: number }) {
  const { dots, rest } = chip(text, most);
  return (
    <span class="tk" title={rest.length > 12 ? chipText(text, 500) : undefined}>
      {dots && <span class="t3">{dots}</span>}
      {rest}
    </span>
  );
}

/** What stands for a label: the text, or the strongest tokens of a feature without one. */
export function LabelOrTokens({ label, tokens, none }: { label: string; tokens: readonly string[]; none: string }) {
  if (label) return <bdi>{label}</bdi>;
  if (tokens.length === 0) return <span class="t3">{none}</span>;
  return (
    <span class="ul">
      {tokens.slice(0, 3).map((token, i) => (
        <TokenChip key={`${i} ${token}`} text={token} most={24} />
      ))}
    </span>
  );
}
