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

/** Controls, marks that turn the direction of what follows, and others that nobody sees. */
const UNSEEN = /[\p{Cc}\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]/gu;

function pictureOf(letter: string): string {
  if ("\t\r\n".includes(letter)) return letter;
  const code = letter.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `⟨${code.toString(16).toUpperCase()}⟩`;
}

/** `text` with a picture for every character that cannot be seen or would turn the text around it. Line ends stay. */
export const visible = (text: string): string => text.replace(UNSEEN, pictureOf);

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

/** At most `most` characters, with what line ends and tabs are drawn as; and the number of leading spaces. */
function drawn(text: string, most: number, end: string, tab: string): [string, number] {
  const all = visible(cut(text, most)).replace(/\r\n?|[\n\u2028\u2029]/g, end);
  const short = all.replaceAll("\t", tab);
  return [short, /^ */.exec(short)?.[0].length ?? 0];
}

/** A token on its own: `·ship`, `↵`; `dots`: one · for each leading space. */
export function chip(text: string, most = TOKEN) {
  const [short, spaces] = drawn(text, most, "↵", "⇥");
  return { dots: "·".repeat(spaces), rest: short.slice(spaces) };
}

export const chipText = (text: string, most = TOKEN): string => {
  const { dots, rest } = chip(text, most);
  return dots + rest;
};

/** A token within its text. `end`: what a line end is drawn as: a space, "↵", or that and a new line. */
export function draw(text: string, end: " " | "↵" | "↵\n") {
  const [short, all] = drawn(text, TOKEN, end, end === " " ? " " : "⇥");
  const spaces = all === short.length ? 0 : all; // a token of nothing else is its own body
  return { space: short.slice(0, spaces), body: short.slice(spaces) };
}

const SHOWN = 6;

export function HiddenNote({ text }: { text: string }) {
  const found = hiddenIn(text);
  if (found.length === 0) return null;
  const names = `${found.slice(0, SHOWN).join(" ")}${found.length > SHOWN ? " …" : ""}`;
  return <p class="xs t2 hidden-note">{`Not drawn in the box: ${names}`}</p>;
}

export function TokenChip({ text, most }: { text: string; most?: number | undefined }) {
  const { dots, rest } = chip(text, most);
  return (
    <span class="tk" title={rest.length > 12 ? chipText(text, 500) : undefined}>
      {dots && <span class="t3">{dots}</span>}
      {rest}
    </span>
  );
}

export const Chips = ({ of, most }: { of: readonly string[]; most?: number }) => (
  <span class="ul">
    {of.map((token, i) => (
      <TokenChip key={`${i} ${token}`} text={token} most={most} />
    ))}
  </span>
);

/** What stands for a label: the text, or the strongest tokens of a feature without one. */
export function LabelOrTokens({ label, tokens, none }: { label: string; tokens: readonly string[]; none: string }) {
  if (label) return <bdi>{label}</bdi>;
  if (tokens.length === 0) return <span class="t3">{none}</span>;
  return <Chips of={tokens.slice(0, 3)} most={24} />;
}
