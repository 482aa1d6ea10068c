/** One template of the list. */

import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Icon } from "../lib/icons";
import { Named, Question } from "../lib/kit";
import { Rename } from "../lib/rename";
import type { TemplateRow } from "../lib/wire";

interface ItemProps {
  row: TemplateRow;
  asking: "rename" | "delete" | null;
  onAsk: (what: "rename" | "delete" | null) => void;
  onUse: () => void;
  /** Comes to `false` where the name cannot be given. */
  onRename: (name: string) => Promise<boolean>;
  onFavorite: () => void;
  onExport: () => void;
  onDelete: () => void;
}

export function TemplateItem(props: ItemProps) {
  const { row, asking, onAsk } = props;
  return (
    <li class="card" aria-label={row.name}>
      <div class="c1">
        <button
          type="button"
          class="b q s ic"
          aria-label={`Favourite ${row.name}`}
          title={row.favorite ? "No favourite any more" : "List it first"}
          aria-pressed={row.favorite}
          onClick={props.onFavorite}
        >
          <Icon name={row.favorite ? "starred" : "star"} />
        </button>
      </div>
      <div class="c2 col">
        <div class="row">
          {asking === "rename" ? (
            <Rename name={row.name} onSave={props.onRename} onDone={() => onAsk(null)} />
          ) : (
            <Named name={row.name} />
          )}
        </div>
        {row.description && <p class="sm t2">{row.description}</p>}
        <div class="meta">
          {[
            row.model,
            <code key="hook">{row.hook_name}</code>,
            row.architecture,
            row.d_sae && `d_sae ${f.count(row.d_sae)}`,
            row.corpus,
          ]
            .filter(Boolean)
            .map((part, i) => (
              <span key={i}>{part}</span>
            ))}
        </div>
      </div>
      <div class="c3 col">
        <div class="acts">
          <Button small onClick={props.onUse}>
            Use
          </Button>
          <Button small kind="quiet" expanded={asking === "rename"} onClick={() => onAsk("rename")}>
            Rename
          </Button>
          <Button small kind="quiet" onClick={props.onExport}>
            Export
          </Button>
          <Button
            small
            kind="quiet"
            expanded={asking === "delete"}
            onClick={() => onAsk(asking === "delete" ? null : "delete")}
          >
            Delete
          </Button>
        </div>
      </div>
      {asking === "delete" && (
        <div class="full">
          <DeleteTemplate row={row} onDelete={props.onDelete} onKeep={() => onAsk(null)} />
        </div>
      )}
    </li>
  );
}

function DeleteTemplate({ row, onDelete, onKeep }: { row: TemplateRow; onDelete: () => void; onKeep: () => void }) {
  const answers = [{ label: "Delete template", run: onDelete, danger: true }];
  return (
    <Question title={`Delete ${row.name}?`} answers={answers} onKeep={onKeep}>
      Trainings that were started from it stay. This cannot be undone.
    </Question>
  );
}
