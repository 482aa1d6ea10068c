/** The five numbers of a run, in columns that line up from card to card; of a group the lowest and the highest. */
import * as f from "../lib/format";
import type { Tile, Value } from "../lib/wire";
import { tiledBy } from "./groups";
import type { ListCard } from "./state";

export function Tiles({ card }: { card: ListCard }) {
  const { tiles } = card;
  const window = f.count(card.dead_window_tokens);
  const range = (name: keyof Tile, text: (value: Value) => string): string => {
    const values = tiledBy(card.members ?? [card]).map((one) => one.tiles[name]);
    if (values.some((value) => value == null)) return f.DASH;
    const [low, high] = [Math.min, Math.max].map((of) => text(of(...values.map(Number))));
    return low === high ? `${low}` : `${low}–${high}`.replace(/ /g, "\u00a0"); // it breaks behind the dash
  };
  const unfired = range("val_dead", f.share); // of runs that ended before their window
  const known = unfired !== f.DASH || tiles.dead !== null || card.tokens_done >= card.dead_window_tokens;
  const rows: [label: string, value: string, title?: string, missing?: string][] = [
    ["Loss", range("loss", f.loss)],
    ["L0", range("l0", f.l0), "mean active latents per token"],
    ["FVU", range("fvu", f.fvu), "fraction of variance unexplained"],
    ["CE rec.", range("ce_loss_score", f.ce), "share of the cross-entropy recovered (zero ablation)"],
    [
      unfired === f.DASH ? "Dead" : "Never fired",
      unfired === f.DASH ? range("dead", f.share) : unfired,
      unfired === f.DASH ? `latents that did not fire in the last ${window} tokens` : "on held-out text",
      !known ? `not known before ${window} tokens` : undefined,
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
