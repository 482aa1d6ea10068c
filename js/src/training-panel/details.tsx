/** Details of a run, opened in its card: checkpoints, log, settings. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button, NoteBox, Tabs, tabId } from "../lib/controls";
import { CopyButton } from "../lib/copy-button";
import * as f from "../lib/format";
import type { Card, CheckpointRow, DetailsData } from "../lib/protocol";
import { asFailure, isAbort } from "../lib/rpc";
import { statusOf } from "./state";
import type { DetailsTab, Problem, Store } from "./store";

/** The details, asked again every two seconds while the run works and whenever its state changes. */
function useDetails(store: Store, card: Card): { data: DetailsData | null; problem: Problem | null } {
  const [data, setData] = useState<DetailsData | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const runs = statusOf(card) === "running";
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const ask = async () => {
      try {
        const answer = await store.rpc.send({ kind: "details", training_id: card.id }, { signal: stop.signal });
        setData(answer.value as DetailsData);
        setProblem(null);
      } catch (error) {
        if (isAbort(error)) return;
        setProblem(asFailure(error));
      }
      if (runs && !stop.signal.aborted) timer = setTimeout(ask, 2000);
    };
    void ask();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [store, card.id, card.status, card.checkpoint_count, card.last_checkpoint_step]);
  return { data, problem };
}

interface DetailsProps {
  store: Store;
  card: Card;
  tab: DetailsTab;
  onClose: () => void;
}

export function Details({ store, card, tab, onClose }: DetailsProps) {
  const panel = useUid("sw-details");
  const { data, problem } = useDetails(store, card);
  const saving = store.pending.value.get(card.id) === "checkpoint";
  const save = async () => {
    await store.act(card, "checkpoint");
  };
  return (
    <div class="details">
      <div class="tb dt">
        <Tabs
          label={`Details of ${card.name}`}
          panel={panel}
          selected={tab}
          tabs={[
            { id: "checkpoints", label: "Checkpoints", count: data?.checkpoints.length ?? card.checkpoint_count },
            { id: "log", label: "Log" },
            { id: "settings", label: "Settings", count: data?.settings.length },
          ]}
          onSelect={(id) => store.openFor(card.id, { kind: "details", tab: id as DetailsTab })}
        />
        <div class="sp" />
        {statusOf(card) === "running" && (
          <Button small class="save" disabled={saving} onClick={() => void save()}>
            {saving ? "Saving…" : "Save checkpoint now"}
          </Button>
        )}
        <Button small kind="quiet" icon="close" label="Close details" onClick={onClose} />
      </div>
      <div class="bd" role="tabpanel" id={panel} aria-labelledby={tabId(panel, tab)}>
        {problem && (
          <NoteBox tone="err" title={problem.what}>
            {problem.hint}
          </NoteBox>
        )}
        {!data && !problem && <p class="sm t2">Asking the kernel…</p>}
        {data && tab === "checkpoints" && <Checkpoints rows={data.checkpoints} />}
        {data && tab === "log" && <Log data={data} />}
        {data && tab === "settings" && <Settings data={data} />}
      </div>
    </div>
  );
}

function Checkpoints({ rows }: { rows: CheckpointRow[] }) {
  if (rows.length === 0) return <p class="sm t2">No checkpoint yet.</p>;
  return (
    <div class="xs-scroll tall">
      <table aria-label="Checkpoints">
        <thead>
          <tr>
            <th>Checkpoint</th>
            <th class="num">Step</th>
            <th class="num">Tokens</th>
            <th class="num">FVU</th>
            <th class="num">Size</th>
            <th class="num">Saved</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.id}>
              <td class="nw">{row.label}</td>
              <td class="num">{f.count(row.step)}</td>
              <td class="num">{f.tokens(row.tokens)}</td>
              <td class="num">{f.fvu(row.fvu)}</td>
              <td class="num">{f.bytes(row.size_bytes)}</td>
              <td class="num when">{f.clock(row.saved_at, Date.now(), true)}</td>
            </tr>
          ))}
        </tbody>
      </table>
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
        <h4>Log</h4>
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

function Settings({ data }: { data: DetailsData }) {
  return (
    <div class="xs-scroll tall">
      <table aria-label="Settings" class="settings">
        <tbody>
          {data.settings.map((setting) => (
            <tr key={setting.name}>
              <th scope="row">{setting.name}</th>
              <td>
                <code>{setting.value}</code>
              </td>
            </tr>
          ))}
          {data.folder && (
            <tr>
              <th scope="row">folder</th>
              <td>
                <code>{data.folder}</code>
              </td>
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}
