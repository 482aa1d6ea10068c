/** Details of a run, opened in its card: checkpoints, log, settings, advice. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Answered, useAnswer } from "../lib/ask";
import { Button, NoteBox, Tabs, tabId } from "../lib/controls";
import { CopyButton } from "../lib/copy-button";
import { put } from "../lib/kit";
import { isActive } from "../lib/statuses";
import { Settings } from "../lib/table";
import type { Advice as AdviceRow, Card, DetailsData } from "../lib/wire";
import { Checkpoints } from "./checkpoints";
import { canDelete, statusOf } from "./state";
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
          onSelect={(id) => onTab(id as DetailsTab)}
        />
        <div class="sp" />
        {runs && (
          <Button
            text={saving ? "Saving…" : "Save checkpoint now"}
            small
            class="save"
            disabled={saving}
            onClick={() => void store.act(card, "checkpoint")}
          />
        )}
        {tab === "settings" && canDelete(card) && (
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

/** What to change in a run. */
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
    <NoteBox tone={row.severity === "warning" ? "warn" : "info"} title={row.title} actions={action}>
      {row.text} <Button text="Why this helps" kind="link" expanded={open} onClick={() => setOpen(!open)} />
      {open && <p class="why">{row.why}</p>}
    </NoteBox>
  );
}
