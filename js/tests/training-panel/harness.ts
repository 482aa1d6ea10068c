import { FakeModel } from "../../demo/runs";
import type { PanelState } from "../../src/lib/wire";
import { mount } from "../harness";

export function show(state: PanelState, view = "training_panel", options = {}) {
  return mount(Object.assign(new FakeModel(state, options), { view }));
}

export type Shown = ReturnType<typeof show>;

export { cardOf, sent } from "../harness";
