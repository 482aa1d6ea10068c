import { waitFor, within } from "@testing-library/preact";
import { expect, it, vi } from "vitest";
import { HOSTILE } from "../../demo/fake";
import { SAES } from "../../demo/library";
import type { SaeCard } from "../../src/lib/wire";
import { skipping } from "../harness";
import { buttons, cardOf, names, openDetails, sent, show } from "./harness";

const GEMMA = "gemma-scope-2b-res-l12-16k-l0-82";
const TRAINED = "gpt2-l6-topk-k32";
const PYTHIA = "pythia-70m-deduped-res-sm-l3";

it("asks before deleting, naming what is lost, and can be kept with Esc", async () => {
  const view = show();
  const { user, model } = view;
  const card = cardOf(view, TRAINED);
  await user.click(card.getByRole("button", { name: "Delete" }));
  expect(card.getByRole("alert").textContent).toContain(
    `Delete ${TRAINED}? 101 MB of weights go too. The training record stays. You can undo this for ten seconds.`,
  );
  expect(document.activeElement?.textContent).toBe("Keep");
  await user.keyboard("{Escape}");
  expect(card.queryByRole("alert")).toBeNull();
  expect(document.activeElement?.textContent).toBe("Delete");
  expect(sent(model, "delete_saes")).toEqual([]);
  await user.click(card.getByRole("button", { name: "Delete" }));
  await user.click(card.getByRole("button", { name: "Delete SAE" }));
  expect(sent(model, "delete_saes")).toMatchObject([{ sae_ids: [`sae_${TRAINED}`] }]);
  await waitFor(() => expect(names(view)).not.toContain(TRAINED));
  await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe(PYTHIA));
});

it("names the features that go with an SAE that has some", async () => {
  const view = show();
  const card = cardOf(view, GEMMA);
  await view.user.click(card.getByRole("button", { name: "Delete" }));
  expect(card.getByRole("alert").textContent).toContain("302 MB of weights and 16,384 features go too. You can undo");
});

it("says that an SAE is in use without calling it an error", async () => {
  const what = `${PYTHIA} is in use: a job of kind extraction (running) reads it.`;
  const view = show(SAES, { failures: { delete_saes: { what, hint: "Cancel that first." } } });
  const card = cardOf(view, PYTHIA);
  await view.user.click(card.getByRole("button", { name: "Delete" }));
  await view.user.click(card.getByRole("button", { name: "Delete SAE" }));
  await waitFor(() => expect(card.getByText(`${PYTHIA} is in use.`)).toBeTruthy());
  expect(card.getByRole("status").textContent).toContain(
    "is in use. A job of kind extraction (running) reads it. Cancel that first.",
  );
  expect(card.queryByRole("alert")).toBeNull();
});

it("exports to a folder in a format", async () => {
  const view = show();
  const card = cardOf(view, TRAINED);
  await view.user.click(card.getByRole("button", { name: "Export" }));
  const form = within(card.getByRole("form", { name: `Export ${TRAINED}` }));
  const folder = form.getByRole("textbox", { name: "Folder" }) as HTMLInputElement;
  expect(document.activeElement).toBe(folder);
  expect(folder.value).toBe(TRAINED);
  await view.user.selectOptions(form.getByRole("combobox", { name: "Format" }), "sparsify");
  await view.user.retype(folder, "out{Enter}");
  expect(sent(view.model, "export_saes")).toMatchObject([
    { sae_ids: [`sae_${TRAINED}`], folder: "out", format: "sparsify" },
  ]);
  await waitFor(() => expect(card.getByText("Exported.")).toBeTruthy());
  expect(card.getByText("Exported.").parentElement?.textContent).toContain(`/workspace/out/sae_${TRAINED}`);
  await waitFor(() => expect(document.activeElement?.textContent).toBe("Export"));
});

