/** Header, toolbar and list; or the form in their place above the list. */
import { isTyping, useUid } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { Empty } from "./empty";
import { Form } from "./form";
import { Keys } from "./keys";
import { List } from "./list";
import { BusyNote, ProblemNote } from "./notes";
import { deviceWords } from "./state";
import type { Store } from "./store";
import { Toolbar } from "./toolbar";

export function Panel({ store }: { store: Store }) {
  const panel = useUid("sw-list");
  const { cards } = store.state.value;
  const form = store.form.value;
  const empty = cards.length === 0;
  return (
    <>
      {form && <Form key={form.from?.id ?? ""} store={store} request={form} />}
      {!form && <Header store={store} />}
      <PanelNotes store={store} />
      {store.keysShown.value && (
        <Keys
          onClose={() => {
            store.keysShown.value = false;
          }}
        />
      )}
      {empty && !form && <Empty store={store} />}
      {!empty && (
        <>
          <Toolbar store={store} panel={panel} />
          <List store={store} panel={panel} />
        </>
      )}
    </>
  );
}

function Header({ store }: { store: Store }) {
  const { workspace, devices, cards } = store.state.value;
  const words = [workspace, deviceWords(devices)].filter(Boolean).join(" · ");
  return (
    <div class="hd">
      <h2>Training</h2>
      <span class="sm t2 sub">{words}</span>
      <div class="sp" />
      {cards.length > 0 && (
        <Button
          kind="primary"
          icon="plus"
          onClick={() => {
            store.form.value = {};
          }}
        >
          New training
        </Button>
      )}
    </div>
  );
}

function PanelNotes({ store }: { store: Store }) {
  const { notice, updated_at } = store.state.value;
  const charts = store.problems.value.has("charts");
  const any = notice || !store.answered.value || store.late.value.has("panel") || store.problems.value.has("panel");
  if (!any && !charts) return null;
  return (
    <div class="panel-note notes">
      {!store.answered.value && (
        <NoteBox title="Not connected.">
          {`No answer from a kernel yet: it is busy, or it has ended. This is the last known state${
            updated_at > 0 ? `, of ${f.clock(updated_at)}` : ""
          }. Run the cell again for a live panel.`}
        </NoteBox>
      )}
      {notice && (
        <NoteBox tone={notice.kind === "error" ? "err" : "warn"} title={notice.what}>
          {notice.hint}
        </NoteBox>
      )}
      <BusyNote store={store} id="panel" />
      <ProblemNote store={store} id="panel" />
      <ProblemNote store={store} id="charts" />
    </div>
  );
}

/** Keys of the whole panel; true when one was used. Single letters only while nothing is typed. */
export function panelKey(store: Store, root: HTMLElement, event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.key === "Escape") return closeInnermost(store, root);
  if (isTyping(event.target)) return false;
  switch (event.key) {
    case "/":
      root.querySelector<HTMLElement>("input[type=search]")?.focus();
      return true;
    case "?":
      store.keysShown.value = !store.keysShown.value;
      return true;
    case "n":
    case "N":
      if (store.form.value === null) store.form.value = {};
      return true;
    default:
      return false;
  }
}

/** Closes the innermost thing that is open; with nothing open, leaves the panel. */
function closeInnermost(store: Store, root: HTMLElement): boolean {
  if (store.keysShown.value) store.keysShown.value = false;
  else if (store.form.value) store.form.value = null;
  else if (store.open.value.size) store.open.value = new Map();
  else if (root.contains(document.activeElement)) (document.activeElement as HTMLElement).blur();
  else return false;
  return true;
}
