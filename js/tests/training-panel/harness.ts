/** The real bundle entry on a fake model, as a front end would render it. */
import { within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { afterEach } from "vitest";
import { FakeModel } from "../../demo/runs";
import widget from "../../src/index";
import type { PanelState } from "../../src/lib/wire";

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0)) close();
  document.body.innerHTML = "";
});

export function show(state: PanelState, view = "training_panel", options = {}) {
  const el = document.createElement("div");
  document.body.append(el);
  const model = new FakeModel(view, state, options);
  const close = widget.render({ model: model as never, el });
  open.push(close);
  return { el, model, close, page: within(document.body), user: userEvent.setup() };
}

export type Shown = ReturnType<typeof show>;

export const cardOf = ({ page }: Pick<Shown, "page">, name: string) =>
  within(page.getByRole("listitem", { name }) as HTMLElement);

/** The commands of one kind that the page has sent. */
export const sent = (model: FakeModel, kind: string) => model.sent.filter((command) => command.kind === kind);
