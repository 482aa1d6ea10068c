/** Header, tabs and what they lead to; or what is opened in their place. */
import { useUid } from "../lib/a11y";
import { Button, Tabs, tabId } from "../lib/controls";
import * as f from "../lib/format";
import { bundleOf, type KeyRow, Keys, mountWidget } from "../lib/host";
import { Empty as EmptyBox, Pick } from "../lib/kit";
import { WidgetNotes } from "../lib/notes";
import type { Model } from "../lib/rpc";
import { statusOf } from "../lib/statuses";
import { line } from "../lib/tokens";
import type { Context, OpenExtraction } from "../lib/wire";
import { showContext } from "./example-list";
import { List } from "./grid";
import { Jobs } from "./jobs";
import { Page } from "./page";
import { Panels } from "./panels";
import { PreviewCard } from "./preview";
import { Prompt } from "./prompt";
import { Choose, Options } from "./start-dialog";
import { type Panel, Store, WIDGET } from "./store";

const KEYS: readonly KeyRow[] = [
  [["/"], "search"],
  [["?"], "show or hide the keys"],
  [["Esc"], "close the card, the form or the menu; then leave"],
  [["←", "→"], "previous, next feature; in an example, token; tab or choice"],
  [["↑", "↓", "PgUp", "PgDn", "Home", "End"], "in the list and in examples"],
  [["Space", "Enter"], "press, open, expand; on a token: pin its card"],
  [["R"], "random feature"],
  [["S"], "star"],
  [["L"], "label"],
  [["T"], "test your text"],
  [["C"], "how much context examples show"],
  [["P"], "pin the preview of a feature"],
];

export function Viewer({ store }: { store: Store }) {
  const { cards, open, notice } = store.state.value;
  const { starting } = store;
  if (starting.step.value === "choose") {
    const { below, code } = store.state.value;
    const ways = {
      onDemo: () => {
        starting.close();
        void store.tryDemo();
      },
      downloading: below === "download",
      onDownload: (shown: boolean) => store.showDownload(shown),
      code,
    };
    return <Choose starting={starting} ways={ways} />;
  }
  if (starting.step.value === "options") return <Options starting={starting} />;
  const shown = store.opened;
  const nothing = cards.length === 0 && open === null && store.view.value.extraction_id === null;
  // one that cannot be opened is told as a notice
  const opening = store.view.value.extraction_id !== null && notice?.kind !== "error";
  return (
    <>
      <Header store={store} />
      <Notes store={store} />
      <Keys rows={KEYS} where="the viewer" shown={store.keysShown} />
      {nothing ? (
        <Empty store={store} />
      ) : shown ? (
        <Opened store={store} open={shown} />
      ) : (
        <>
          {opening && (
            <p class="bd sm t2" role="status" aria-busy="true">
              Opening the features…
            </p>
          )}
          <Jobs store={store} />
        </>
      )}
      <PreviewCard preview={store.preview} aside />
    </>
  );
}

function Header({ store }: { store: Store }) {
  const { total, cards, open: current } = store.state.value;
  const open = store.opened;
  const empty = cards.length === 0 && current === null;
  return (
    <div class="hd viewer">
      <h2>Features</h2>
      {open ? (
        <span class="sm t2 el sub" title={[open.model, open.name, open.hook_name].map(line).join(" / ")}>
          <bdi>{line(open.model)}</bdi>
          <span class="t3"> / </span>
          <bdi>{line(open.name)}</bdi>
          <span class="t3"> / </span>
          <code>{line(open.hook_name)}</code>
        </span>
      ) : (
        <span class="sm t2 hw">{total > 0 ? f.plural(total, "extraction") : ""}</span>
      )}
      <div class="sp" />
      {open && open.versions.length > 0 && (
        <Pick
          label="Extraction"
          class="versions"
          width={196}
          value={open.id}
          options={open.versions.map(({ value, label }) => ({ value, label: line(label) }))}
          onPick={(id) => store.openExtraction(id)}
        />
      )}
      {!empty && (
        <Button
          text="Start extraction"
          icon="play"
          kind={open ? "plain" : "primary"}
          onClick={() => store.starting.open()}
        />
      )}
    </div>
  );
}

