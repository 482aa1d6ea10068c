/** Details of a run, opened in its card: checkpoints, log, settings, advice. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { onEsc, useUid } from "../lib/a11y";
import { Answered, useAnswer } from "../lib/ask";
import { Button, NoteBox, Tabs, tabId } from "../lib/controls";
import { CopyButton } from "../lib/copy";
import * as f from "../lib/format";
import { put, Question, type QuestionProps } from "../lib/kit";
import type { Answer } from "../lib/rpc";
import { isActive } from "../lib/statuses";
import { type Column, num, Settings, Table, unseen } from "../lib/table";
import type { Advice as AdviceRow, Card, CheckpointAction, CheckpointData, DetailsData, StartedRun } from "../lib/wire";
import { statusOf } from "./state";
import type { DetailsTab, Store } from "./store";

interface DetailsProps {
  store: Store;
  card: Card;
  tab: DetailsTab;
  onTab: (tab: DetailsTab) => void;
  onClose: () => void;
}

export function Details({ store, card, tab, onTab, onClose }: DetailsProps) {
  const panel = useUid("sw-details");
  const runs = statusOf(card) === "running";
  const key = [card.id, card.status, card.checkpoint_count, card.last_checkpoint_step].join(" ");
  const command = { kind: "details", training_id: card.id } as const;
  const asked = useAnswer(store.rpc, command, key, runs ? 2000 : undefined);
  const { data } = asked;
  const root = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => root.current?.scrollIntoView?.({ block: "nearest" }), [tab, data === null]);
  const saving = store.pending.value.get(card.id) === "checkpoint";
  const tabs = {
    checkpoints: (of: DetailsData) => (
      <Checkpoints store={store} card={card} rows={of.checkpoints} bestBy={of.best_by} onChange={asked.again} />
    ),
    log: (of: DetailsData) => <Log data={of} />,
    settings: (of: DetailsData) => (
      <Settings label="Settings" of={[...of.settings, { name: "folder", label: "Folder", value: of.folder }]} />
    ),
    advice: (of: DetailsData) => <AdviceList store={store} card={card} rows={of.advice} />,
  };
  return (
    <div class="details" ref={root}>
      <div class="tb dt">
        <Tabs
          label={`Details of ${card.name}`}
          panel={panel}
          selected={tab}
          tabs={[
            { id: "checkpoints", label: "Checkpoints", count: data?.checkpoints.length ?? card.checkpoint_count },
            { id: "log", label: "Log" },
            { id: "settings", label: "Settings", count: data?.settings.length },
            { id: "advice", label: "Advice", count: data?.advice.length },
          ]}
          onSelect={onTab}
        />
        <div class="sp" />
        {runs && (
          <Button
            text={saving ? "Saving…" : "Save checkpoint now"}
            small
            class="save"
            disabled={saving}
            onClick={() => store.act(card, "checkpoint")}
          />
        )}
        {tab === "settings" && !runs && (
          <Button text="Edit and retry" small class="save" onClick={put(store.form, { from: card })} />
        )}
        <Button small kind="quiet" icon="close" label="Close details" onClick={onClose} />
      </div>
      <div class="bd" role="tabpanel" id={panel} aria-labelledby={tabId(panel, tab)}>
        <Answered of={asked}>{tabs[tab]}</Answered>
      </div>
    </div>
  );
}

function Log({ data }: { data: DetailsData }) {
  const text = [...data.log, ...(data.traceback ? ["", data.traceback] : [])].join("\n");
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (box.current && atEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);
  return (
    <div class="notes">
      <div class="row">
        <h3>Log</h3>
        <div class="sp" />
        <CopyButton text={text} word="Copy log" />
      </div>
      <pre
        ref={box}
        class="log"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard
        tabIndex={0}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          atEnd.current = scrollHeight - scrollTop - clientHeight < 16;
        }}
      >
        {text || "Nothing was logged yet."}
      </pre>
    </div>
  );
}

export function AdviceList({ store, card, rows }: { store: Store; card: Card; rows: readonly AdviceRow[] }) {
  if (rows.length === 0) {
    const dead = card.tiles.dead === null ? "" : "dead latents, ";
    return (
      <p class="sm t2">
        {isActive(card)
          ? "Nothing stands out so far. Dead latents, L0 and the loss are looked at as the run goes on."
          : `Nothing stands out: ${dead}L0 and the loss are as they should be.`}
      </p>
    );
  }
  return (
    <div class="notes">
      {rows.map((row) => (
        <Advice key={row.kind} store={store} card={card} row={row} />
      ))}
    </div>
  );
}

function Advice({ store, card, row }: { store: Store; card: Card; row: AdviceRow }) {
  const [open, setOpen] = useState(false);
  const longer = row.kind === "longer";
  const edit = () => {
    if (longer) store.openFor(card.id, { kind: "longer" });
    else store.form.value = { from: card, changes: row.changes };
  };
  const action = <Button text={longer ? "Train longer" : "Edit and retry"} small onClick={edit} />;
  return (
    <NoteBox
      tone={row.severity === "warning" ? "warn" : "info"}
      title={row.title}
      actions={(card.has_files || !longer) && action}
    >
      {row.text} <Button text="Why this helps" kind="link" expanded={open} onClick={() => setOpen(!open)} />
      {open && <p class="why">{row.why}</p>}
    </NoteBox>
  );
}

interface CheckpointsProps {
  store: Store;
  card: Card;
  rows: CheckpointData[];
  /** What the best one is chosen by, where that is not FVU. */
  bestBy: string;
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
  const act = async (row: CheckpointData, action: CheckpointAction) => {
    setBusy(action);
    const of = { training_id: card.id, checkpoint_id: row.id };
    const answer = await store.command(card.id, WORDS[action], { kind: "checkpoint_action", action, ...of });
    setBusy(null);
    close();
    if (!answer) return;
    onChange();
    const made = answer.value;
    if (action === "continue") store.focusAnswer(answer as Answer<StartedRun>);
    else if (action === "import" && "sae_id" in made)
      store.say(card.id, `${made.name} is in the library of SAEs.`, made.sae_id);
  };
  const link = (what: "Load" | "Delete", { id, label }: CheckpointData) => {
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
  const question = (row: CheckpointData): Omit<QuestionProps, "onKeep"> => {
    const title = `${asking?.what} checkpoint ${row.label}?`;
    const answer = (label: string, action: CheckpointAction, under: string, danger = false) => ({
      ...{ label: busy === action ? under : label, danger, disabled: busy !== null, run: () => act(row, action) },
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
            card.has_files && (
              <>
                {link("Load", row)}
                {link("Delete", row)}
              </>
            ),
          ],
        }))}
      />
      {asked && <Question key={`${asking?.what} ${asked.id}`} {...question(asked)} onKeep={close} />}
    </div>
  );
}

/** What was measured: on held-out text, which the best one is chosen by; of training batches where that is not all. */
function measured(
  rows: readonly CheckpointData[],
  bestBy: string,
): (Column & { of: (row: CheckpointData) => string })[] {
  const some = rows.some((row) => row.val_fvu !== null);
  const text = bestBy.startsWith("CE") ? f.ce : f.loss;
  const tokens = rows.find((row) => row.val_tokens !== null)?.val_tokens;
  const sample = tokens == null ? "" : `${f.count(tokens)} tokens of `;
  const held = `Fraction of variance unexplained on ${sample}held-out text, where it was measured at that step`;
  const batches = "Fraction of variance unexplained of the newest training batches";
  return [
    {
      ...num(bestBy, "The best checkpoint is chosen by it"),
      of: (row: CheckpointData) => text(row.best_by),
      shown: bestBy !== "",
    },
    { ...num("Held-out FVU", held), of: (row: CheckpointData) => f.fvu(row.val_fvu), shown: some },
    {
      ...num(some ? "Batch FVU" : "FVU", batches),
      of: (row: CheckpointData) => f.fvu(row.fvu),
      shown: rows.some((row) => row.val_fvu === null),
    },
  ].filter(({ shown }) => shown);
}
