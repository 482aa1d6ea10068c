/** Where the focus is after something was closed, answered or done: never lost. */
import { waitFor, within } from "@testing-library/preact";
import { expect, it } from "vitest";
import { SAES } from "../../demo/library";
import { cardOf, openDetails, type Shown, show } from "./harness";

const TRAINED = "gpt2-l6-topk-k32";
const OTHER = "lab-run-0413";

const focused = () => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent;
const isFocused = (name: string) => waitFor(() => expect(focused()).toBe(name));
const press = (view: Shown, name: string) => view.user.click(view.page.getByRole("button", { name }));

async function selectTwo(view: Shown) {
  for (const name of [TRAINED, OTHER])
    await view.user.click(view.page.getByRole("checkbox", { name: `Select ${name}` }));
}

it.each([
  ["Delete selected", "{Escape}"],
  ["Delete selected", "Keep"],
  ["Export selected", "{Escape}"],
  ["Export selected", "Cancel"],
  ["Compare selected", "{Escape}"],
  ["Compare selected", "Back to SAEs"],
])("goes back to %s after %s", async (opener, way) => {
  const view = show();
  await selectTwo(view);
  await press(view, opener);
  expect(focused()).not.toBe(opener);
  if (way.startsWith("{")) await view.user.keyboard(way);
  else await press(view, way);
  await isFocused(opener);
});

it.each(["{Escape}", "Cancel", "Close Add local files"])("goes back to Add local files after %s", async (way) => {
  const view = show();
  await press(view, "Add local files");
  await view.user.keyboard("/data");
  await view.user.click(view.page.getByRole("textbox", { name: "Name" }));
  if (way.startsWith("{")) await view.user.keyboard(way);
  else await press(view, way);
  await isFocused("Add local files");
});

it("goes to the way back from the download, and to its button after that", async () => {
  const view = show();
  await press(view, "Download from Hugging Face");
  await isFocused("Back to SAEs");
  await press(view, "Back to SAEs");
  await isFocused("Download from Hugging Face");
});

it("goes to the way back from the empty list too", async () => {
  const view = show([]);
  const empty = within(view.page.getByText("No SAEs yet").parentElement as HTMLElement);
  await view.user.click(empty.getByRole("button", { name: "Download from Hugging Face" }));
  await isFocused("Back to SAEs");
});

it("goes back to the filter after Clear filters, to the box of all after Clear selection", async () => {
  const view = show();
  await view.user.type(view.page.getByRole("searchbox", { name: "Search SAEs" }), "nothing has this");
  await waitFor(() => expect(view.page.getByText("No SAE matches")).toBeTruthy());
  await press(view, "Clear filters");
  await isFocused("Search SAEs");
  await selectTwo(view);
  await press(view, "Clear selection");
  await isFocused("Select all shown");
});

it("goes back to what failed after Dismiss", async () => {
  const view = show(SAES, {
    failures: { delete_saes: { what: `${OTHER} is in use: a job reads it.`, hint: "Wait." } },
  });
  const card = cardOf(view, OTHER);
  await view.user.click(card.getByRole("button", { name: "Delete" }));
  await view.user.click(card.getByRole("button", { name: "Delete SAE" }));
  await waitFor(() => expect(card.getByText(`${OTHER} is in use.`)).toBeTruthy());
  await view.user.click(card.getByRole("button", { name: "Dismiss" }));
  await isFocused(`Select ${OTHER}`);
});

it("goes back into the list when what several met is dismissed", async () => {
  const problem = { what: `${OTHER} is in use.`, where: OTHER, hint: "Wait.", kind: "error" };
  const view = show(SAES, { says: { delete_saes: { done: [`sae_${TRAINED}`], problems: [problem] } } });
  await selectTwo(view);
  await press(view, "Delete selected");
  await press(view, "Delete 2 SAEs");
  await waitFor(() => expect(view.page.getByText("1 of 2 SAEs was not deleted.")).toBeTruthy());
  expect(view.page.getByText(`${OTHER} is in use. Wait.`)).toBeTruthy();
  await press(view, "Dismiss");
  await waitFor(() => expect(document.activeElement?.closest(".sw")).toBeTruthy());
  expect(document.activeElement).not.toBe(document.body);
});

it("goes back to More actions from what its menu opened", async () => {
  const view = show();
  const card = cardOf(view, TRAINED);
  const more = `More actions: ${TRAINED}`;
  for (const item of ["Details", "Rename"]) {
    await view.user.click(card.getByRole("button", { name: more }));
    await view.user.click(card.getByRole("menuitem", { name: item }));
    await view.user.keyboard("{Escape}");
    await isFocused(more);
  }
});

it("goes back to the link of the training record", async () => {
  const view = show();
  const card = cardOf(view, TRAINED);
  const record = `Training record: ${TRAINED}`;
  await view.user.click(card.getByRole("button", { name: record }));
  await view.user.click(card.getByRole("button", { name: "Close training record" }));
  await isFocused(record);
});

it("stays where it was when the keys are closed", async () => {
  const view = show();
  const sort = view.page.getByRole("combobox", { name: "Source" });
  view.page.getByRole("checkbox", { name: `Select ${OTHER}` }).focus();
  await view.user.keyboard("?");
  await press(view, "Close keys");
  await isFocused(`Select ${OTHER}`);
  expect(document.activeElement).not.toBe(sort);
});

it("says that a drawer and a comparison are under way", async () => {
  const view = show(SAES, { failures: {} });
  const card = await openDetails(view, TRAINED);
  const panel = card.getByRole("tabpanel");
  expect(panel.getAttribute("aria-busy")).toBe("true");
  await waitFor(() => expect(panel.getAttribute("aria-busy")).toBe("false"));
  await waitFor(() => expect(card.getAllByRole("img")).toHaveLength(4));
  expect(panel.querySelector("[aria-busy=true]")).toBeNull();
});
