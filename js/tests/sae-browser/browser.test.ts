import { waitFor, within } from "@testing-library/preact";
import { expect, it, vi } from "vitest";
import { HOSTILE } from "../../demo/fake";
import { RUNS, SAES, sae } from "../../demo/library";
import { buttons, cardOf, names, sent, show } from "./harness";

const GEMMA = "gemma-scope-2b-res-l12-16k-l0-82";
const TRAINED = "gpt2-l6-topk-k32";

it("is a region with a card per SAE, named by it, with the numbers of the drawing", () => {
  const view = show();
  const region = within(view.page.getByRole("region", { name: "SAE browser" }));
  expect(names(view)).toEqual(SAES.map((card) => card.name));
  expect(region.getByText("6 in this workspace")).toBeTruthy();
  const card = view.page.getByRole("listitem", { name: GEMMA });
  expect(card.textContent).toContain("d_sae 16,384 × d_in 2,304");
  for (const words of ["JumpReLU, L0 82", "google/gemma-2-2b", "layer 12, residual", "Gemma Scope", "canonical"]) {
    expect(within(card).getByText(words)).toBeTruthy();
  }
  expect(card.textContent).toContain("16,384 features extracted");
  expect(card.textContent).toMatch(/SAELens302 MBadded \d minutes ago/);
  expect(view.page.getByRole("listitem", { name: TRAINED }).textContent).not.toContain("features extracted");
  expect(region.getByText("6 of 6 shown, 0 selected")).toBeTruthy();
});

it("imports completed trainings, one or all", async () => {
  const view = show([], {}, { not_imported: RUNS });
  const group = within(view.page.getByRole("group", { name: "Trainings that are not in the library" }));
  expect(group.getByText("3 completed trainings are not in the library: run-a, run-b, run-c")).toBeTruthy();
  await view.user.click(group.getByRole("button", { name: "Choose" }));
  await view.user.click(group.getByRole("button", { name: "Import run-b" }));
  await waitFor(() => expect(names(view)).toEqual(["run-b"]));
  await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe("run-b"));
  await view.user.click(group.getByRole("button", { name: "Import all completed trainings" }));
  await waitFor(() => expect(names(view)).toHaveLength(3));
  expect(sent(view.model, "import_trainings").map((one) => one.training_ids)).toEqual([["train_b"], []]);
  expect(view.page.queryByRole("group", { name: "Trainings that are not in the library" })).toBeNull();
});

it("says which trainings were not imported, and why", async () => {
  const problems = [{ where: "run-a", what: "The files of the SAE are not here.", hint: "They are on gpu-box." }];
  const says = { import_trainings: { done: ["sae_1"], problems } };
  const view = show(SAES, { says }, { not_imported: { ...RUNS, total: 1000 } });
  await view.user.click(view.page.getByRole("button", { name: "Choose" }));
  expect(view.page.getByText("and 997 older ones")).toBeTruthy();
  await view.user.click(view.page.getByRole("button", { name: "Import all completed trainings" }));
  await waitFor(() =>
    expect(view.page.getByRole("alert").textContent).toContain(
      "1 of 2 SAEs was not imported. run-a: The files of the SAE are not here. They are on gpu-box.",
    ),
  );
});

it("has the buttons of the specification", () => {
  const view = show();
  expect(buttons(cardOf(view, GEMMA))).toEqual([
    "Extract",
    "Steering",
    "Export",
    "Delete",
    "Details",
    `More actions: ${GEMMA}`,
  ]);
  expect(buttons(cardOf(view, "lab-run-0412"))).toEqual(["Locate files", "Delete", "More actions: lab-run-0412"]);
  for (const name of ["Add local files", "Download from Hugging Face"]) {
    expect(view.page.getByRole("button", { name })).toBeTruthy();
  }
});

it("says what is wrong with the files", () => {
  const view = show();
  const missing = cardOf(view, "lab-run-0412").getByText("Weights not found.").parentElement;
  expect(missing?.textContent).toBe(
    "Weights not found. sae.safetensors is no longer in its folder. Its notes and settings are kept and can still be read.",
  );
  expect(cardOf(view, "lab-run-0413").getByText("Files changed.")).toBeTruthy();
});

it("shows names, models, labels and tags as text", () => {
  const card = sae({ name: HOSTILE, model: HOSTILE, source_label: HOSTILE, architecture: HOSTILE, tags: [HOSTILE] });
  const missing = { state: "missing", state_note: HOSTILE } as const;
  const { el } = show([{ ...card, ...missing, training_name: HOSTILE }]);
  expect(el.querySelector("img")).toBeNull();
  expect(el.textContent?.split(HOSTILE).length).toBeGreaterThan(6);
});

