/**
 * The extraction viewer without a notebook: `npm run demo`, then serve js/demo/dist and open index.html?widget=features.
 * &case=full|empty|jobs|many|busy|silent|hostile|dead|prompt|offline|error & theme=light|dark & height=720 & noSaes=1
 */
import widget from "../src/index";
import { FIRST_VIEW } from "../src/lib/wire";
import { FakeViewer, type ViewerOptions } from "./fake-viewer";
import { CARDS, EXT, opened, viewer } from "./feature-fixtures";

const query = new URLSearchParams(location.search);
if (query.get("theme") === "dark") document.body.classList.add("dark");
const name = query.get("case") ?? "full";

const view = { ...FIRST_VIEW, extraction_id: EXT, feature: 7451 };
const offline = opened({
  live: false,
  live_note: "The model demo is not on this machine. Download it to read other text.",
});
const prompt = "The captain of the ship promised the crew ten dollars each";
const state = {
  empty: viewer({ cards: [], total: 0, active: 0, open: null }),
  jobs: viewer({ open: null }),
  many: viewer({ open: opened({ d_sae: 131_072 }), view: { ...view, feature: 100_000 } }),
  dead: viewer({ view: { ...view, feature: 7460 } }),
  prompt: viewer({ view: { ...view, tab: "prompt", prompt } }),
  offline: viewer({ open: offline }),
}[name];
const failure = { what: "The files of demo-l2-topk-16k are gone.", hint: "Locate them in the SAE browser." };
const options: ViewerOptions = {
  silent: name === "silent",
  late: name === "busy",
  hostile: name === "hostile",
  noSaes: query.has("noSaes"),
  failures:
    name === "error"
      ? { feature_logits: failure, feature_relations: failure, test_text: failure, expand_example: failure }
      : {},
};

const frame = document.createElement("div");
frame.className = "sw-frame";
document.getElementById("main")?.append(frame);
const el = document.createElement("div");
frame.append(el);
const model = new FakeViewer(state ?? viewer({ cards: CARDS }), options);
widget.render({ model: model as never, el });
Object.assign(window, { model });
