import { fireEvent, waitFor, within } from "@testing-library/preact";
import { describe, expect, it } from "vitest";
import { EXT, opened, viewer } from "../../demo/viewer";
import { EMPTY_VIEWER } from "../../src/lib/wire";
import { grid, press, ready, selected, sent, show, shown } from "./harness";

const many = (index = 0) =>
  viewer({ open: opened({ d_sae: 131_072 }), view: { ...EMPTY_VIEWER.view, extraction_id: EXT, feature: index } });
const rowsOf = (view: ReturnType<typeof show>) => within(grid(view)).getAllByRole("row");

describe("the list of features", () => {
  it("has all features, and draws those in sight", async () => {
    const [view] = await shown(many());
    expect(grid(view).getAttribute("aria-rowcount")).toBe("131072");
    expect(rowsOf(view).length).toBeLessThan(40);
    expect(rowsOf(view)[0]?.getAttribute("aria-rowindex")).toBe("1");
    for (const { limit } of sent(view.model, "query_features")) expect(limit).toBeLessThanOrEqual(200);
    expect(view.page.getByText("131,072 features")).toBeTruthy();
  });

  it("asks for a piece when it comes into sight, and not for what was passed over", async () => {
    const [view] = await shown(many());
    const box = grid(view);
    for (const row of [20_000, 60_000, 100_000]) {
      box.scrollTop = row * 40;
      box.dispatchEvent(new Event("scroll"));
    }
    await waitFor(() => expect(within(box).getByText("100000")).toBeTruthy());
    const offsets = sent(view.model, "query_features").map((command) => command.offset);
    expect(offsets).toContain(100_000);
    expect(offsets).not.toContain(60_000);
    expect(grid(view).getAttribute("aria-busy")).toBe("false");
  });

  it("opens where the view says, scrolled to it", async () => {
    const view = show(many(100_003));
    await ready(view, 100_003);
    await waitFor(() => expect(selected(view)).toBe("100003"));
  });

  it("has one tab stop, which the keys move; the feature follows when they rest", async () => {
    const [view] = await shown(many());
    const stops = () => rowsOf(view).filter((row) => row.tabIndex === 0);
    await waitFor(() => expect(stops()).toHaveLength(1));
    stops()[0]?.focus();
    // without a pause between them, which on a busy machine would be a rest
    for (const key of ["ArrowDown", "ArrowDown"]) fireEvent.keyDown(document.activeElement as Element, { key });
    expect(document.activeElement?.getAttribute("aria-rowindex")).toBe("3");
    expect(stops()).toHaveLength(1);
    await ready(view, 2);
    expect(sent(view.model, "feature_relations").map((command) => command.index)).not.toContain(1);
    await view.user.keyboard("{End}");
    await waitFor(() => expect(document.activeElement?.getAttribute("aria-rowindex")).toBe("131072"));
    await ready(view, 131_071);
    await view.user.keyboard("{PageUp}");
    expect(Number(document.activeElement?.getAttribute("aria-rowindex"))).toBeLessThan(131_072 - 5);
    await view.user.keyboard("{Home}{Enter}");
    await ready(view, 0);
  });

  it("moves the focus with the page, and far down the list", async () => {
    const [view] = await shown(many());
    const focused = () => document.activeElement?.getAttribute("aria-rowindex");
    rowsOf(view)[0]?.focus();
    await view.user.keyboard("{ArrowRight}");
    await ready(view, 1);
    expect(focused()).toBe("2");
    await view.user.keyboard("{PageDown}{PageDown}{PageDown}{PageDown}{PageDown}");
    await ready(view, 1 + 5 * 13);
    expect(focused()).toBe("67");
    await view.user.keyboard("{End}");
    await ready(view, 131_071);
    expect(focused()).toBe("131072");
  });

  it("keeps the focus on a row that is scrolled out of sight", async () => {
    const [view] = await shown(many());
    rowsOf(view)[0]?.focus();
    grid(view).scrollTop = 4_000_000;
    grid(view).dispatchEvent(new Event("scroll"));
    await waitFor(() => expect(within(grid(view)).getByText("100000")).toBeTruthy());
    expect(document.activeElement?.getAttribute("aria-rowindex")).toBe("1");
  });

  it("is searched, filtered and sorted by Python", async () => {
    const [view] = await shown();
    const search = view.page.getByRole("searchbox", { name: "Search features" });
    for (const value of ["w", "wh", "whom"]) fireEvent.input(search, { target: { value } });
    await waitFor(() => expect(sent(view.model, "query_features").at(-1)?.query.search).toBe("whom"));
    // once for the whole word, not for each letter
    const searches = new Set(sent(view.model, "query_features").map((command) => command.query.search));
    expect(searches).toEqual(new Set(["", "whom"]));
    await waitFor(() => expect(rowsOf(view)[0]?.textContent).toContain("whom"));
    await view.user.selectOptions(view.page.getByRole("combobox", { name: "Show" }), "labelled");
    await view.user.selectOptions(view.page.getByRole("combobox", { name: "Sort features" }), "density");
    await waitFor(() =>
      expect(sent(view.model, "query_features").at(-1)?.query).toEqual({
        search: "whom",
        show: "labelled",
        sort: "density",
        descending: true,
      }),
    );
    await view.user.click(view.page.getByRole("button", { name: "Sort direction: descending" }));
    expect(view.page.getByRole("button", { name: "Sort direction: ascending" })).toBeTruthy();
    await waitFor(() => expect(sent(view.model, "query_features").at(-1)?.query.descending).toBe(false));
    // what is open stays open
    expect(view.page.getByRole("region", { name: "Feature 7451" })).toBeTruthy();
  });

  it("says when nothing matches, and leads back", async () => {
    const [view] = await shown();
    await view.user.type(view.page.getByRole("searchbox", { name: "Search features" }), "zzz{Enter}");
    await waitFor(() => expect(view.page.getByRole("heading", { name: "No feature matches" })).toBeTruthy());
    expect(view.page.getByText("None of 16,384: search “zzz”.")).toBeTruthy();
    await view.user.click(view.page.getByRole("button", { name: "Show all features" }));
    await waitFor(() => expect(grid(view).getAttribute("aria-rowcount")).toBe("16384"));
  });

  it("says when it cannot be read, and asks again", async () => {
    const view = show(viewer(), {
      failures: { query_features: { what: "The store is damaged.", hint: "Extract again." } },
    });
    await waitFor(() => expect(view.page.getByText("The store is damaged.")).toBeTruthy());
    delete view.model.options.failures?.query_features;
    await view.user.click(view.page.getByRole("button", { name: "Try again" }));
    await waitFor(() => expect(grid(view)).toBeTruthy());
  });

  it("shows no answer to an earlier question", async () => {
    const view = show(viewer(), { delays: { query_features: 120 } });
    const search = await view.page.findByRole("searchbox", { name: "Search features" });
    await view.user.type(search, "bequest{Enter}");
    await view.user.retype(search, "constraint{Enter}");
    await waitFor(() => expect(rowsOf(view)[0]?.textContent).toContain("constraint"));
    await new Promise((done) => setTimeout(done, 200));
    expect(rowsOf(view)[0]?.textContent).toContain("constraint");
  });

  it("shows top tokens for a label, and what did not fire", async () => {
    const [view] = await shown(viewer({ view: { ...EMPTY_VIEWER.view, extraction_id: EXT, feature: 7460 } }));
    await waitFor(() => expect(selected(view)).toBe("7460"));
    const dead = rowsOf(view).find((row) => row.querySelector(".n")?.textContent === "7460");
    expect(dead?.textContent).toContain("did not fire");
    expect(dead?.textContent).toContain("0 %");
    expect(grid(view).querySelector(".tk .t3")?.textContent).toBe("·");
  });

  it("stars a feature without opening it, and takes that back when it fails", async () => {
    const [view] = await shown();
    const star = () => view.page.getByRole("button", { name: "Star feature 7452" });
    await waitFor(() => expect(star()).toBeTruthy());
    const before = view.model.state.features_revision;
    await view.user.click(star());
    await waitFor(() => expect(star().getAttribute("aria-pressed")).toBe("true"));
    await waitFor(() => expect(view.model.state.features_revision).toBe(before + 1)); // it is saved
    expect(sent(view.model, "edit_feature")).toMatchObject([{ index: 7452, starred: true }]);
    expect(sent(view.model, "edit_feature")[0]).not.toHaveProperty("label");
    expect(view.page.getByRole("region", { name: "Feature 7451" })).toBeTruthy();
    view.model.options.failures = { edit_feature: { what: "The catalog is locked." } };
    await view.user.click(star());
    await waitFor(() => expect(view.page.getByRole("alert").textContent).toContain("The catalog is locked."));
    await waitFor(() => expect(star().getAttribute("aria-pressed")).toBe("true"));
  });

  it("asks again when labels or stars changed elsewhere", async () => {
    const [view] = await shown();
    const before = sent(view.model, "query_features").length;
    view.model.setState({ features_revision: 9 });
    await waitFor(() => expect(sent(view.model, "query_features").length).toBeGreaterThan(before));
    expect(sent(view.model, "open_feature").length).toBe(2);
  });

  it("shows the search box to `/`, and empties it with Esc", async () => {
    const [view] = await shown();
    press(grid(view), "/");
    const search = view.page.getByRole("searchbox", { name: "Search features" }) as HTMLInputElement;
    expect(document.activeElement).toBe(search);
    await view.user.type(search, "sea");
    await view.user.keyboard("{Escape}");
    expect(search.value).toBe("");
  });
});
