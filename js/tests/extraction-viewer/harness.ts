/** The viewer's part of the real bundle on a fake kernel, as a front end would render it. */
import { waitFor, within } from "@testing-library/preact";
import { expect } from "vitest";
import type { FakeOptions } from "../../demo/fake";
import { FakeViewer, viewer } from "../../demo/viewer";
import type { ViewerCommand, ViewerState } from "../../src/lib/wire";
import { mount } from "../harness";

type Options = FakeOptions<ViewerCommand>;

export function show(state: ViewerState = viewer(), options: Options = {}) {
  return mount(new FakeViewer(state, options));
}

export type Shown = ReturnType<typeof show>;

export const feature = ({ page }: Shown, index: number) =>
  within(page.getByRole("region", { name: `Feature ${index}` }) as HTMLElement);

export const grid = ({ page }: Shown) => page.getByRole("grid", { name: "Features" });

export const selected = (view: Shown): string | undefined =>
  within(grid(view))
    .getAllByRole("row")
    .find((row) => row.getAttribute("aria-selected") === "true")
    ?.querySelector(".n")?.textContent ?? undefined;

/** Waits until a feature is there with its examples (or is known to be dead). */
export async function ready(view: Shown, index = 7451) {
  await waitFor(() => {
    const region = view.page.getByRole("region", { name: `Feature ${index}` });
    expect(region.getAttribute("aria-busy")).toBe("false");
    expect(region.querySelector(".statg")).toBeTruthy();
    expect(region.querySelector(".stale")).toBeNull();
  });
  return feature(view, index);
}

/** The viewer once the feature of its view is there, and that feature's page. */
export async function shown(state: ViewerState = viewer(), options: Options = {}) {
  const view = show(state, options);
  return [view, await ready(view, state.view.feature ?? 7451)] as const;
}

export const press = (element: Element, key: string) =>
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));

export { sent } from "../harness";
