// biome-ignore-all lint/a11y/useSemanticElements: rows of a list that is drawn in pieces lie where the pieces lie
// biome-ignore-all lint/a11y/useFocusableInteractive: one tab stop: the row, not its cells
// biome-ignore-all lint/a11y/useKeyWithClickEvents: the grid around it has the keys
// biome-ignore-all lint/a11y/useAriaPropsSupportedByRole: its role comes with the other attributes
// biome-ignore-all lint/a11y/noStaticElementInteractions: its role comes with the other attributes
/** One feature in the list. */
import { Icon } from "../lib/icons";
import { LabelOrTokens } from "../lib/token-chip";
import { line } from "../lib/tokens";
import type { FeatureRow } from "../lib/wire";
import type { Store } from "./store";
import { activation, densityBar, percent } from "./words";

interface RowProps {
  store: Store;
  at: number;
  top: number;
  /** null: on its way. */
  row: FeatureRow | null;
  selected: boolean;
  stop: boolean;
  largest: number;
  tokens: number;
  onOpen: () => void;
}

export function Row({ store, at, top, row, selected, stop, largest, tokens, onOpen }: RowProps) {
  const common = {
    class: "fr",
    role: "row" as const,
    "aria-rowindex": at + 1,
    "data-row": at,
    tabIndex: stop ? 0 : -1,
    style: { top: `${top}px` },
  };
  if (row === null) {
    return (
      <div {...common} aria-busy="true">
        <span class="t3" role="gridcell">
          …
        </span>
      </div>
    );
  }
  const starred = store.isStarred(row.index, row.starred);
  const dead = row.density === 0;
  const byScore = store.view.value.query.sort === "score";
  const label = line(row.label);
  return (
    <div {...common} aria-selected={selected} onClick={onOpen} onFocus={() => (store.list.cursor.value = at)}>
      <span class="n" role="gridcell">
        {row.index}
      </span>
      <span class={row.auto ? "lb el auto" : "lb el"} role="gridcell" title={label || undefined}>
        <LabelOrTokens label={label} tokens={row.top_tokens} none={dead ? "did not fire" : "no label"} />
      </span>
      <span class="stc" role="gridcell">
        <button
          type="button"
          class="star"
          tabIndex={-1}
          aria-label={`Star feature ${row.index}`}
          aria-pressed={starred}
          onClick={(event) => {
            event.stopPropagation();
            void store.star(row.index, !starred);
          }}
        >
          <Icon name={starred ? "starred" : "star"} />
        </button>
      </span>
      <span class="l2" role="gridcell">
        <span class="db" aria-hidden="true">
          <i style={{ width: `${densityBar(row.density, largest, tokens) * 100}%` }} />
        </span>
        <span class="num">{percent(row.density)}</span>
        <span class="num">
          {byScore && row.score !== null ? `score ${row.score.toFixed(2)}` : dead ? "" : `max ${activation(row.max)}`}
        </span>
      </span>
    </div>
  );
}
