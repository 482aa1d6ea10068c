import { waitFor, within } from "@testing-library/preact";
import { expect, it } from "vitest";
import { EXT, viewer } from "../../demo/viewer";
import { EMPTY_VIEWER } from "../../src/lib/wire";
import { ready, type Shown, sent, show } from "./harness";

const TEXT = "The captain of the ship";

async function read(view: Shown) {
  await view.user.click(view.page.getByRole("tab", { name: "On a prompt" }));
  await view.user.type(view.page.getByRole("textbox", { name: "Text" }), TEXT);
  await view.user.click(view.page.getByRole("button", { name: "Show features" }));
  return within(await view.page.findByRole("table", { name: "Features by token" }));
}

it("shows which features fire on a text, token by token", async () => {
  const view = show();
  const table = await read(view);
  expect(table.getAllByRole("button", { name: /^Open feature/ })).toHaveLength(7);
  expect(table.getByRole("button", { name: "Rank by token 6: ship" })).toBeTruthy();
  expect(view.page.getByText("7 of 68 features shown, 39 dense hidden")).toBeTruthy();
  expect(sent(view.model, "read_prompt")).toMatchObject([
    { text: TEXT, rank_by: "max", token: null, hide_dense: true },
  ]);
  const cells = [...(table.getAllByRole("row")[1]?.querySelectorAll("td.c > span") ?? [])];
  expect(cells).toHaveLength(6);
  expect(cells.some((cell) => /^a[1-8]$/.test(cell.className))).toBe(true);
});

it("ranks by the sum, or by a token that is chosen", async () => {
  const view = show();
  const table = await read(view);
  await view.user.click(view.page.getByRole("radio", { name: "Sum" }));
  await waitFor(() => expect(sent(view.model, "read_prompt").at(-1)?.rank_by).toBe("sum"));
  await view.user.click(view.page.getByRole("radio", { name: "Chosen token" }));
  expect(view.page.getByText("Choose a token above its column.")).toBeTruthy();
  expect(sent(view.model, "read_prompt")).toHaveLength(2);
  await view.user.click(table.getByRole("button", { name: "Rank by token 2: capt" }));
  await waitFor(() => expect(sent(view.model, "read_prompt").at(-1)).toMatchObject({ rank_by: "token", token: 1 }));
  await waitFor(() =>
    expect(table.getByRole("button", { name: "Rank by token 2: capt" }).getAttribute("aria-pressed")).toBe("true"),
  );
});

it("shows dense features when asked to", async () => {
  const view = show();
  await read(view);
  await view.user.click(view.page.getByRole("checkbox", { name: "Hide features above 1 % density" }));
  await waitFor(() => expect(sent(view.model, "read_prompt").at(-1)?.hide_dense).toBe(false));
});

it("opens a feature", async () => {
  const view = show();
  const table = await read(view);
  await view.user.click(table.getByRole("button", { name: "Open feature 1808" }));
  await ready(view, 1808);
  expect(view.page.getByRole("tab", { name: "Features 16,384" }).getAttribute("aria-selected")).toBe("true");
});

it("is read by itself when the view says so, and keeps its table when it fails later", async () => {
  const view = show(viewer({ view: { ...EMPTY_VIEWER.view, tab: "prompt", extraction_id: EXT, prompt: TEXT } }));
  await view.page.findByRole("table", { name: "Features by token" });
  expect(sent(view.model, "read_prompt")).toHaveLength(1);
  view.model.options.failures = { read_prompt: { what: "Out of memory.", hint: "Shorten it." } };
  await view.user.click(view.page.getByRole("button", { name: "Show features" }));
  await waitFor(() => expect(view.page.getByRole("alert").textContent).toContain("Out of memory."));
  expect(view.page.getByRole("table", { name: "Features by token" })).toBeTruthy();
});

it("previews a feature somebody rests on, and keeps it once it is pinned", async () => {
  const view = show();
  const table = await read(view);
  const preview = () => view.page.queryByRole("region", { name: "Preview" });
  await view.user.hover(table.getByRole("button", { name: "Open feature 1808" }));
  await waitFor(() => expect(preview()?.textContent).toContain("fires on 0.13 % of tokens, max 11.6"));
  expect(preview()?.querySelectorAll(".pk").length).toBeGreaterThan(2);
  await view.user.hover(view.page.getByRole("textbox", { name: "Text" }));
  await waitFor(() => expect(preview()).toBeNull());
  table.getByRole("button", { name: "Open feature 523" }).focus();
  await waitFor(() => expect(preview()?.querySelector("b")?.textContent).toBe("523"));
  await view.user.keyboard("p");
  await view.user.hover(table.getByRole("button", { name: "Open feature 1808" }));
  await new Promise((done) => setTimeout(done, 500));
  expect(preview()?.querySelector("b")?.textContent).toBe("523");
  expect(within(preview() as HTMLElement).getByRole("button", { name: "Close preview" })).toBeTruthy();
  await view.user.keyboard("{Escape}");
  await waitFor(() => expect(preview()).toBeNull());
});
