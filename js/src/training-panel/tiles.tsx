/** The five numbers of a run, in columns that line up from card to card. */
import * as f from "../lib/format";
import type { Card } from "../lib/protocol";

export function Tiles({ card }: { card: Card }) {
  const { tiles } = card;
  const window = f.count(card.dead_window_tokens);
  const early = tiles.dead === null && card.tokens_done < card.dead_window_tokens;
  const rows: [label: string, value: string, title?: string, missing?: string][] = [
    ["Loss", f.loss(tiles.loss)],
    ["L0", f.l0(tiles.l0), "mean active latents per token"],
    ["FVU", f.fvu(tiles.fvu), "fraction of variance unexplained"],
    ["CE rec.", f.ce(tiles.ce_loss_score), "share of the cross-entropy recovered (zero ablation)"],
    [
      "Dead",
      f.share(tiles.dead),
      `latents that did not fire in the last ${window} tokens`,
      early ? `not known before ${window} tokens` : undefined,
    ],
  ];
  return (
    <dl class="tiles">
      {rows.map(([label, value, title, missing]) => (
        <div
          class="tile"
          key={label}
          title={[value === f.DASH ? missing : value, title].filter(Boolean).join(": ") || undefined}
        >
          <dt>{label}</dt>
          <dd class={value === f.DASH ? "na" : undefined}>
            {value}
            {missing && <span class="vh">{` ${missing}`}</span>}
          </dd>
        </div>
      ))}
    </dl>
  );
}
