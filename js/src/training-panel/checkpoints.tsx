/** The checkpoints of a run: go on from one, make an SAE of one, delete one. */
import { useState } from "preact/hooks";
import { onEsc } from "../lib/a11y";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Question, type QuestionProps } from "../lib/kit";
import type { Answer } from "../lib/rpc";
import { type Column, num, Table, unseen } from "../lib/table";
import type { Card, CheckpointAction, CheckpointRow, Started } from "../lib/wire";
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

const WORDS = { continue: "Load checkpoint", import: "Import", delete: "Delete checkpoint" };

export function Checkpoints({ store, card, rows, bestBy, onChange }: CheckpointsProps) {
  const [asking, setAsking] = useState<{ what: "Load" | "Delete"; id: string } | null>(null);
  const [busy, setBusy] = useState<CheckpointAction | null>(null);
  if (rows.length === 0) {
    return (
      <p class="sm t2">
        {statusOf(card) === "running"
          ? "No checkpoint yet. One is written at every tenth of the run, and when you save one."
          : "It has no checkpoint."}
      </p>
    );
  }
  const measures = measured(rows, bestBy);
  const asked = rows.find((row) => row.id === asking?.id);
  const close = () => setAsking(null);
  const act = async (row: CheckpointRow, action: CheckpointAction) => {
    setBusy(action);
    const of = { training_id: card.id, checkpoint_id: row.id };
    const answer = await store.command(card.id, WORDS[action], { kind: "checkpoint_action", action, ...of });
    setBusy(null);
    close();
    if (!answer) return;
    onChange();
    const made = answer.value;
    if (action === "continue") store.focusAnswer(answer as Answer<Started>);
    else if (action === "import" && "sae_id" in made)
      store.say(card.id, `${made.name} is in the library of SAEs.`, made.sae_id);
  };
  const link = (what: "Load" | "Delete", { id, label }: CheckpointRow) => {
    const open = asking?.what === what && asking.id === id;
    return (
      <Button
        text={what}
        kind="link"
        label={`${what} checkpoint ${label}`}
        expanded={open}
        onClick={() => setAsking(open ? null : { what, id })}
      />
    );
  };
  const question = (row: CheckpointRow): Omit<QuestionProps, "onKeep"> => {
    const title = `${asking?.what} checkpoint ${row.label}?`;
    const answer = (label: string, action: CheckpointAction, under: string, danger = false) => ({
      ...{ label: busy === action ? under : label, danger, disabled: busy !== null, run: () => void act(row, action) },
    });
    if (asking?.what === "Delete") {
      const after =
        rows.length === 1
          ? "It is the last one: the run could only start over. "
          : row.best
            ? "It is the best one; the next best takes its place. "
            : "";
      return {
        title,
        answers: [answer("Delete checkpoint", "delete", "Deleting…", true)],
        children: `Its ${f.bytes(row.size_bytes)} at step ${f.count(row.step)} go. ${after}This cannot be undone.`,
      };
    }
    const done = row.tokens >= card.tokens_total;
    const longer = {
      label: "Train longer",
      disabled: busy !== null,
      run: () => store.openFor(card.id, { kind: "longer" }),
    };
    const further = done ? longer : answer(`Continue from step ${f.count(row.step)}`, "continue", "Starting…");
    return {
      tone: "info",
      title,
      keep: "Cancel",
      answers: [further, answer("Make an SAE of it", "import", "Importing…")],
      children: done
        ? "It is the end of this run. Train longer goes on from it in a new run; this one stays as it is."
        : "A new run goes on from it; this one stays as it is.",
    };
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Esc closes the question first, then the details
    <div class="notes" onKeyDown={asking ? onEsc(close) : undefined}>
      <Table
        label="Checkpoints"
        box="xs-scroll tall"
        columns={[
          { head: "Checkpoint", class: "nw" },
          ...[num("Step"), num("Tokens"), ...measures, num("Size"), { head: "Saved", class: "num when" }],
          unseen("Actions", "num nw links"),
        ]}
        rows={rows.map((row) => ({
          key: row.id,
          cells: [
            ...[row.label, f.count(row.step), f.tokens(row.tokens), ...measures.map(({ of }) => of(row))],
            ...[f.bytes(row.size_bytes), f.clock(row.saved_at, Date.now(), true)],
            <>
              {link("Load", row)}
              {link("Delete", row)}
            </>,
          ],
        }))}
      />
      {asked && <Question key={`${asking?.what} ${asked.id}`} {...question(asked)} onKeep={close} />}
    </div>
  );
}

/** What was measured: on held-out text, which the best one is chosen by; of training batches where that is not all. */
function measured(rows: readonly CheckpointRow[], bestBy: string): (Column & { of: (row: CheckpointRow) => string })[] {
  const some = rows.some((row) => row.val_fvu !== null);
  const text = bestBy.startsWith("CE") ? f.ce : f.loss;
  const held = "Fraction of variance unexplained on held-out text, where it was measured at that step";
  const batches = "Fraction of variance unexplained of the newest training batches";
  return [
    {
      ...num(bestBy, "The best checkpoint is chosen by it"),
      of: (row: CheckpointRow) => text(row.best_by),
      shown: bestBy !== "",
    },
    { ...num("Held-out FVU", held), of: (row: CheckpointRow) => f.fvu(row.val_fvu), shown: some },
    {
      ...num(some ? "Batch FVU" : "FVU", batches),
      of: (row: CheckpointRow) => f.fvu(row.fvu),
      shown: rows.some((row) => row.val_fvu === null),
    },
  ].filter(({ shown }) => shown);
}