it("filters by every facet with counts, and offers a way back", async () => {
  const view = show();
  const { page, user, model } = view;
  const source = page.getByRole("combobox", { name: "Source" });
  expect([...source.querySelectorAll("option")].map((option) => option.textContent)).toEqual([
    "All sources",
    "Gemma Scope (1)",
    "Trained (1)",
    "Hugging Face (2)",
    "Local (2)",
  ]);
  for (const name of ["Model", "Layer", "Architecture", "Format", "Sort SAEs"]) {
    expect(page.getByRole("combobox", { name })).toBeTruthy();
  }
  await user.selectOptions(source, "trained");
  expect(sent(model, "browse_saes").at(-1)).toMatchObject({ source: "trained", offset: 0 });
  await waitFor(() => expect(names(view)).toEqual([TRAINED]));
  await user.selectOptions(page.getByRole("combobox", { name: "Model" }), "google/gemma-2-2b");
  await waitFor(() => expect(page.getByText("No SAE matches")).toBeTruthy());
  expect(page.getByText("Source is Trained and Model is google/gemma-2-2b.")).toBeTruthy();
  await user.click(page.getByRole("button", { name: "Clear filters" }));
  await waitFor(() => expect(names(view)).toHaveLength(6));
  expect((source as HTMLSelectElement).value).toBe("");
  await user.selectOptions(page.getByRole("combobox", { name: "Layer" }), "12");
  expect(sent(model, "browse_saes").at(-1)).toMatchObject({ layer: 12 });
});

it("searches when the typing rests, and sorts", async () => {
  const view = show();
  const { page, user, model } = view;
  await user.type(page.getByRole("searchbox", { name: "Search SAEs" }), "pythia");
  await waitFor(() => expect(names(view)).toEqual(["pythia-70m-deduped-res-sm-l3"]));
  await waitFor(() => expect(page.getByText("1 SAE")).toBeTruthy());
  expect(sent(model, "browse_saes").length).toBeLessThan(4);
  await user.keyboard("{Escape}");
  await waitFor(() => expect(names(view)).toHaveLength(6));
  await user.selectOptions(page.getByRole("combobox", { name: "Sort SAEs" }), "Size");
  expect(sent(model, "browse_saes").at(-1)).toMatchObject({ sort: "size", offset: 0 });
});

it("turns pages, so that thousands stay quick", async () => {
  const many = Array.from({ length: 120 }, (_, i) => sae({ name: `run-${i}` }));
  const view = show(many);
  const { page, user } = view;
  expect(names(view)).toHaveLength(50);
  const pages = within(page.getByRole("navigation", { name: "Pages of SAEs" }));
  expect(pages.getByText("1–50 of 120")).toBeTruthy();
  expect(pages.getByRole("button", { name: "Previous" }).getAttribute("aria-disabled")).toBe("true");
  await user.click(pages.getByRole("button", { name: "Next" }));
  await waitFor(() => expect(pages.getByText("51–100 of 120")).toBeTruthy());
  await user.click(pages.getByRole("button", { name: "Next" }));
  await waitFor(() => expect(names(view)).toHaveLength(20));
  expect(pages.getByRole("button", { name: "Next" }).getAttribute("aria-disabled")).toBe("true");
  expect(document.activeElement?.textContent).toBe("Next");
  expect(page.getByText("20 of 120 shown, 0 selected")).toBeTruthy();
  expect(page.getByText("12.1 GB in 120 SAEs")).toBeTruthy();
});

it("is busy until the page that was asked for has come", async () => {
  const many = Array.from({ length: 120 }, (_, i) => sae({ name: `run-${i}` }));
  const view = show(many, { late: true });
  const list = view.page.getByRole("list", { name: "SAEs" });
  await view.user.click(view.page.getByRole("button", { name: "Next" }));
  expect(list.getAttribute("aria-busy")).toBe("true");
  await waitFor(() => expect(names(view)).toContain("run-50"), { timeout: 60_000 });
  await waitFor(() => expect(list.getAttribute("aria-busy")).toBe("false"));
}, 120_000);

it("turns pages by keys, two at once too, and takes the focus along", async () => {
  const many = Array.from({ length: 120 }, (_, i) => sae({ name: `run-${i}` }));
  const view = show(many);
  const { page, user } = view;
  const list = page.getByRole("list", { name: "SAEs" });
  page.getByRole("checkbox", { name: "Select run-3" }).focus();
  await user.keyboard("nn");
  expect(page.getByText("101–120 of 120")).toBeTruthy();
  await waitFor(() => expect(names(view)).toHaveLength(20));
  await waitFor(() => expect(list.getAttribute("aria-busy")).toBe("false"));
  await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe("run-100"));
  await user.keyboard("n");
  await user.keyboard("p");
  await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe("run-50"));
  page.getByRole("searchbox", { name: "Search SAEs" }).focus();
  await user.keyboard("n");
  expect(page.getByText("51–100 of 120")).toBeTruthy();
});