it("offers the format in which an SAE is kept, where it can be written in no other", async () => {
  const view = show([{ ...(SAES[1] as SaeCard), format: "openai", format_label: "OpenAI sparse_autoencoder" }]);
  const card = cardOf(view, TRAINED);
  await view.user.click(card.getByRole("button", { name: "Export" }));
  const format = card.getByRole("combobox", { name: "Format" }) as HTMLSelectElement;
  expect(format.value).toBe("openai");
  expect([...format.options].map((option) => option.text)).toEqual([
    "OpenAI sparse_autoencoder",
    "SAELens",
    "sparsify",
  ]);
});

it("keeps the form open when an export fails", async () => {
  const view = show(SAES, { failures: { export_saes: { what: "sparsify cannot express it.", hint: "Use SAELens." } } });
  const card = cardOf(view, TRAINED);
  await view.user.click(card.getByRole("button", { name: "Export" }));
  await view.user.click(card.getByRole("button", { name: "Write files" }));
  await waitFor(() =>
    expect(card.getByRole("alert").textContent).toContain("sparsify cannot express it. Use SAELens."),
  );
  expect(card.getByRole("form", { name: `Export ${TRAINED}` })).toBeTruthy();
});

it("publishes once its card was shown, and sends the token each time without keeping it", async () => {
  const view = show();
  const card = cardOf(view, TRAINED);
  await view.user.click(card.getByRole("button", { name: `More actions: ${TRAINED}` }));
  await view.user.click(card.getByRole("menuitem", { name: "Publish" }));
  const form = within(card.getByRole("form", { name: `Publish ${TRAINED}` }));
  const repository = form.getByRole("textbox", { name: "Repository" }) as HTMLInputElement;
  await view.user.retype(repository, "ada/saes{Enter}");
  await form.findByText("; the hub does not say who is signed in.", { exact: false });
  await view.user.type(form.getByLabelText("Access token"), "hf_1");
  await view.user.retype(repository, "ada/there");
  expect(form.queryByRole("textbox", { name: "Model card" })).toBeNull();
  await view.user.retype(form.getByRole("textbox", { name: "Licence" }) as HTMLInputElement, "mit");
  await view.user.click(form.getByRole("button", { name: "Preview card" }));
  const shown = (await form.findByRole("textbox", { name: "Model card" })) as HTMLTextAreaElement;
  expect(shown.value).toContain(`# ${TRAINED}`);
  await view.user.retype(shown, "# Mine");
  expect(form.getByText("ada/there exists.")).toBeTruthy();
  expect(form.getByText("101 MB to ada/there as ada", { exact: false })).toBeTruthy();
  expect(sent(view.model, "publish_sae")).toEqual([]);
  await view.user.click(form.getByRole("checkbox", { name: "Private" }));
  await view.user.click(form.getByRole("button", { name: "Publish" }));
  await waitFor(() => expect(card.getByText("Published.")).toBeTruthy());
  const link = card.getByRole("link", { name: "https://huggingface.co/ada/there" });
  expect(link.getAttribute("rel")).toContain("noopener");
  expect(sent(view.model, "publish_sae")).toMatchObject([
    {
      sae_id: `sae_${TRAINED}`,
      repo_id: "ada/there",
      private: false,
      token: "hf_1",
      license: "mit",
      base_model: "",
      card: "# Mine",
    },
  ]);
  expect(JSON.stringify(view.model.state)).not.toContain("hf_1");
});

it("keeps what was typed when publishing fails", async () => {
  const view = show(SAES, { failures: { preview_card: { what: "Nobody is signed in.", hint: "Give a token." } } });
  const card = cardOf(view, TRAINED);
  await view.user.click(card.getByRole("button", { name: `More actions: ${TRAINED}` }));
  await view.user.click(card.getByRole("menuitem", { name: "Publish" }));
  await view.user.keyboard("ada/saes{Enter}");
  await waitFor(() => expect(card.getByRole("alert").textContent).toContain("Nobody is signed in. Give a token."));
  expect((card.getByRole("textbox", { name: "Repository" }) as HTMLInputElement).value).toBe("ada/saes");
});

