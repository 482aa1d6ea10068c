/**
 * The widgets without a notebook: `npm run demo`, then serve js/demo/dist and open index.html?widget=WIDGET&case=CASE
 * with a widget and a case of `PAGES` & theme=light|dark.
 */
import widget from "../src/index";
import { type DownloadCard, EMPTY_VIEWER, type SteeringRun, type ViewerCommand } from "../src/lib/wire";
import { type FakeOptions, type FakeWidget, HOSTILE, sceneOf } from "./fake";
import * as hub from "./hub";
import * as saes from "./library";
import * as runs from "./runs";
import * as steer from "./steering";
import * as features from "./viewer";

type Fake = FakeWidget<never, never>;
type Pages = Record<string, () => unknown>;

const scene = sceneOf("demo");

/** The parts of a panel are views of one model. */
function panel(state = runs.fullState(), options = {}) {
  const model = new runs.FakeModel(state, options);
  const parts = ["training_panel", "chart_controls", "training_footer"];
  return parts.map((view) => Object.assign(Object.create(model), { view }));
}

const layers = Array.from({ length: 14_000 }, (_, i) => ({ path: `layers.${i >> 6}/${i % 64}`, layer: i >> 6 }));
const LISTINGS = {
  ...Object.fromEntries(scene.problems.map((one) => [one.repository, hub.problem(one)])),
  "slow/hub": "The hub did not answer within 10 s, three times in a row.",
  hostile: hub.listing({ rows: [hub.row({ path: HOSTILE, site: HOSTILE, format: HOSTILE })] }),
  many: hub.listing({ rows: layers.map(hub.row) }),
};
const download = (repository = `${hub.PYTHIA}@main`, options: hub.HubOptions = {}, downloads: DownloadCard[] = []) =>
  new hub.FakeHub(hub.hubState({ downloads, repository, can_open: true }), { listings: LISTINGS, ...options });
const lacking = (_: string, device: string) => ({ warnings: device === "cpu" ? [hub.DISK] : [hub.MEMORY, hub.DISK] });

const view = { ...EMPTY_VIEWER.view, extraction_id: features.EXT, feature: 7451 };
const viewer = (change = {}, options: FakeOptions<ViewerCommand> = {}) =>
  new features.FakeViewer(features.viewer(change), options);
const { gone } = scene;

const library = (cards = saes.SAES, options = {}) => new saes.FakeLibrary(cards, options);

const steering = (change = {}, options: steer.SteeringOptions = {}) =>
  Object.assign(new steer.FakeSteering(steer.steeringState({ generated: 1, swept: 2, ...change }), options), {
    presets: scene.presets,
  });
const { run, settings } = steer.steeringState();
const press = (name: string) => (made: unknown) => {
  const wanted = (one: HTMLElement) => name === (one.getAttribute("aria-label") ?? one.textContent);
  setTimeout(() => [...document.querySelectorAll<HTMLElement>("button, [role=button]")].find(wanted)?.click(), 300);
  return made;
};