it("selects several, across what is drawn, and says how many", async () => {
  const view = show();
  const { page, user, model } = view;
  const compare = page.getByRole("button", { name: "Compare selected" });
  expect(compare.getAttribute("aria-disabled")).toBe("true");
  await user.click(page.getByRole("checkbox", { name: `Select ${GEMMA}` }));
  await user.click(page.getByRole("checkbox", { name: `Select ${TRAINED}` }));
  expect(sent(model, "select_saes").at(-1)).toMatchObject({ sae_ids: [`sae_${GEMMA}`, `sae_${TRAINED}`] });
  expect(page.getByText("2 selected")).toBeTruthy();
  expect(compare.getAttribute("aria-disabled")).toBeNull();
  await user.click(page.getByRole("checkbox", { name: "Select all shown" }));
  expect(page.getByText("6 of 6 shown, 6 selected")).toBeTruthy();
  expect(compare.getAttribute("aria-disabled")).toBe("true");
  await user.click(page.getByRole("button", { name: "Clear selection" }));
  await waitFor(() => expect(page.getByText("6 of 6 shown, 0 selected")).toBeTruthy());
});

it("is empty with the next actions, and trains the demo", async () => {
  const { page, user, model } = show([]);
  expect(page.getByText("No SAEs yet")).toBeTruthy();
  const empty = within(page.getByText("No SAEs yet").parentElement as HTMLElement);
  expect(buttons(empty)).toEqual(["Download from Hugging Face", "Add local files", "Train the demo"]);
  await user.click(empty.getByRole("button", { name: "Train the demo" }));
  await waitFor(() => expect(page.getByText("demo-l1-topk-k32 is training.")).toBeTruthy());
  expect(sent(model, "train_demo")).toHaveLength(1);
});

it("opens the download in its place and comes back to what was downloaded", async () => {
  const view = show();
  const { page, user, model } = view;
  await user.click(page.getByRole("button", { name: "Download from Hugging Face" }));
  await waitFor(() => expect(page.getByRole("button", { name: "Back to SAEs" })).toBeTruthy());
  expect(page.queryByRole("list", { name: "SAEs" })).toBeNull();
  const made = sae({ name: "fresh" });
  model.setState({ below: "", cards: [made, ...SAES], selected: [made], total: 7, matching: 7 });
  await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe("fresh"));
});

it("uses / ? and Esc, and keeps keys from the notebook", async () => {
  const { page, user } = show();
  const outside = vi.fn();
  document.addEventListener("keydown", outside);
  page.getByRole("checkbox", { name: `Select ${GEMMA}` }).focus();
  await user.keyboard("?");
  expect(page.getByRole("group", { name: "Keys" })).toBeTruthy();
  await user.keyboard("{Escape}/");
  expect(document.activeElement).toBe(page.getByRole("searchbox", { name: "Search SAEs" }));
  expect(outside).not.toHaveBeenCalled();
  document.removeEventListener("keydown", outside);
});

it("says that the kernel is gone", async () => {
  const { page, el } = show(SAES, { silent: true });
  el.classList.add("jupyter-widgets-disconnected");
  await waitFor(() => expect(page.getByText("Not connected.")).toBeTruthy());
  expect(page.getByText(/Run the cell again for a live browser/)).toBeTruthy();
  expect(page.getByRole("button", { name: "Download from Hugging Face" }).closest("fieldset:disabled")).not.toBeNull();
});

it("says that a press waits behind a running cell", async () => {
  const { page, user } = show(SAES, { late: true });
  await user.click(page.getByRole("button", { name: "Download from Hugging Face" }));
  await waitFor(() => expect(page.getByText("Kernel busy.")).toBeTruthy());
  await waitFor(() => expect(page.queryByText("Kernel busy.")).toBeNull());
});

it("leaves nothing behind when the view is closed", () => {
  const { el, close } = show();
  close();
  expect(el.innerHTML).toBe("");
});

it("opens the details of the SAE that was asked for elsewhere", async () => {
  const last = SAES.at(-1)?.id ?? "";
  const view = show(SAES, {}, { revealed: last, total: SAES.length });
  await waitFor(() => expect(view.page.getByRole("tab", { name: "Statistics" })).toBeTruthy());
  const card = view.page.getByRole("listitem", { name: SAES.at(-1)?.name ?? "" });
  expect(within(card).getByRole("tab", { name: "Statistics" })).toBeTruthy();
  view.model.setState({ revealed: SAES[0]?.id ?? "" });
  await waitFor(() => expect(view.page.getAllByRole("tab", { name: "Statistics" }).length).toBe(2));
});
