/** The five numbers of a run, in columns that line up from card to card. */
import * as f from "../lib/format";
import type { Card } from "../lib/protocol";

export function Tiles({ card }: { card: Card }) {
  const { tiles } = card;
  const dead = `latents that did not fire in the last ${f.count(card.dead_window_tokens)} tokens`;
  const rows: [string, string, string | undefined][] = [
    ["Loss", f.loss(tiles.loss), undefined],
    ["L0", f.l0(tiles.l0), "mean active latents per token"],
    ["FVU", f.fvu(tiles.fvu), "fraction of variance unexplained"],
    ["CE rec.", f.ce(tiles.ce_loss_score), "share of the cross-entropy recovered (zero ablation)"],
    ["Dead", f.share(tiles.dead), dead],
  ];
  return (
    <dl class="tiles">
      {rows.map(([label, value, title]) => (
        <div class="tile" key={label} title={value === f.DASH ? title : [value, title].filter(Boolean).join(": ")}>
          <dt>{label}</dt>
          <dd class={value === f.DASH ? "na" : undefined}>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
