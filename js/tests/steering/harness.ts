/** The real bundle entry on a fake model of the steering widget. */
import { waitFor, within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { afterEach } from "vitest";
import { FakeSteering, type SteeringOptions, steeringState } from "../../demo/steering";
import widget from "../../src/index";
import type { SteeringCommand, SteeringState } from "../../src/lib/wire";

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0)) close();
  document.body.innerHTML = "";
});

export function show(state: Partial<SteeringState> = {}, options: SteeringOptions = {}) {
  const el = document.createElement("div");
  document.body.append(el);
  const model = new FakeSteering(steeringState(state), options);
  const close = widget.render({ model: model as never, el });
  open.push(close);
  return { el, model, close, page: within(document.body), user: userEvent.setup() };
}

export type Shown = ReturnType<typeof show>;

/** The commands of one kind that the page has sent. */
export const sent = <K extends SteeringCommand["kind"]>(model: FakeSteering, kind: K) =>
  model.sent.filter(
    (command): command is Extract<SteeringCommand, { kind: K }> & { id: string } => command.kind === kind,
  );

export const until = (condition: () => boolean): Promise<void> =>
  waitFor(() => {
    if (!condition()) throw new Error("not yet");
  });

/** A row of the list of features. */
export const feature = ({ page }: Pick<Shown, "page">, index: number) =>
  within(page.getByRole("listitem", { name: `Feature ${index}` }) as HTMLElement);

export const slider = (shown: Pick<Shown, "page">, index: number) =>
  feature(shown, index).getByRole("slider", { name: `Strength of feature ${index}` }) as HTMLInputElement;