const PAGES: Record<string, Pages> = {
  demo: {
    full: () => panel(),
    crowded: () => panel(runs.crowdedState()),
    many: () => panel(runs.manyState()),
    empty: () => panel(runs.emptyState()),
    failing: () => panel({ ...runs.fullState(), notice: scene.notice }),
    silent: () => panel(runs.fullState(), { silent: true }),
    late: () => panel(runs.fullState(), { late: true }),
  },
  download: {
    chosen: () => download(undefined, {}, hub.DOWNLOADS),
    empty: () => download(""),
    gemma: () => press("Gemma Scope")(download("")),
    facets: () => press("Gemma Scope")(download("", {}, hub.DOWNLOADS)),
    known: () => press("Known repositories")(download("")),
    gated: () => download(undefined, { previews: () => ({ gated_model: true, warnings: [hub.GATED, hub.PICKLE] }) }),
    memory: () => download(undefined, { previews: lacking }),
    nosae: () => download("openai-community/gpt2"),
    notfound: () => download("EleutherAI/sae-pythia-410-65k"),
    failed: () => download("slow/hub"),
    hostile: () => download("hostile", { previews: () => ({ model: HOSTILE }) }),
    many: () => download("many"),
  },
  features: {
    full: () => viewer(),
    empty: () => viewer({ cards: [], total: 0, active: 0, open: null }),
    nosaes: () => viewer({ cards: [], total: 0, active: 0, open: null }, { says: { list_saes: features.NO_SAES } }),
    imports: () =>
      press("Start extraction")(viewer({}, { says: { list_saes: { ...features.NO_SAES, not_imported: saes.RUNS } } })),
    jobs: () => viewer({ open: null }),
    many: () => viewer({ open: features.opened({ d_sae: 131_072 }), view: { ...view, feature: 100_000 } }),
    dead: () => viewer({ view: { ...view, feature: 7460 } }),
    prompt: () => viewer({ view: { ...view, tab: "prompt", prompt: "The captain of the ship" } }),
    offline: () =>
      viewer({ open: features.opened({ live: false, live_note: "The model demo is not on this machine." }) }),
    labelling: () => viewer({ labelling: features.LABEL_JOB }),
    busy: () => viewer({}, { late: true }),
    silent: () => viewer({}, { silent: true }),
    hostile: () => viewer({}, { hostile: true }),
    error: () => viewer({}, { failures: { feature_logits: gone, feature_relations: gone, test_text: gone } }),
  },
  saes: {
    full: () => library(),
    empty: () => library([]),
    many: () => library(Array.from({ length: 5000 }, (_, i) => saes.sae({ name: `run-${i}`, layer: i % 12 }))),
    imports: () => new saes.FakeLibrary(saes.SAES, {}, { not_imported: saes.RUNS }),
    publish: () => press("Publish")(press("More actions: gpt2-l6-topk-k32")(library())),
    busy: () => library(saes.SAES, { late: true }),
    hostile: () => library([saes.sae({ name: HOSTILE, model: HOSTILE, tags: [HOSTILE] })]),
    error: () => library(saes.SAES, { failures: { add_local: gone, measure_sae: gone, delete_saes: gone } }),
  },
  steering: {
    done: () => steering(),
    next: () => press("Token 1: ·ship")(steering()),
    empty: () => steering({ rows: [], generated: 0, swept: 0 }),
    problem: () =>
      steering(
        {
          run: { ...run, ...(scene.too_long as Partial<SteeringRun>) },
          gauge: { ratio: 1.52, over: "steered tokens" },
        },
        { says: { steering_read: { notes: [scene.large] } } },
      ),
    chosen: () => steering({ settings: { ...settings, positions: [2, 3] } }),
    writing: () => steering({ run: { ...run, ...(scene.writing as Partial<SteeringRun>) } }),
    chat: () => steering({ ...steer.CHAT, swept: 0 }),
    chatting: () =>
      steering({ ...steer.CHAT, run: { ...run, ...(scene.writing as Partial<SteeringRun>), turn: 1 }, swept: 0 }),
    nochat: () => steering({ chat_problem: steer.NO_CHAT, generated: 0, swept: 0 }),
    nosystem: () =>
      steering({ ...steer.CHAT, settings: { ...steer.CHAT.settings, system: "" }, system_problem: steer.NO_SYSTEM }),
    presets: () => press("Presets")(steering()),
    hostile: () => steering({ rows: [steer.row({ label: HOSTILE, sae: HOSTILE })] }),
  },
};

const query = new URLSearchParams(location.search);
if (query.get("theme") === "dark") document.body.classList.add("dark");
const pages = PAGES[query.get("widget") ?? "demo"] ?? (PAGES.demo as Pages);
const made = (pages[query.get("case") ?? ""] ?? Object.values(pages)[0])?.();
const frame = document.createElement("div");
frame.className = "sw-frame";
document.getElementById("main")?.append(frame);
const models = [made].flat() as Fake[];
const figures = document.getElementById("figures") as HTMLTemplateElement;
for (const [i, model] of models.entries()) {
  const el = document.createElement("div");
  frame.append(el);
  widget.render({ model: model as never, el });
  if (i === 1) frame.append(figures.content); // between the bar of the charts and the footer
}
Object.assign(window, { models });
