/** Header, toolbar and list; or the form in their place above the list. */
import { isTyping, useUid } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { Empty } from "./empty";
import { Form } from "./form";
import { Keys } from "./keys";
import { List } from "./list";
import { BusyNote, ProblemNote } from "./notes";
import { anythingRuns, deviceWords } from "./state";
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
  const { notice } = store.state.value;
  const link = linkWords(store);
  const some = (id: string) => store.late.value.has(id) || store.problems.value.has(id);
  if (!notice && !link && !some("panel") && !some("charts")) return null;
  return (
    <div class="panel-note notes">
      {link && <NoteBox title={link[0]}>{link[1]}</NoteBox>}
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

/** What to know while nothing is heard from the kernel: title and sentences. */
function linkWords(store: Store): [string, string] | null {
  const { updated_at } = store.state.value;
  const last = `This is the last known state${updated_at > 0 ? `, of ${f.clock(updated_at)}` : ""}`;
  const gone = "Run the cell again for a live panel.";
  switch (store.link.value) {
    case "gone":
      return ["Not connected.", `The kernel behind this panel was restarted or has ended. ${last}. ${gone}`];
    case "silent":
      if (store.heardAt.value === null) {
        return ["No answer from the kernel yet.", `It is busy with a cell, or it has ended. ${last}.`];
      }
      // Where nothing runs, nothing shown here can be wrong: the footer says how old it is.
      if (!anythingRuns(store.state.value)) return null;
      return [
        "No answer from the kernel.",
        `It is busy with a cell, or it has ended. ${last}. It goes on by itself when the cell ends; otherwise, run the cell again.`,
      ];
    default:
      return null;
  }
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