it("names the repository it came from", () => {
  const card = cardOf(show([{ ...(SAES[0] as SaeCard), repo_id: HOSTILE }]), GEMMA);
  const link = card.getByRole("link", { name: HOSTILE });
  expect(link.getAttribute("href")).toBe("https://huggingface.co/%3Cimg%20src=x%20onerror=alert(1)%3E");
});

it.each([
  ["Extract", "extractions"],
  ["Steering", "steering"],
])("%s opens below, in place of the list, and comes back", async (name, what) => {
  const view = show();
  await view.user.click(cardOf(view, GEMMA).getByRole("button", { name }));
  await waitFor(() => expect(document.activeElement?.textContent).toBe("Back to SAEs"));
  expect(sent(view.model, "show_below")).toMatchObject([{ what, shown: true, sae_id: `sae_${GEMMA}` }]);
  expect(view.page.queryByRole("list", { name: "SAEs" })).toBeNull();
  await view.user.click(view.page.getByRole("button", { name: "Back to SAEs" }));
  await waitFor(() => expect(names(view)).toContain(GEMMA));
  expect(sent(view.model, "show_below").at(-1)).toMatchObject({ what, shown: false });
});

it.each(["Extract", "Steering"])("%s says at the card why it cannot open", async (name) => {
  const failures = { show_below: { what: "Weights not found.", hint: "Locate them." } };
  const view = show(SAES, { failures });
  await view.user.click(cardOf(view, GEMMA).getByRole("button", { name }));
  await waitFor(() =>
    expect(cardOf(view, GEMMA).getByRole("alert").textContent).toContain("Weights not found. Locate them."),
  );
});

it("locates missing files", async () => {
  const view = show();
  const card = cardOf(view, "lab-run-0412");
  await view.user.click(card.getByRole("button", { name: "Locate files" }));
  await view.user.keyboard("/data/lab{Enter}");
  expect(sent(view.model, "locate_sae")).toMatchObject([{ sae_id: "sae_lab-run-0412", path: "/data/lab" }]);
  await waitFor(() => expect(card.queryByText("Weights not found.")).toBeNull());
  expect(card.getByRole("button", { name: "Details" })).toBeTruthy();
});

it("opens the record of the training it came from", async () => {
  const view = show();
  const card = cardOf(view, TRAINED);
  expect(card.getByText("Trained by", { exact: false })).toBeTruthy();
  await view.user.click(card.getByRole("button", { name: `Training record: ${TRAINED}` }));
  await waitFor(() => expect(card.getByRole("table", { name: "Settings of the training" })).toBeTruthy());
  expect(sent(view.model, "show_training")).toMatchObject([{ training_id: "train_1" }]);
  await view.user.click(card.getByRole("button", { name: "Close training record" }));
  expect(card.queryByRole("region", { name: /Training record/ })).toBeNull();
});

it("renames from its menu", async () => {
  const view = show();
  const card = cardOf(view, TRAINED);
  await view.user.click(card.getByRole("button", { name: `More actions: ${TRAINED}` }));
  expect(card.getAllByRole("menuitem").map((item) => item.textContent)).toEqual([
    "Rename",
    "Details",
    "Export",
    "Publish",
    "Copy ID",
    "Delete",
  ]);
  await view.user.keyboard("r{Enter}");
  await view.user.clear(card.getByRole("textbox", { name: `New name of ${TRAINED}` }));
  await view.user.keyboard("better{Enter}");
  expect(sent(view.model, "edit_sae")).toMatchObject([{ sae_id: `sae_${TRAINED}`, name: "better" }]);
  await waitFor(() => expect(view.page.getByRole("listitem", { name: "better" })).toBeTruthy());
});

it("shows histograms with a sentence each, facts, and code to copy", async () => {
  const view = show();
  const card = await openDetails(view, GEMMA);
  await waitFor(() => expect(card.getAllByRole("img")).toHaveLength(4));
  expect(card.getAllByRole("img")[0]?.getAttribute("aria-label")).toContain("Decoder norms: 16,384 latents");
  expect(card.getByText("never")).toBeTruthy();
  expect(card.getByText("layer_12/width_16k/average_l0_82")).toBeTruthy();
  expect(skipping()).toEqual([]);
  const copy = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
  await view.user.click(card.getByRole("button", { name: "Copy code" }));
  expect(copy.mock.calls[0]?.[0]).toContain("import saewidgets as sw");
  await waitFor(() => expect(card.getByRole("button", { name: "Copied" })).toBeTruthy());
});

