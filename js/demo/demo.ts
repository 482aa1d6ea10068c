/**
 * The widgets without a notebook: `npm run demo`, then serve js/demo/dist and open index.html?widget=WIDGET&case=CASE
 * with a widget and a case of `PAGES` & theme=light|dark.
 */
import widget from "../src/index";
import { FIRST_VIEW } from "../src/lib/wire";
import type { FakeWidget } from "./fake";
import * as hub from "./hub";
import * as saes from "./library";
import * as runs from "./runs";
import * as steer from "./steering";
import * as features from "./viewer";

type Fake = FakeWidget<never, never>;
type Pages = Record<string, () => unknown>;

// ------------------------------------------------------------------------------------------------ training

function panel(state = runs.fullState(), options = {}): Fake[] {
  const parts = ["training_panel", "chart_controls", "training_footer"];
  const models = parts.map((part) => new runs.FakeModel(part, state, options));
  runs.FakeModel.link(models);
  return models as unknown as Fake[];
}

// ------------------------------------------------------------------------------------------------ download

const problem = (kind: string, what: string, hint: string, suggestions: string[] = []) =>
  hub.listing({ rows: [], repositories: [], problems: [{ kind, what, hint, suggestions }] });

function download(repository = `${hub.PYTHIA}@main`, options: hub.HubOptions = {}, downloads = false) {
  const listings = {
    "openai-community/gpt2": problem(
      "no_sae",
      "No SAE found in openai-community/gpt2.",
      "It holds a language model (model.safetensors, 548 MB).",
      ["jbloom/GPT2-Small-SAEs-Reformatted"],
    ),
    "EleutherAI/sae-pythia-410-65k": problem(
      "repository_not_found",
      "Repository not found: EleutherAI/sae-pythia-410-65k.",
      "It does not exist, or is private and your token does not reach it.",
      [hub.PYTHIA],
    ),
    "slow/hub": "The hub did not answer within 10 s, three times in a row.",
    hostile: hub.listing({ rows: [hub.row({ path: hub.HOSTILE, site: hub.HOSTILE, format: hub.HOSTILE })] }),
    many: hub.listing({
      rows: Array.from({ length: 14_000 }, (_, i) => hub.row({ path: `layers.${i >> 6}/${i % 64}`, layer: i >> 6 })),
    }),
  };
  const state = hub.hubState({ downloads: downloads ? hub.DOWNLOADS : [], repository, can_open: true });
  return new hub.FakeHub(state, { listings, ...options });
}

const lacking = (_: string, device: string) => ({ warnings: device === "cpu" ? [hub.DISK] : [hub.MEMORY, hub.DISK] });

// ------------------------------------------------------------------------------------------------ features

const view = { ...FIRST_VIEW, extraction_id: features.EXT, feature: 7451 };
const viewer = (change = {}, options: features.ViewerOptions = {}) =>
  new features.FakeViewer(features.viewer(change), options);
const gone = { what: "The files of demo-l2-topk-16k are gone.", hint: "Locate them in the SAE browser." };
const prompt = "The captain of the ship";

// ------------------------------------------------------------------------------------------------ steering

function steering(change = {}, options: steer.SteeringOptions = {}) {
  const preset = { name: "ships", features: 3, saes: ["demo-l2-topk-16k"], prompt: steer.PROMPT, problem: "" };
  const broken = { name: "broken", features: 0, saes: [], prompt: "", problem: "This is not JSON." };
  const presets = [preset, broken].map((one) => ({ ...one, path: "", saved_at: 1_790_000_000 }));
  return new steer.FakeSteering(steer.steeringState({ generated: 1, swept: 2, ...change }), { presets, ...options });
}
const { run, settings } = steer.steeringState();
const writing = [
  { run: "baseline" as const, strength: null, tokens: 4, text: " village and sat for" },
  { run: "steered" as const, strength: null, tokens: 3, text: " ship and stood" },
];
const long = {
  what: "Nothing was generated: the prompt is 249 tokens and 60 new ones are asked, but the context is 256.",
  where: null,
  hint: "Shorten the prompt by 53 tokens or ask for 7.",
  kind: "error",
};
const large = "The change is large: ‖Δ‖ / ‖h‖ is 1.52. Text usually breaks above 1. For feature 7451, try −5.2 to 5.2.";
const press = (name: string) => (made: unknown) => {
  const wanted = (one: HTMLElement) => name === (one.getAttribute("aria-label") ?? one.textContent);
  setTimeout(() => [...document.querySelectorAll<HTMLElement>("button, [role=button]")].find(wanted)?.click(), 300);
  return made;
};

