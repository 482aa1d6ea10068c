import { fireEvent, waitFor } from "@testing-library/preact";
import { describe, expect, it } from "vitest";
import { EXT, viewer } from "../../demo/viewer";
import { EMPTY_VIEWER, type ViewerView } from "../../src/lib/wire";
import { press, ready, selected, sent, show, shown } from "./harness";

const at = (change: Partial<ViewerView>) => ({ ...EMPTY_VIEWER.view, extraction_id: EXT, feature: 7451, ...change });
const wait = (ms: number) => new Promise((done) => setTimeout(done, ms));

describe("what a view shows", () => {
  it("is restored: feature, search, order", async () => {
    const query = { search: "sea", show: "labelled", sort: "max", descending: true } as const;
    const [view] = await shown(viewer({ view: at({ feature: 310, query }) }));
    expect((view.page.getByRole("searchbox", { name: "Search features" }) as HTMLInputElement).value).toBe("sea");
    expect((view.page.getByRole("combobox", { name: "Sort features" }) as HTMLSelectElement).value).toBe("max");
    expect(view.page.getByRole("button", { name: "Sort direction: descending" })).toBeTruthy();
    expect(sent(view.model, "query_features")[0]?.query).toEqual(query);
    await wait(450);
    expect(sent(view.model, "show_view")).toEqual([]); // nothing is news to Python
  });

  it("is told to Python once it rests", async () => {
    const [view] = await shown(viewer({ view: at({}) }));
    await waitFor(() => expect(selected(view)).toBe("7451"));
    for (let i = 0; i < 3; i += 1) press(view.page.getByRole("region", { name: "Extraction viewer" }), "ArrowRight");
    await ready(view, 7454);
    await waitFor(() => expect(sent(view.model, "show_view").at(-1)?.view).toEqual(at({ feature: 7454 })));
    expect(sent(view.model, "show_view")).toHaveLength(1);
  });

  it("is not turned back by the echo of what was told", async () => {
    const [view] = await shown(viewer({ view: at({}) }), { delays: { show_view: 200 } });
    await waitFor(() => expect(selected(view)).toBe("7451"));
    await view.user.click(view.page.getByRole("button", { name: "Next feature" }));
    await waitFor(() => expect(sent(view.model, "show_view")).toHaveLength(1));
    await view.user.click(view.page.getByRole("button", { name: "Next feature" })); // while the first is on its way
    await ready(view, 7453);
    await waitFor(() => expect(view.model.state.view.feature).toBe(7453));
    await wait(250);
    expect(view.page.getByRole("region", { name: "Feature 7453" })).toBeTruthy();
  });

  it("follows Python", async () => {
    const [view] = await shown(viewer({ view: at({}) }));
    view.model.setState({ view: at({ feature: 12, context: "short" }) });
    const page = await ready(view, 12);
    expect(page.getByRole("radio", { name: "Short" }).getAttribute("aria-checked")).toBe("true");
    await waitFor(() => expect(selected(view)).toBe("12"));
  });

  it("keeps what was chosen here meanwhile and not told yet", async () => {
    const [view] = await shown(viewer({ view: at({}) }));
    await view.user.click(view.page.getByRole("tab", { name: "On a prompt" }));
    await view.user.type(view.page.getByRole("textbox", { name: "Text" }), "a ship");
    await waitFor(() => expect(view.model.state.view.tab).toBe("prompt"));
    fireEvent.click(view.page.getByRole("tab", { name: "Features 16,384" }));
    view.model.setState({ view: { ...view.model.state.view, feature: 12 } });
    await ready(view, 12);
    await waitFor(() => expect(view.model.state.view).toMatchObject({ tab: "features", feature: 12 }));
    await view.user.click(view.page.getByRole("tab", { name: "On a prompt" }));
    expect((view.page.getByRole("textbox", { name: "Text" }) as HTMLTextAreaElement).value).toBe("a ship");
  });

  it("is the list when what it shows has gone", async () => {
    const [view] = await shown(viewer({ view: at({}) }));
    view.model.setState({ open: null });
    await waitFor(() => expect(view.page.getByRole("list", { name: "Extractions" })).toBeTruthy());
    expect(view.page.queryByText("Opening the features…")).toBeNull();
  });

  it("does without a feature that this SAE does not have", async () => {
    const view = show(viewer({ view: at({ feature: 99_999 }) }));
    await waitFor(() => expect(selected(view)).toBeUndefined());
    expect(sent(view.model, "open_feature")).toEqual([]);
    expect(view.page.getByText("Choose a feature in the list.")).toBeTruthy();
  });
});