it("has tabs that arrows reach, each with its panel", async () => {
  const view = show();
  const card = await openDetails(view, GEMMA);
  const tabs = () => card.getAllByRole("tab").map((tab) => tab.textContent);
  expect(tabs()).toEqual(["Statistics", "Configuration", "Load", "Notes"]);
  await waitFor(() => expect(card.getAllByRole("img")).toHaveLength(4));
  card.getByRole("tab", { name: "Statistics" }).focus();
  await view.user.keyboard("{ArrowRight}");
  const table = card.getByRole("table", { name: `Configuration of ${GEMMA}` });
  expect(table.textContent).toContain(HOSTILE);
  expect(view.el.querySelector("img")).toBeNull();
  await view.user.keyboard("{ArrowRight}");
  const panel = within(card.getByRole("tabpanel", { name: "Load" }));
  expect(panel.getAllByRole("button", { name: "Copy code" })).toHaveLength(2);
  expect(panel.getByRole("region", { name: "With SAELens" })).toBeTruthy();
  await view.user.keyboard("{Escape}");
  expect(card.queryByRole("tabpanel")).toBeNull();
  expect(document.activeElement?.textContent).toBe("Details");
  expect(buttons(card)).toContain("Details");
});

it("says what failed while reading the weights, and tries again", async () => {
  const options = { failures: { measure_sae: { what: "The weights are damaged.", hint: "Download it again." } } };
  const view = show(SAES, options);
  const card = await openDetails(view, GEMMA);
  await waitFor(() => expect(card.getByRole("alert").textContent).toContain("The weights are damaged."));
  expect(card.getByText("layer_12/width_16k/average_l0_82")).toBeTruthy();
  view.model.options.failures = {};
  await view.user.click(card.getByRole("button", { name: "Try again" }));
  await waitFor(() => expect(card.getAllByRole("img")).toHaveLength(4));
});

it("does not read weights that are missing", async () => {
  const view = show();
  const card = cardOf(view, "lab-run-0412");
  await view.user.click(card.getByRole("button", { name: "More actions: lab-run-0412" }));
  await view.user.click(card.getByRole("menuitem", { name: "Details" }));
  await waitFor(() => expect(card.getByText(/Statistics need the weights/)).toBeTruthy());
  expect(sent(view.model, "measure_sae")).toEqual([]);
});

it("saves name, notes and tags when asked to, and keeps a draft meanwhile", async () => {
  const view = show();
  const card = await openDetails(view, GEMMA);
  await view.user.click(card.getByRole("tab", { name: "Notes" }));
  await waitFor(() => expect(card.getByRole("textbox", { name: "Notes" })).toBeTruthy());
  expect(card.getByRole("button", { name: "Save notes" }).getAttribute("aria-disabled")).toBe("true");
  await view.user.type(card.getByRole("textbox", { name: "Notes" }), " More.");
  await view.user.type(card.getByRole("textbox", { name: "Tags" }), "dates, , dates,months");
  expect(card.getByText("Not saved yet")).toBeTruthy();
  await view.user.click(card.getByRole("tab", { name: "Load" }));
  await view.user.click(card.getByRole("tab", { name: "Notes" }));
  expect((card.getByRole("textbox", { name: "Notes" }) as HTMLTextAreaElement).value).toBe(
    "Used in the March talk. More.",
  );
  await view.user.click(card.getByRole("button", { name: "Save notes" }));
  const [command] = sent(view.model, "edit_sae");
  expect(command).toMatchObject({ notes: "Used in the March talk. More.", tags: ["dates", "months"] });
  expect(command).not.toHaveProperty("name");
  await waitFor(() => expect(card.getByText("Saved")).toBeTruthy());
});
