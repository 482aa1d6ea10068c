/** The viewer's part of the real bundle on a fake kernel, as a front end would render it. */
import { waitFor, within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { afterEach, expect } from "vitest";
import { FakeViewer, type ViewerOptions, viewer } from "../../demo/viewer";
import widget from "../../src/extraction-viewer";
import type { ViewerCommand, ViewerState } from "../../src/lib/wire";

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0)) close();
  document.body.innerHTML = "";
});

export function show(state: ViewerState = viewer(), options: ViewerOptions = {}) {
  const el = document.createElement("div");
  document.body.append(el);
  const model = new FakeViewer(state, options);
  const close = widget.render({ model: model as never, el });
  open.push(close);
  return { el, model, close, page: within(document.body), user: userEvent.setup() };
}

export type Shown = ReturnType<typeof show>;

/** The commands of one kind that the page has sent. */
export const sent = <K extends ViewerCommand["kind"]>(model: FakeViewer, kind: K) =>
  model.sent.filter((command) => command.kind === kind) as unknown as (Extract<ViewerCommand, { kind: K }> & {
    id: string;
  })[];

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

export const press = (element: Element, key: string) =>
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
