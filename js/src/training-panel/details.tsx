/** Details of a run, opened in its card: checkpoints, log, settings, advice. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button, NoteBox, Tabs, tabId } from "../lib/controls";
import { CopyButton } from "../lib/copy-button";
import { put } from "../lib/kit";
import { asFailure, isAbort } from "../lib/rpc";
import type { Card, DetailsData } from "../lib/wire";
import { AdviceList } from "./advice";
import { Checkpoints } from "./checkpoints";
import { canDelete, statusOf } from "./state";
import type { DetailsTab, Problem, Store } from "./store";

/** The details, asked again every two seconds while the run works and whenever its state changes. */
function useDetails(
  store: Store,
  card: Card,
): { data: DetailsData | null; problem: Problem | null; again: () => void } {
  const [data, setData] = useState<DetailsData | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [round, setRound] = useState(0);
  const runs = statusOf(card) === "running";
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const ask = async () => {
      try {
        const answer = await store.rpc.send({ kind: "details", training_id: card.id }, { signal: stop.signal });
        setData(answer.value);
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
  }, [store, card.id, card.status, card.checkpoint_count, card.last_checkpoint_step, round]);
  return { data, problem, again: () => setRound((old) => old + 1) };
}

interface DetailsProps {
  store: Store;
  card: Card;
  tab: DetailsTab;
  onTab: (tab: DetailsTab) => void;
  onClose: () => void;
}

export function Details({ store, card, tab, onTab, onClose }: DetailsProps) {
  const panel = useUid("sw-details");
  const { data, problem, again } = useDetails(store, card);
  const root = useRef<HTMLDivElement>(null);
  const asking = data === null;
  useLayoutEffect(() => root.current?.scrollIntoView?.({ block: "nearest" }), [tab, asking]);
  const saving = store.pending.value.get(card.id) === "checkpoint";
  const save = async () => {
    await store.act(card, "checkpoint");
  };
  const edit = put(store.form, { from: card });
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
        {statusOf(card) === "running" && (
          <Button small class="save" disabled={saving} onClick={() => void save()}>
            {saving ? "Saving…" : "Save checkpoint now"}
          </Button>
        )}
        {tab === "settings" && canDelete(card) && (
          <Button small class="save" onClick={edit}>
            Edit and retry
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
        {data && tab === "checkpoints" && (
          <Checkpoints store={store} card={card} rows={data.checkpoints} bestBy={data.best_by} onChange={again} />
        )}
        {data && tab === "log" && <Log data={data} />}
        {data && tab === "settings" && <Settings data={data} />}
        {data && tab === "advice" && <AdviceList store={store} card={card} rows={data.advice} />}
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

function Settings({ data }: { data: DetailsData }) {
  return (
    <div class="xs-scroll tall">
      <table aria-label="Settings" class="settings">
        <tbody>
          {data.settings.map((setting) => (
            <tr key={setting.name}>
              <th scope="row" title={setting.name}>
                {setting.label}
              </th>
              <td>
                <code>{setting.value}</code>
              </td>
            </tr>
          ))}
          {data.folder && (
            <tr>
              <th scope="row">Folder</th>
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
