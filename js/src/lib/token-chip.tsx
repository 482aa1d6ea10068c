/** A token on its own, in a small box: `·ship`. */
import { chip, chipText } from "./tokens";

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
