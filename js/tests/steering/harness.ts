/** The real bundle entry on a fake model of the steering widget. */
import { waitFor, within } from "@testing-library/preact";
import { FakeSteering, type SteeringOptions, steeringState } from "../../demo/steering";
import type { SteeringState } from "../../src/lib/wire";
import { mount } from "../harness";

export function show(state: Partial<SteeringState> = {}, options: SteeringOptions = {}) {
  return mount(new FakeSteering(steeringState(state), options));
}

export type Shown = ReturnType<typeof show>;

export const until = (condition: () => boolean): Promise<void> =>
  waitFor(() => {
    if (!condition()) throw new Error("not yet");
  });

/** A row of the list of features. */
export const feature = ({ page }: Pick<Shown, "page">, index: number) =>
  within(page.getByRole("listitem", { name: `Feature ${index}` }) as HTMLElement);

export const slider = (shown: Pick<Shown, "page">, index: number) =>
  feature(shown, index).getByRole("slider", { name: `Strength of feature ${index}` }) as HTMLInputElement;

export { sent } from "../harness";
