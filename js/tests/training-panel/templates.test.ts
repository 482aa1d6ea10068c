/** Templates: the list, the form that loads and saves them. */
import { waitFor, within } from "@testing-library/preact";
import { describe, expect, it, vi } from "vitest";
import { emptyState, fullState } from "../../demo/runs";
import { sent, show } from "./harness";

const open = async () => {
  const view = show(fullState());
  await view.user.click(view.page.getByRole("button", { name: "Templates" }));
  await waitFor(() => expect(view.page.getByRole("list", { name: "Templates" })).toBeTruthy());
  const item = (name: string) => within(view.page.getByRole("listitem", { name }));
  return { ...view, item };
};
const TOPK = "GPT-2 small, TopK";

describe("the list of templates", () => {
  it("searches, and clears a search that finds nothing", async () => {
    const { page, user } = await open();
    await user.type(page.getByRole("searchbox", { name: "Search templates" }), "pythia");
    await waitFor(() => expect(page.queryByRole("listitem", { name: TOPK })).toBeNull());
    await user.type(page.getByRole("searchbox", { name: "Search templates" }), "x");
    await waitFor(() => expect(page.getByText("No template matches")).toBeTruthy());
    await user.click(page.getByRole("button", { name: "Clear search" }));
    await waitFor(() => expect(page.getByRole("listitem", { name: TOPK })).toBeTruthy());
  });

  it("renames, marks as favourite, and deletes after a question", async () => {
    const { page, model, user, item } = await open();
    const star = item("Pythia-70M, JumpReLU").getByRole("button", { name: "Favourite Pythia-70M, JumpReLU" });
    expect(star.getAttribute("aria-pressed")).toBe("false");
    await user.click(star);
    await waitFor(() => expect(star.getAttribute("aria-pressed")).toBe("true"));
    await user.click(item(TOPK).getByRole("button", { name: "Rename" }));
    await user.keyboard("mine{Enter}");
    await waitFor(() => expect(page.getByRole("listitem", { name: "mine" })).toBeTruthy());
    await user.click(item("mine").getByRole("button", { name: "Delete" }));
    expect(document.activeElement?.textContent).toBe("Keep");
    await user.click(item("mine").getByRole("button", { name: "Delete template" }));
    await waitFor(() => expect(page.queryByRole("listitem", { name: "mine" })).toBeNull());
    expect(sent(model, "template_action").map((command) => "action" in command && command.action)).toEqual([
      "favorite",
      "rename",
      "delete",
    ]);
  });

  it("says what a template is good for", async () => {
    const { model, user, item } = await open();
    await user.click(item(TOPK).getByRole("button", { name: "Describe" }));
    const box = item(TOPK).getByRole("textbox", { name: "Description" });
    expect(document.activeElement).toBe(box);
    await user.clear(box);
    await user.keyboard("<b>For</b> the paper.");
    await user.click(item(TOPK).getByRole("button", { name: "Save description" }));
    await waitFor(() => expect(item(TOPK).getByText("<b>For</b> the paper.")).toBeTruthy());
    expect(item(TOPK).queryByRole("textbox")).toBeNull();
    expect(sent(model, "template_action")).toMatchObject([
      { action: "describe", template_id: "tmpl_1", description: "<b>For</b> the paper." },
    ]);
  });

  it("keeps what was typed where a name is taken", async () => {
    const { page, model, user, item } = await open();
    model.options.failures = { template_action: { what: "There is a template 'mine'.", hint: "Choose another name." } };
    await user.click(item(TOPK).getByRole("button", { name: "Rename" }));
    await user.keyboard("mine{Enter}");
    await waitFor(() => expect(page.getByText("There is a template 'mine'.")).toBeTruthy());
    const box = item(TOPK).getByRole("textbox", { name: `New name of ${TOPK}` }) as HTMLInputElement;
    expect([box.value, document.activeElement]).toEqual(["mine", box]);
    model.options.failures = {};
    await user.keyboard("!{Enter}");
    await waitFor(() => expect(page.getByRole("listitem", { name: "mine!" })).toBeTruthy());
    expect(page.queryByText("There is a template 'mine'.")).toBeNull();
  });

  it("opens the form with a template", async () => {
    const { page, model, user, item } = await open();
    await user.click(item(TOPK).getByRole("button", { name: "Use" }));
    await waitFor(() => expect(page.getByRole("textbox", { name: "Model" })).toBeTruthy());
    expect(sent(model, "form_schema")).toMatchObject([{ template_id: "tmpl_1", training_id: null }]);
    expect(page.getByText(`from the template ${TOPK}`)).toBeTruthy();
  });

  it("takes a file in, and says what is wrong with one", async () => {
    const { page, model, user, el } = await open();
    const input = el.querySelector("input[type=file]") as HTMLInputElement;
    await user.upload(input, new File(["{}"], "templates.json", { type: "application/json" }));
    await waitFor(() => expect(page.getByText("Imported GPT-2 small, TopK (2).")).toBeTruthy());
    expect(sent(model, "import_templates")).toMatchObject([{ file: "templates.json", text: "{}" }]);
    model.options.failures = {
      import_templates: { what: "This file was written by a newer version.", hint: "Update." },
    };
    await user.upload(input, new File(["{}"], "newer.json", { type: "application/json" }));
    await waitFor(() => expect(page.getByText("This file was written by a newer version.")).toBeTruthy());
    const large = new File(["x"], "large.json", { type: "application/json" });
    Object.defineProperty(large, "size", { value: 9_000_000 });
    await user.upload(input, large);
    await waitFor(() => expect(page.getByText(/large.json has 9,000,000 bytes/)).toBeTruthy());
    expect(sent(model, "import_templates")).toHaveLength(2);
  });

  it("follows what Python does with templates", async () => {
    const { page, model } = await open();
    model.templates = model.templates.filter((one) => one.name !== TOPK);
    model.setState({ templates_revision: 1 });
    await waitFor(() => expect(page.queryByRole("listitem", { name: TOPK })).toBeNull());
  });

  it("gives files out", async () => {
    const { page, model, user, item } = await open();
    const saved = vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(() => {});
    vi.stubGlobal("URL", { ...URL, createObjectURL: () => "blob:x", revokeObjectURL() {} });
    await user.click(page.getByRole("button", { name: "Export templates" }));
    await user.click(item(TOPK).getByRole("button", { name: "Export" }));
    await waitFor(() => expect(saved).toHaveBeenCalledTimes(2));
    vi.unstubAllGlobals();
    expect(sent(model, "export_templates")).toMatchObject([{ template_ids: [] }, { template_ids: ["tmpl_1"] }]);
  });

  it("is empty with the next action", async () => {
    const { page, model, user } = show(emptyState());
    model.templates = [];
    await user.click(page.getByRole("button", { name: "Templates" }));
    await waitFor(() => expect(page.getByText("No templates yet")).toBeTruthy());
    await user.keyboard("{Escape}");
    await waitFor(() => expect(page.getByText("No trainings yet")).toBeTruthy());
  });
});

