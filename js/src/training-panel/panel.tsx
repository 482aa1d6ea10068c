/** Header, toolbar and list; or the form in their place above the list. */
import { useSignal } from "@preact/signals";
import { useUid } from "../lib/a11y";
import { Button } from "../lib/controls";
import { CopyButton } from "../lib/copy";
import * as f from "../lib/format";
import { bundleOf, type KeyRow, Keys, mountWidget } from "../lib/host";
import { Empty as EmptyBox, put } from "../lib/kit";
import { UndoNote, useAge, WidgetNotes } from "../lib/notes";
import type { Model } from "../lib/rpc";
import { during } from "../lib/store";
import type { Theme } from "../lib/wire";
import { ChartsBar } from "./charts-bar";
import { Compare } from "./compare";
import { Form } from "./form";
import { List, Toolbar } from "./list";
import { anythingRuns, deviceMeter, deviceWords } from "./state";
import { Store } from "./store";
import { Templates } from "./templates";

const KEYS: readonly KeyRow[] = [
  [["/"], "search"],
  [["N"], "new training"],
  [["?"], "show or hide the keys"],
  [["Esc"], "close the form, the templates, the question, the details or the comparison; then leave"],
  [["Space", "Enter"], "press, check, expand"],
  [["Enter", "Ctrl Enter"], "start what the form describes: from a text field, from anywhere in it"],
  [["←", "→"], "previous, next tab or choice"],
];

export function Panel({ store }: { store: Store }) {
  const panel = useUid("sw-list");
  const { cards, compare, sae_shown } = store.state.value;
  if (sae_shown !== null) return <AtTheSae store={store} />;
  const form = store.form.value;
  const templates = store.templates.value && !form;
  const empty = cards.length === 0;
  const key = JSON.stringify([form?.from?.id, form?.template?.id, form?.preset?.name, form?.changes]);
  return (
    <>
      {form && <Form key={key} store={store} request={form} />}
      {templates && <Templates store={store} />}
      {!form && !templates && !compare && <Header store={store} />}
      <PanelNotes store={store} />
      <Keys rows={KEYS} where="the panel" shown={store.keysShown} />
      {empty && !form && !templates && <Empty store={store} />}
      {compare && <Compare key={compare.training_ids.join(" ")} store={store} compare={compare} />}
      {!empty && !compare && (
        <>
          <Toolbar store={store} panel={panel} />
          <List store={store} panel={panel} />
        </>
      )}
    </>
  );
}

/** The SAE browser stands below, in the place of the runs. */
const AtTheSae = ({ store }: { store: Store }) => (
  <>
    <div class="hd">
      <h2>Training</h2>
      <span class="sm t2 sub">{store.state.value.workspace}</span>
      <div class="sp" />
      <Button text="Back to trainings" icon="left" onClick={() => store.closeSae()} />
    </div>
    <PanelNotes store={store} />
  </>
);

function Header({ store }: { store: Store }) {
  const { workspace, devices, cards } = store.state.value;
  const words = [workspace, deviceWords(devices)].filter(Boolean).join(" · ");
  const meter = deviceMeter(devices);
  return (
    <div class="hd">
      <h2>Training</h2>
      <span class="sm t2 sub">{words}</span>
      {meter && (
        // biome-ignore lint/a11y/useSemanticElements: browsers draw <meter> in colours of their own
        <span
          class={`bar meter hw${meter.used > 0.9 ? " full" : ""}`}
          role="meter"
          aria-label={`Memory of ${meter.id}`}
          aria-valuenow={Math.round(100 * meter.used)}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuetext={meter.text}
          title={meter.text}
        >
          <i style={{ width: `${100 * meter.used}%` }} />
        </span>
      )}
      <div class="sp" />
      <Button onClick={put(store.templates, true)}>Templates</Button>
      {cards.length > 0 && <Button text="New training" kind="primary" icon="plus" onClick={put(store.form, {})} />}
    </div>
  );
}

