/** Tokens side by side, shaded by their activation. */
import type { ComponentChildren } from "preact";
import { draw, shadeClass } from "../lib/tokens";
import { type Passage, textAt } from "./examples";

interface TokensProps {
  passage: Passage;
  from: number;
  to: number;
  /** The largest activation of the whole list. */
  max: number;
  /** Line ends are drawn as ↵. */
  breaks: boolean;
  /** The text wraps, and goes on in a new line after a line end. */
  wraps?: boolean;
  /** The strongest token is bold. */
  bold?: boolean;
}

export function Tokens(props: TokensProps) {
  const spans: ComponentChildren[] = [];
  for (let i = props.from; i < props.to; i += 1) spans.push(<Token key={i} {...props} i={i} />);
  return <>{spans}</>;
}

function Token({ passage, max, breaks, wraps, bold, i }: TokensProps & { i: number }) {
  const text = textAt(passage, i);
  const { space, body } = draw(text, breaks ? (wraps ? "↵\n" : "↵") : " ");
  const shade = shadeClass(passage.values[i] ?? 0, max);
  const peak = bold && i === passage.peak;
  return (
    <span class="tok" data-t={i}>
      {space}
      {shade || peak ? <span class={`${shade}${peak ? " pk" : ""}`}>{body}</span> : body}
    </span>
  );
}

/** A row in which the strongest token starts at the same place as in all other rows. */
export function Concordance({ passage, from, to, max, breaks, before, after }: TokensProps & Ends) {
  const { peak } = passage;
  const { space, body } = draw(textAt(passage, peak), breaks ? "↵" : " ");
  return (
    <span class="x k">
      <span class="kl">
        <span class="tok">{before ? "… " : ""}</span>
        <Tokens passage={passage} from={from} to={peak} max={max} breaks={breaks} />
        {space && <span class="tok">{space}</span>}
      </span>
      <span class="kr">
        <span class="tok" data-t={peak}>
          <span class={`${shadeClass(passage.values[peak] ?? 0, max)} pk`}>{body}</span>
        </span>
        <Tokens passage={passage} from={peak + 1} to={to} max={max} breaks={breaks} />
        <span class="tok">{after ? " …" : ""}</span>
      </span>
    </span>
  );
}

interface Ends {
  before: boolean;
  after: boolean;
}

/** Moves the focus among the tokens inside `row`; from the row itself it goes to the strongest one. */
export function roveTokens(row: HTMLElement, key: string, peak: number): boolean {
  if (key !== "ArrowLeft" && key !== "ArrowRight") return false;
  const tokens = [...row.querySelectorAll<HTMLElement>("[data-t]")].filter(isInSight);
  const at = tokens.indexOf(document.activeElement as HTMLElement);
  const step = key === "ArrowRight" ? 1 : -1;
  const next = at < 0 ? tokens.find((one) => Number(one.dataset.t) === peak) : tokens[at + step];
  if (next === undefined && at < 0) return false;
  focusToken(next);
  return true;
}

/** Is it not cut off at an end of its row? */
function isInSight(token: HTMLElement): boolean {
  const half = token.closest(".kl, .kr");
  if (half === null) return true;
  const [own, around] = [token.getBoundingClientRect(), half.getBoundingClientRect()];
  return around.width === 0 || (own.right > around.left && own.left < around.right);
}

/** Tokens are no controls; the one with the focus takes it for as long as it has it. */
function focusToken(token: HTMLElement | undefined): void {
  if (!token) return;
  token.tabIndex = -1;
  token.focus();
  token.scrollIntoView?.({ block: "nearest", inline: "nearest" });
}