describe("saving a template", () => {
  it("keeps what the form holds, and asks before it replaces one", async () => {
    const { page, model, user } = show(fullState());
    await user.click(page.getByRole("button", { name: "New training" }));
    const k = await waitFor(() => page.getByRole("textbox", { name: "Active latents (k)" }));
    await user.retype(k, "40");
    await user.click(page.getByRole("button", { name: "Save as template" }));
    const group = within(page.getByRole("group", { name: "Save as template" }));
    const name = group.getByRole("textbox", { name: "Name of the template" });
    expect(document.activeElement).toBe(name);
    model.options.failures = {
      save_template: {
        what: "There is a template 'mine'.",
        where: "name",
        hint: "Choose another name, or replace it.",
      },
    };
    await user.retype(name, "mine{Enter}");
    await waitFor(() => expect(group.getByRole("alert").textContent).toContain("There is a template 'mine'."));
    expect(sent(model, "create")).toEqual([]); // Enter saves, it does not start
    await user.click(group.getByRole("button", { name: "Replace it" }));
    await waitFor(() => expect(page.getByText("Saved as template “mine”.")).toBeTruthy());
    expect(sent(model, "save_template")).toMatchObject([
      { name: "mine", replace: false, config: { sae: { k: 40 } } },
      { name: "mine", replace: true },
    ]);
  });

  it("does not keep a form that needs attention", async () => {
    const { page, user } = show(fullState());
    await user.click(page.getByRole("button", { name: "New training" }));
    const k = await waitFor(() => page.getByRole("textbox", { name: "Active latents (k)" }));
    await user.clear(k);
    await user.click(page.getByRole("button", { name: "Save as template" }));
    expect(document.activeElement).toBe(k);
    expect(page.queryByRole("group", { name: "Save as template" })).toBeNull();
  });

  it("loads another one into the form", async () => {
    const { page, model, user } = show(fullState());
    await user.click(page.getByRole("button", { name: "New training" }));
    const list = await waitFor(() => page.getByRole("combobox", { name: "Load template" }));
    await waitFor(() => expect(within(list).getByRole("option", { name: /Pythia-70M/ })).toBeTruthy());
    await user.selectOptions(list, "tmpl_2");
    await waitFor(() => expect(page.getByText("from the template Pythia-70M, JumpReLU")).toBeTruthy());
    await waitFor(() => expect(sent(model, "form_schema").at(-1)).toMatchObject({ template_id: "tmpl_2" }));
  });

  it("loads a preset into the form, and says where its numbers are from", async () => {
    const { page, model, user } = show(fullState());
    await user.click(page.getByRole("button", { name: "New training" }));
    const list = await waitFor(() => page.getByRole("combobox", { name: "Load template" }));
    const presets = within(await waitFor(() => within(list).getByRole("group", { name: "Presets" })));
    const one = await waitFor(() => presets.getByRole("option", { name: "pythia-70m" }));
    await user.selectOptions(list, one);
    await waitFor(() => expect(page.getByText("from the preset pythia-70m")).toBeTruthy());
    await waitFor(() => expect(sent(model, "form_schema").at(-1)).toMatchObject({ preset: "pythia-70m" }));
    expect(page.getByText(/Karvonen et al. 2025, SAEBench/)).toBeTruthy();
  });

  it("keeps the settings of a run", async () => {
    const { page, model, user } = show(fullState());
    await user.click(page.getByRole("button", { name: "More actions: demo-l2-topk-k24" }));
    await user.click(page.getByRole("menuitem", { name: "Save as template" }));
    await user.keyboard("kept{Enter}");
    await waitFor(() => expect(page.getByText("Saved as template “kept”.")).toBeTruthy());
    expect(sent(model, "save_template")).toMatchObject([{ name: "kept", training_id: "train_demo-l2-topk-k24" }]);
  });
});
