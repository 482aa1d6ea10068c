/**
 * The panel without a notebook: `npm run demo`, then open js/demo/dist/index.html.
 * ?state=full|crowded|empty|failing|silent & theme=light|dark & part=all|panel
 */
import widget from "../src/index";
import { FakeModel } from "./fake-model";
import { crowdedState, emptyState, failingState, fullState } from "./fixtures";

const query = new URLSearchParams(location.search);
if (query.get("theme") === "dark") document.body.classList.add("dark");

const states = { full: fullState, crowded: crowdedState, empty: emptyState, failing: failingState };
const name = (query.get("state") ?? "full") as keyof typeof states;
const state = (states[name] ?? fullState)();

const main = document.getElementById("main") as HTMLElement;
const frame = document.createElement("div");
frame.className = "sw-frame";
main.append(frame);

const models: FakeModel[] = [];
function part(view: string): void {
  const el = document.createElement("div");
  frame.append(el);
  const model = new FakeModel(view, state, { late: query.has("late"), silent: query.get("state") === "silent" });
  models.push(model);
  widget.render({ model: model as never, el });
}

part("training_panel");
if (query.get("part") !== "panel") {
  part("chart_controls");
  const figures = document.createElement("div");
  figures.className = "sw-charts figures";
  for (const title of ["Loss", "L0", "FVU"]) {
    const box = document.createElement("div");
    box.className = "sw-chart";
    box.textContent = `${title} (bqplot figure)`;
    figures.append(box);
  }
  frame.append(figures);
  part("training_footer");
}
FakeModel.link(models);
Object.assign(window, { models });