const PanelNotes = ({ store }: { store: Store }) => (
  <WidgetNotes store={store} noun="panel" quiet={!anythingRuns(store.state.value)} ids={["panel", "charts"]}>
    {store.state.value.deleted.length > 0 && <UndoNote store={store} id="panel" noun="training" />}
  </WidgetNotes>
);

export function lettersOf(store: Store): Record<string, () => void> {
  const free = store.form.value === null && store.state.value.sae_shown === null;
  return free ? { n: put(store.form, {}) } : {};
}

export function closeInnermost(store: Store): boolean {
  if (store.keysShown.value) store.keysShown.value = false;
  else if (store.state.value.sae_shown !== null) void store.closeSae();
  else if (store.form.value) store.form.value = null;
  else if (store.templates.value) store.templates.value = false;
  // What is open in the list stays open behind the comparison.
  else if (store.state.value.compare) void store.command("panel", "Back", { kind: "compare", training_ids: [] });
  else if (store.bulk.value) store.bulk.value = null;
  else if (store.open.value.size) store.closeInner();
  else if (store.row.value) store.row.value = null;
  else return false;
  return true;
}

const DEMO_CODE = `run = ws.trainings.create(sw.TrainingConfig(
    model="demo",
    corpus="demo",
    hook_name="blocks.0.hook_resid_post",
    sae=sw.TopKConfig(d_sae=4_096, k=32),
    optimizer=sw.OptimizerConfig(lr=2.5e-3),
    batch_size=1_024,
    tokens=2_600_000,
))`;

export function Empty({ store }: { store: Store }) {
  const starting = useSignal(false);
  const actions = (
    <>
      <Button
        text={starting.value ? "Starting…" : "Train the demo"}
        kind="primary"
        icon="play"
        disabled={starting.value}
        onClick={() => during(starting, store.trainDemo())}
      />
      <Button text="New training" icon="plus" onClick={put(store.form, {})} />
      <CopyButton text={DEMO_CODE} word="Copy code" large />
    </>
  );
  return (
    <EmptyBox title="No trainings yet" actions={actions}>
      <p>
        Train a sparse autoencoder on a small built-in language model: about 3 minutes on two CPU cores, no network. Or
        choose your own model, dataset and layer.
      </p>
      <pre>{DEMO_CODE}</pre>
    </EmptyBox>
  );
}

export function Footer({ store }: { store: Store }) {
  const age = useAge(store);
  const { total, jobs } = store.state.value;
  if (total === 0) return null;
  const selected = store.charts().training_ids.length;
  return (
    <div class="ft">
      <span>{age}</span>
      <span class="t3">·</span>
      <span>
        {f.plural(total, "training")}
        {jobs < total && ` in ${f.plural(jobs, "job")}`}
        {`, ${f.count(selected)} selected`}
      </span>
      <div class="sp" />
      <span class="hw t3">? shows the keys</span>
    </div>
  );
}

function renderPanel(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const options = { label: "Training panel", close: () => closeInnermost(store), letters: () => lettersOf(store) };
  mountWidget(model, parent, store, options, <Panel store={store} />);
}

function renderCharts(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  let sent: Theme | null = null;
  const onTheme = (theme: Theme) => {
    // The figures' colours are set in Python, which cannot see the page.
    if (theme === (sent ?? store.state.value.charts.theme)) return;
    sent = theme;
    void store.changeCharts({ theme });
  };
  mountWidget(
    model,
    parent,
    store,
    { label: "Charts", onTheme },
    <ChartsBar store={store} manager={model.widget_manager} />,
  );
}

function renderFooter(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  mountWidget(model, parent, store, { label: "Panel status" }, <Footer store={store} />);
}

export const VIEWS = { training_panel: renderPanel, chart_controls: renderCharts, training_footer: renderFooter };
export default bundleOf(VIEWS);
