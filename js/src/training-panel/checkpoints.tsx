/** The checkpoints of a run: go on from one, make an SAE of one, delete one. */

import { useState } from "preact/hooks";
import { onEsc } from "../lib/a11y";
import * as f from "../lib/format";
import { Question } from "../lib/kit";
import type { Answer } from "../lib/rpc";
import type { Card, CheckpointRow, Started } from "../lib/wire";
import { statusOf } from "./state";
import type { Store } from "./store";

interface CheckpointsProps {
  store: Store;
  card: Card;
  rows: CheckpointRow[];
  /** What the best one is chosen by, where that is not FVU. */
  bestBy: string;
  /** Asks for the details again. */
  onChange: () => void;
}

type Asking = { what: "load" | "delete"; id: string } | null;

export function Checkpoints({ store, card, rows, bestBy, onChange }: CheckpointsProps) {
  const [asking, setAsking] = useState<Asking>(null);
  const [busy, setBusy] = useState<string | null>(null);
  if (rows.length === 0) {
    return (
      <p class="sm t2">
        {statusOf(card) === "running"
          ? "No checkpoint yet. One is written at every tenth of the run, and when you save one."
          : "It has no checkpoint."}
      </p>
    );
  }
  const columns = measured(rows, bestBy);
  const asked = rows.find((row) => row.id === asking?.id);
  const act = async (row: CheckpointRow, action: "continue" | "import" | "delete") => {
    setBusy(action);
    const words = { continue: "Load checkpoint", import: "Import", delete: "Delete checkpoint" };
    const answer = await store.command(card.id, words[action], {
      kind: "checkpoint_action",
      action,
      training_id: card.id,
      checkpoint_id: row.id,
    });
    setBusy(null);
    setAsking(null);
    if (!answer) return;
    onChange();
    const made = answer.value;
    if (action === "continue") store.focusAnswer(answer as Answer<Started>);
    else if (action === "import" && "sae_id" in made)
      store.say(card.id, `${made.name} is in the library of SAEs.`, made.sae_id);
  };
  const toggle = (what: "load" | "delete", id: string) =>
    setAsking(asking?.what === what && asking.id === id ? null : { what, id });
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Esc closes the question first, then the details
    <div class="notes" onKeyDown={asking ? onEsc(() => setAsking(null)) : undefined}>
      <div class="xs-scroll tall">
        <table aria-label="Checkpoints">
          <thead>
            <tr>
              <th>Checkpoint</th>
              <th class="num">Step</th>
              <th class="num">Tokens</th>
              {columns.map(({ head, title }) => (
                <th key={head} class="num" title={title}>
                  {head}
                </th>
              ))}
              <th class="num">Size</th>
              <th class="num">Saved</th>
              <th>
                <span class="vh">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.id}>
                <td class="nw">{row.label}</td>
                <td class="num">{f.count(row.step)}</td>
                <td class="num">{f.tokens(row.tokens)}</td>
                {columns.map(({ head, of }) => (
                  <td key={head} class="num">
                    {of(row)}
                  </td>
                ))}
                <td class="num">{f.bytes(row.size_bytes)}</td>
                <td class="num when">{f.clock(row.saved_at, Date.now(), true)}</td>
                <td class="num nw links">
                  <button
                    type="button"
                    class="lk"
                    aria-label={`Load checkpoint ${row.label}`}
                    aria-expanded={asking?.what === "load" && asking.id === row.id}
                    onClick={() => toggle("load", row.id)}
                  >
                    Load
                  </button>
                  <button
                    type="button"
                    class="lk"
                    aria-label={`Delete checkpoint ${row.label}`}
                    aria-expanded={asking?.what === "delete" && asking.id === row.id}
                    onClick={() => toggle("delete", row.id)}
                  >
                    Delete
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {asked && asking?.what === "load" && (
        <Load
          row={asked}
          done={asked.tokens >= card.tokens_total}
          busy={busy}
          onContinue={() => void act(asked, "continue")}
          onImport={() => void act(asked, "import")}
          onLonger={() => store.openFor(card.id, { kind: "longer" })}
          onClose={() => setAsking(null)}
        />
      )}
      {asked && asking?.what === "delete" && (
        <Remove
          row={asked}
          last={rows.length === 1}
          busy={busy !== null}
          onDelete={() => void act(asked, "delete")}
          onKeep={() => setAsking(null)}
        />
      )}
    </div>
  );
}

interface Column {
  head: string;
  title: string;
  of: (row: CheckpointRow) => string;
}

/** What was measured: on held-out text, which the best one is chosen by; of training batches where that is not all. */
function measured(rows: readonly CheckpointRow[], bestBy: string): Column[] {
  const some = rows.some((row) => row.val_fvu !== null);
  const columns: Column[] = [];
  const text = bestBy.startsWith("CE") ? f.ce : f.loss;
  if (bestBy)
    columns.push({ head: bestBy, title: "The best checkpoint is chosen by it", of: (row) => text(row.best_by) });
  if (some)
    columns.push({
      head: "Held-out FVU",
      title: "Fraction of variance unexplained on held-out text, where it was measured at that step",
      of: (row) => f.fvu(row.val_fvu),
    });
  if (rows.some((row) => row.val_fvu === null))
    columns.push({
      head: some ? "Batch FVU" : "FVU",
      title: "Fraction of variance unexplained of the newest training batches",
      of: (row) => f.fvu(row.fvu),
    });
  return columns;
}

interface LoadProps {
  row: CheckpointRow;
  /** It is at the end of the run. */
  done: boolean;
  busy: string | null;
  onContinue: () => void;
  onImport: () => void;
  onLonger: () => void;
  onClose: () => void;
}

function Load({ row, done, busy, onContinue, onImport, onLonger, onClose }: LoadProps) {
  const off = busy !== null;
  const further = done
    ? { label: "Train longer", run: onLonger, disabled: off }
    : {
        label: busy === "continue" ? "Starting…" : `Continue from step ${f.count(row.step)}`,
        run: onContinue,
        disabled: off,
      };
  const whole = { label: busy === "import" ? "Importing…" : "Make an SAE of it", run: onImport, disabled: off };
  return (
    <Question
      tone="info"
      title={`Load checkpoint ${row.label}?`}
      answers={[further, whole]}
      keep="Cancel"
      onKeep={onClose}
    >
      {done
        ? "It is the end of this run. Train longer goes on from it in a new run; this one stays as it is."
        : "A new run goes on from it; this one stays as it is."}
    </Question>
  );
}

interface RemoveProps {
  row: CheckpointRow;
  last: boolean;
  busy: boolean;
  onDelete: () => void;
  onKeep: () => void;
}

function Remove({ row, last, busy, onDelete, onKeep }: RemoveProps) {
  const remove = { label: busy ? "Deleting…" : "Delete checkpoint", run: onDelete, danger: true, disabled: busy };
  const after = last
    ? "It is the last one: the run could only start over. "
    : row.best
      ? "It is the best one; the next best takes its place. "
      : "";
  return (
    <Question title={`Delete checkpoint ${row.label}?`} answers={[remove]} onKeep={onKeep}>
      {`Its ${f.bytes(row.size_bytes)} at step ${f.count(row.step)} go. ${after}This cannot be undone.`}
    </Question>
  );
}
