/** Header, toolbar and list; or the form in their place above the list. */
import { useUid } from "../lib/a11y";
import { Button, NoteBox } from "../lib/controls";
import { type KeyRow, Keys, widgetKey } from "../lib/keys";
import { BusyNote, linkWords, ProblemNote } from "../lib/notes";
import { Empty } from "./empty";
import { Form } from "./form";
import { List } from "./list";
import { anythingRuns, deviceWords } from "./state";
import type { Store } from "./store";
import { Toolbar } from "./toolbar";

const KEYS: readonly KeyRow[] = [
  [["/"], "search"],
  [["N"], "new training"],
  [["?"], "show or hide the keys"],
  [["Esc"], "close the form, the question or the details; then leave"],
  [["Space", "Enter"], "press, check, expand"],
  [["←", "→"], "previous, next tab or choice"],
];

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
          rows={KEYS}
          where="the panel"
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
  const link = linkWords({
    link: store.link.value,
    heardAt: store.heardAt.value,
    updatedAt: updated_at,
    noun: "panel",
    quiet: !anythingRuns(store.state.value),
  });
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

/** Keys of the whole panel; true when one was used. */
export function panelKey(store: Store, root: HTMLElement, event: KeyboardEvent): boolean {
  return widgetKey(root, event, {
    close: () => closeInnermost(store),
    letters: {
      "?": () => {
        store.keysShown.value = !store.keysShown.value;
      },
      n: () => {
        if (store.form.value === null) store.form.value = {};
      },
    },
  });
}

function closeInnermost(store: Store): boolean {
  if (store.keysShown.value) store.keysShown.value = false;
  else if (store.form.value) store.form.value = null;
  else if (store.open.value.size) store.open.value = new Map();
  else return false;
  return true;
}