function Opened({ store, open }: { store: Store; open: OpenExtraction }) {
  const panel = useUid("sw-viewer");
  const { tab } = store.view.value;
  const { active } = store.state.value;
  const toggle = (kind: "labels" | "exports", inside: Panel["kind"][]) => () => {
    const now = store.panel.value?.kind;
    store.panel.value = now === kind || (now && inside.includes(now)) ? null : { kind };
  };
  const kind = store.panel.value?.kind;
  return (
    <>
      <div class="tb">
        <Tabs
          label="View"
          panel={panel}
          selected={tab}
          tabs={[
            { id: "features", label: "Features", count: f.count(open.d_sae) },
            { id: "prompt", label: "On a prompt" },
            { id: "jobs", label: "Jobs", ...(active > 0 ? { count: f.count(active) } : {}) },
          ]}
          onSelect={(id) => store.setTab(id)}
        />
        <div class="sp" />
        <Button
          text="Labels"
          small
          kind="quiet"
          popup="menu"
          expanded={kind === "labels"}
          onClick={toggle("labels", ["import", "label_all", "label_model"])}
        />
        <Button
          text="Export"
          small
          kind="quiet"
          icon="download"
          popup="menu"
          expanded={kind === "exports"}
          onClick={toggle("exports", ["export"])}
        />
      </div>
      <Panels store={store} open={open} />
      <div role="tabpanel" id={panel} aria-labelledby={tabId(panel, tab)}>
        {tab === "features" && (
          <div class="fb">
            <List store={store} open={open} />
            <Page store={store} open={open} />
          </div>
        )}
        {tab === "prompt" && <Prompt store={store} open={open} />}
        {tab === "jobs" && <Jobs store={store} />}
      </div>
    </>
  );
}

function Notes({ store }: { store: Store }) {
  const running = store.state.value.cards.some((card) => statusOf(card) === "running");
  const quiet = !running && !store.list.busy.value && !store.feature.loaded.value.busy;
  return <WidgetNotes store={store} noun="viewer" quiet={quiet} ids={[WIDGET]} />;
}

function Empty({ store }: { store: Store }) {
  const coming = store.demoComing.value;
  return (
    <EmptyBox
      title="No features yet"
      actions={
        <>
          <Button text="Start extraction" kind="primary" icon="play" onClick={() => store.starting.open()} />
          <Button
            text={coming ? "Opening the demo…" : "Try the demo SAE"}
            disabled={coming}
            onClick={() => store.tryDemo()}
          />
        </>
      }
    >
      Extraction reads an SAE over text and finds what each feature fires on.
    </EmptyBox>
  );
}

function render(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const options = {
    label: "Extraction viewer",
    close: () => closeInnermost(store),
    letters: (root: HTMLElement) => lettersOf(store, root),
  };
  mountWidget(model, parent, store, options, <Viewer store={store} />);
}

export const VIEWS = { extraction_viewer: render };
export default bundleOf(VIEWS);

const NEXT: Record<Context, Context> = { short: "snippet", snippet: "full", full: "short" };

function lettersOf(store: Store, root: HTMLElement): Record<string, () => void> {
  const { tab, feature, context } = store.view.value;
  const p = () => store.preview.show(store.preview.at.value, true);
  if (store.opened === null || store.starting.shown || tab !== "features" || feature === null) return { p };
  const focus = (selector: string) => () => {
    const field = root.querySelector<HTMLInputElement>(selector);
    field?.focus();
    field?.scrollIntoView?.({ block: "nearest" });
  };
  return {
    p,
    arrowleft: () => store.step("previous"),
    arrowright: () => store.step("next"),
    r: () => store.step("random"),
    s: () => {
      const known = store.feature.current?.page.notes.starred;
      if (known !== undefined) void store.star(feature, !store.isStarred(feature, known));
    },
    l: focus(".label-form input"),
    t: focus(".own-text textarea"),
    c: () => showContext(store, NEXT[context]),
  };
}

function closeInnermost(store: Store): boolean {
  if (store.preview.close()) return true;
  if (store.feature.pinned.value || store.feature.pointed.value) store.feature.unpoint(true);
  else if (store.keysShown.value) store.keysShown.value = false;
  else if (store.starting.shown) store.starting.close();
  else if (store.panel.value) store.panel.value = null;
  else if (store.open.value.size) store.open.value = new Map();
  else return false;
  return true;
}