const PAGES: Record<string, Pages> = {
  demo: {
    full: () => panel(),
    crowded: () => panel(runs.crowdedState()),
    empty: () => panel(runs.emptyState()),
    failing: () => panel(runs.failingState()),
    silent: () => panel(runs.fullState(), { silent: true }),
    late: () => panel(runs.fullState(), { late: true }),
  },
  download: {
    chosen: () => download(undefined, {}, true),
    empty: () => download(""),
    gemma: () => press("Gemma Scope")(download("")),
    facets: () => press("Gemma Scope")(download("", {}, true)),
    known: () => press("Known repositories")(download("")),
    gated: () => download(undefined, { previews: () => ({ gated_model: true, warnings: [hub.GATED, hub.PICKLE] }) }),
    memory: () => download(undefined, { previews: lacking }),
    nosae: () => download("openai-community/gpt2"),
    notfound: () => download("EleutherAI/sae-pythia-410-65k"),
    failed: () => download("slow/hub"),
    hostile: () => download("hostile", { previews: () => ({ model: hub.HOSTILE }) }),
    many: () => download("many"),
  },
  features: {
    full: () => viewer(),
    empty: () => viewer({ cards: [], total: 0, active: 0, open: null }),
    nosaes: () => viewer({ cards: [], total: 0, active: 0, open: null }, { noSaes: true }),
    jobs: () => viewer({ open: null }),
    many: () => viewer({ open: features.opened({ d_sae: 131_072 }), view: { ...view, feature: 100_000 } }),
    dead: () => viewer({ view: { ...view, feature: 7460 } }),
    prompt: () => viewer({ view: { ...view, tab: "prompt", prompt } }),
    offline: () =>
      viewer({ open: features.opened({ live: false, live_note: "The model demo is not on this machine." }) }),
    busy: () => viewer({}, { late: true }),
    silent: () => viewer({}, { silent: true }),
    hostile: () => viewer({}, { hostile: true }),
    error: () => viewer({}, { failures: { feature_logits: gone, feature_relations: gone, test_text: gone } }),
  },
  saes: {
    full: () => new saes.FakeLibrary(saes.SAES),
    empty: () => new saes.FakeLibrary([]),
    many: () =>
      new saes.FakeLibrary(Array.from({ length: 5000 }, (_, i) => saes.sae({ name: `run-${i}`, layer: i % 12 }))),
    busy: () => new saes.FakeLibrary(saes.SAES, { late: true }),
    hostile: () => new saes.FakeLibrary([saes.sae({ name: saes.HOSTILE, model: saes.HOSTILE, tags: [saes.HOSTILE] })]),
    error: () =>
      new saes.FakeLibrary(saes.SAES, { failures: { add_local: gone, measure_sae: gone, delete_saes: gone } }),
  },
  steering: {
    done: () => steering(),
    next: () => press("Token 1: ·ship")(steering()),
    empty: () => steering({ rows: [], generated: 0, swept: 0 }),
    problem: () =>
      steering(
        { run: { ...run, number: 3, status: "failed", problem: long }, gauge: { ratio: 1.52, over: "steered tokens" } },
        { texts: steer.texts({ notes: [large] }) },
      ),
    chosen: () => steering({ settings: { ...settings, positions: [2, 3] } }),
    writing: () => steering({ run: { ...run, number: 1, status: "running", phase: "writing", texts: writing } }),
    presets: () => press("Presets")(steering()),
    hostile: () => steering({ rows: [steer.row({ label: steer.HOSTILE, sae: steer.HOSTILE })] }),
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
for (const [i, model] of models.entries()) {
  const el = document.createElement("div");
  frame.append(el);
  widget.render({ model: model as never, el });
  if (i !== 1) continue;
  const figures = document.createElement("div"); // between the bar of the charts and the footer
  figures.className = "sw-charts figures";
  figures.innerHTML = ["Loss", "L0", "FVU"]
    .map((name) => `<div class="sw-chart">${name} (bqplot figure)</div>`)
    .join("");
  frame.append(figures);
}
Object.assign(window, { models });
