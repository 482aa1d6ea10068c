import { waitFor, within } from "@testing-library/preact";
import { describe, expect, it } from "vitest";
import { RUNS } from "../../demo/library";
import { CARDS, EXT, extraction, FAILED, LOGITS_JOB, NO_SAES, RUNNING, viewer } from "../../demo/viewer";
import { EMPTY_VIEWER } from "../../src/lib/wire";
import { type Shown, sent, show } from "./harness";

const GEMMA = "gemma-scope-2b-res-l12-16k-l0-82";
const card = ({ page }: Shown, name: string) => within(page.getByRole("listitem", { name }) as HTMLElement);
const jobs = () => show(viewer({ open: null }));

describe("without anything", () => {
  const nothing = () => show(viewer({ cards: [], total: 0, active: 0, open: null }));
  it("offers an extraction and the demo", async () => {
    const view = nothing();
    expect(view.page.getByRole("heading", { name: "No features yet" })).toBeTruthy();
    expect(view.page.getAllByRole("button").map((one) => one.textContent)).toEqual([
      "Start extraction",
      "Try the demo SAE",
    ]);
    await view.user.click(view.page.getByRole("button", { name: "Try the demo SAE" }));
    await waitFor(() => expect(view.page.getByRole("grid", { name: "Features" })).toBeTruthy());
    expect(sent(view.model, "try_demo")).toHaveLength(1);
  });
  it("says what went wrong with the demo, and lets it be tried again", async () => {
    const failures = { try_demo: { what: "No space left.", hint: "Free 12 MB." } };
    const view = show(viewer({ cards: [], total: 0, active: 0, open: null }), { failures });
    await view.user.click(view.page.getByRole("button", { name: "Try the demo SAE" }));
    await waitFor(() => expect(view.page.getByRole("alert").textContent).toContain("No space left. Free 12 MB."));
    expect(view.page.getByRole("button", { name: "Try the demo SAE" }).getAttribute("aria-disabled")).toBeNull();
  });
});

describe("the list of extractions", () => {
  it("has a card for each, with its progress and its buttons", () => {
    const view = jobs();
    expect(view.page.getByText("3 extractions")).toBeTruthy();
    expect(within(view.page.getByRole("list", { name: "Extractions" })).getAllByRole("listitem")).toHaveLength(3);
    const running = card(view, RUNNING.name);
    expect(
      running.getByRole("progressbar", { name: `Extraction of ${RUNNING.name}` }).getAttribute("aria-valuenow"),
    ).toBe("41");
    expect(running.getByRole("button", { name: "Pause" })).toBeTruthy();
    expect(running.getByRole("button", { name: "Cancel" })).toBeTruthy();
    expect(card(view, GEMMA).queryByRole("progressbar")).toBeNull();
    expect(card(view, FAILED.name).getByRole("alert").textContent).toContain(
      "Out of memory on cuda:0 at 360,448 tokens.",
    );
  });
  it("pauses, and says so while that is under way", async () => {
    const view = jobs();
    await view.user.click(card(view, RUNNING.name).getByRole("button", { name: "Pause" }));
    await waitFor(() => expect(card(view, RUNNING.name).getByText("Pausing…")).toBeTruthy());
    await waitFor(() => expect(card(view, RUNNING.name).getByRole("button", { name: "Resume" })).toBeTruthy());
    expect(sent(view.model, "extraction_action")).toMatchObject([{ extraction_id: RUNNING.id, action: "pause" }]);
  });
  it("asks before it deletes, naming what is lost and what stays", async () => {
    const view = jobs();
    await view.user.click(card(view, FAILED.name).getByRole("button", { name: "Delete" }));
    const question = card(view, FAILED.name).getByText(`Delete the extraction of ${FAILED.name}?`).parentElement;
    expect(question?.textContent).toContain(
      "Its statistics and examples (318 MB) go too. Labels, stars and notes stay.",
    );
    expect(document.activeElement?.textContent).toBe("Keep");
    await view.user.keyboard("{Escape}");
    expect(sent(view.model, "extraction_action")).toEqual([]);
    expect(document.activeElement?.textContent).toBe("Delete");
    await view.user.click(card(view, FAILED.name).getByRole("button", { name: "Delete" }));
    await view.user.click(card(view, FAILED.name).getByRole("button", { name: "Delete extraction" }));
    await waitFor(() => expect(view.page.queryByRole("listitem", { name: FAILED.name })).toBeNull());
  });
  it("opens the features of one that is complete", async () => {
    const view = jobs();
    await view.user.click(card(view, GEMMA).getByRole("button", { name: "Open features" }));
    await waitFor(() => expect(view.page.getByRole("grid", { name: "Features" })).toBeTruthy());
    const id = `ext_${GEMMA}`;
    expect(sent(view.model, "show_view").at(0)?.view).toMatchObject({ extraction_id: id, tab: "features" });
    await waitFor(() => expect(sent(view.model, "query_features")[0]).toMatchObject({ extraction_id: id, offset: 0 }));
    // none was chosen: the first one of the list
    await waitFor(() => expect(view.page.getByRole("region", { name: "Feature 0" })).toBeTruthy());
  });
  it("says when they cannot be opened, and stays", async () => {
    const view = show(viewer({ open: null }), {
      failures: { show_view: { what: "The files are gone.", hint: "Extract again." } },
    });
    await view.user.click(card(view, GEMMA).getByRole("button", { name: "Open features" }));
    await waitFor(() =>
      expect(view.page.getAllByRole("alert")[0]?.textContent).toContain("The files are gone. Extract again."),
    );
    expect(view.page.queryByText("Opening the features…")).toBeNull();
    expect(view.page.getByRole("list", { name: "Extractions" })).toBeTruthy();
  });
  it("exports all features of one", async () => {
    const view = jobs();
    await view.user.click(card(view, GEMMA).getByRole("button", { name: "Export" }));
    const form = within(view.page.getByRole("form", { name: `Export features of ${GEMMA}` }));
    await view.user.selectOptions(form.getByRole("combobox", { name: "Format" }), "neuronpedia");
    expect((form.getByRole("textbox", { name: "Write to" }) as HTMLInputElement).value).toBe(`${GEMMA}-neuronpedia`);
    await view.user.click(form.getByRole("button", { name: "Write" }));
    await waitFor(() =>
      expect(card(view, GEMMA).getByText(`Written to /workspace/${GEMMA}-neuronpedia.`, { exact: false })).toBeTruthy(),
    );
    expect(sent(view.model, "export_features")).toMatchObject([{ what: "neuronpedia", indices: null, query: null }]);
  });
  it("has the same actions in its menu", async () => {
    const view = jobs();
    await view.user.click(card(view, GEMMA).getByRole("button", { name: `More actions: ${GEMMA}` }));
    const items = card(view, GEMMA)
      .getAllByRole("menuitem")
      .map((one) => one.textContent);
    expect(items).toEqual(["Open features", "Export", "Compute all logits", "Copy ID", "Delete"]);
  });
  it("computes the logit effects of all features, paused and cancelled on the card", async () => {
    const view = jobs();
    const one = card(view, GEMMA);
    await view.user.click(one.getByRole("button", { name: `More actions: ${GEMMA}` }));
    await view.user.click(one.getByRole("menuitem", { name: "Compute all logits" }));
    const name = `Logit effects of ${GEMMA}`;
    await waitFor(() => expect(one.getByRole("progressbar", { name }).getAttribute("aria-valuenow")).toBe("25"));
    expect(document.activeElement?.getAttribute("aria-label")).toBe(`More actions: ${GEMMA}`);
    const job = within(one.getByRole("group", { name }));
    expect(job.getByText("4,096 of 16,384 features")).toBeTruthy();
    await view.user.click(job.getByRole("button", { name: "Pause" }));
    await waitFor(() => expect(job.getByText("Paused")).toBeTruthy());
    await view.user.click(job.getByRole("button", { name: "Resume" }));
    await waitFor(() => expect(job.getByText("Running")).toBeTruthy());
    await view.user.click(job.getByRole("button", { name: "Cancel" }));
    await waitFor(() => expect(one.queryByRole("group", { name })).toBeNull());
    expect(sent(view.model, "logits_action").map((command) => command.action)).toEqual([
      "start",
      "pause",
      "resume",
      "cancel",
    ]);
    view.model.setState({ cards: CARDS.map((one) => (one.name === GEMMA ? { ...one, has_logits: true } : one)) });
    await waitFor(() => expect(card(view, GEMMA).getByText("all logit effects")).toBeTruthy());
    await view.user.click(card(view, GEMMA).getByRole("button", { name: `More actions: ${GEMMA}` }));
    expect(card(view, GEMMA).queryByRole("menuitem", { name: "Compute all logits" })).toBeNull();
  });
  it("says why logit effects failed", () => {
    const note = { what: "The disk is full.", where: null, hint: "Free some.", kind: "error" };
    const cards = [extraction({ name: GEMMA, logits: { ...LOGITS_JOB, status: "failed", note } })];
    const view = show(viewer({ open: null, cards, total: 1 }));
    const job = within(view.page.getByRole("group", { name: `Logit effects of ${GEMMA}` }));
    expect(job.getByRole("alert").textContent).toContain("The disk is full. Free some.");
    expect(job.getAllByRole("button").map((one) => one.textContent)).toEqual(["Resume"]);
  });
  it("is a tab with the number of those that run when features are open", async () => {
    const view = show(viewer());
    const tab = view.page.getByRole("tab", { name: "Jobs 1" });
    await view.user.click(tab);
    expect(tab.getAttribute("aria-selected")).toBe("true");
    expect(view.page.getByRole("list", { name: "Extractions" })).toBeTruthy();
    expect(view.page.getByRole("tab", { name: "Features 16,384" })).toBeTruthy();
    expect(view.page.getByRole("tab", { name: "On a prompt" })).toBeTruthy();
  });
});

describe("Start extraction", () => {
  const begin = async (options = {}) => {
    const view = show(viewer(), options);
    await view.user.click(view.page.getByRole("button", { name: "Start extraction" }));
    const dialog = within(await view.page.findByRole("dialog", { name: "Choose an SAE" }));
    await dialog.findByRole("table", { name: "SAEs" });
    return { view, dialog };
  };
  const options = async ({ view, dialog }: Awaited<ReturnType<typeof begin>>) => {
    await view.user.click(dialog.getByRole("button", { name: "Continue" }));
    const form = within(await view.page.findByRole("dialog", { name: "Start extraction" }));
    await form.findByText("58 MB", { exact: false });
    return form;
  };

  it("offers the demo SAE where the library has none", async () => {
    const view = show(viewer({ open: null, cards: [], view: EMPTY_VIEWER.view }), { says: { list_saes: NO_SAES } });
    await view.user.click(view.page.getAllByRole("button", { name: "Start extraction" })[0] as HTMLElement);
    const dialog = within(await view.page.findByRole("dialog", { name: "Choose an SAE" }));
    await view.user.click(await dialog.findByRole("button", { name: "Try the demo SAE" }));
    expect(view.page.queryByRole("dialog")).toBeNull();
    expect(sent(view.model, "try_demo")).toHaveLength(1);
  });
  it("offers the ways to get one where the library has none", async () => {
    const state = viewer({ open: null, cards: [], view: EMPTY_VIEWER.view, code: "ws" });
    const view = show(state, { says: { list_saes: NO_SAES } });
    await view.user.click(view.page.getAllByRole("button", { name: "Start extraction" })[0] as HTMLElement);
    const dialog = within(await view.page.findByRole("dialog", { name: "Choose an SAE" }));
    const download = await dialog.findByRole("button", { name: "Download from Hugging Face" });
    await view.user.click(download);
    await waitFor(() => expect(download.getAttribute("aria-expanded")).toBe("true"));
    await view.user.click(dialog.getByRole("button", { name: "Add local files" }));
    expect(dialog.getByText("sw.SAEBrowser(ws)")).toBeTruthy();
    const before = sent(view.model, "list_saes").length;
    view.model.setState({ n_saes: 1 }); // it has arrived
    await waitFor(() => expect(sent(view.model, "list_saes").length).toBe(before + 1));
    await view.user.click(dialog.getByRole("button", { name: "Cancel" }));
    await waitFor(() => expect(view.model.state.below).toBe(""));
    expect(sent(view.model, "show_download").map((one) => one.shown)).toEqual([true, false]);
  });
  it("imports a training in place and chooses its SAE", async () => {
    const { view, dialog } = await begin({ says: { list_saes: { not_imported: RUNS } } });
    await view.user.click(dialog.getByRole("button", { name: "Choose" }));
    await view.user.click(dialog.getByRole("button", { name: "Import run-b" }));
    await waitFor(() => expect(sent(view.model, "import_trainings")).toMatchObject([{ training_ids: ["train_b"] }]));
    await waitFor(() => expect((dialog.getByRole("radio", { name: GEMMA }) as HTMLInputElement).checked).toBe(true));
  });
  it("first asks for an SAE", async () => {
    const { view, dialog } = await begin();
    expect(dialog.getAllByRole("radio").map((one) => one.getAttribute("aria-label"))).toEqual([
      "gpt2-l6-topk-k32",
      GEMMA,
      "pythia-70m-deduped-res-sm-l3",
    ]);
    expect(dialog.getByRole("status").textContent).toBe("3 of 6 SAEs; 1 has no files, 1 is being downloaded");
    expect(document.activeElement).toBe(dialog.getByRole("radio", { name: "gpt2-l6-topk-k32" }));
    await view.user.selectOptions(dialog.getByRole("combobox", { name: "Source" }), "gemma_scope");
    await waitFor(() => expect(dialog.getAllByRole("radio")).toHaveLength(1));
    expect((dialog.getByRole("radio", { name: GEMMA }) as HTMLInputElement).checked).toBe(true);
    await view.user.type(dialog.getByRole("searchbox", { name: "Search SAEs" }), "nothing");
    await waitFor(() => expect(dialog.getByRole("heading", { name: "No SAE matches" })).toBeTruthy());
    await view.user.click(dialog.getByRole("button", { name: "Clear filters" }));
    await waitFor(() => expect(dialog.getAllByRole("radio")).toHaveLength(3));
  });

  it("then for its options, with what it will cost", async () => {
    const begun = await begin();
    await begun.view.user.click(begun.dialog.getByRole("radio", { name: GEMMA }));
    const form = await options(begun);
    expect(sent(begun.view.model, "extraction_form")).toMatchObject([{ sae_id: "sae_gemma", extraction_id: null }]);
    for (const name of [
      "Corpus",
      "Tokens",
      "Context length",
      "Examples per feature",
      "Per interval",
      "Minimum activation",
    ]) {
      expect(form.getByRole("textbox", { name })).toBeTruthy();
    }
    for (const name of ["Skip special tokens", "Skip tokens with norm above 10 × median"]) {
      expect((form.getByRole("checkbox", { name }) as HTMLInputElement).checked).toBe(true);
    }
    const estimate = form.getByRole("group", { name: "Estimate" }).textContent;
    expect(estimate).toContain("Time ≈ 1 min 50 s on cuda:0");
    expect(estimate).toContain("41 GB free");
    await begun.view.user.click(form.getByRole("button", { name: "Back" }));
    const dialog = within(await begun.view.page.findByRole("dialog", { name: "Choose an SAE" }));
    expect((dialog.getByRole("radio", { name: GEMMA }) as HTMLInputElement).checked).toBe(true);
  });

  it("puts errors at their fields, and the focus on the first one when it is started all the same", async () => {
    const begun = await begin();
    const form = await options(begun);
    const tokens = form.getByRole("textbox", { name: "Tokens" }) as HTMLInputElement;
    await begun.view.user.clear(tokens);
    await begun.view.user.type(tokens, "none");
    await begun.view.user.click(form.getByRole("button", { name: "Start extraction" }));
    await waitFor(() => expect(document.activeElement).toBe(tokens));
    expect(tokens.getAttribute("aria-invalid")).toBe("true");
    const words = document.getElementById(tokens.getAttribute("aria-describedby") ?? "")?.textContent;
    expect(words).toBe("Tokens is none. Enter 1 or more; 1,000,000 is usual.");
    expect(form.getByText("1 field needs attention:", { exact: false })).toBeTruthy();
    expect(sent(begun.view.model, "start_extraction")).toEqual([]);
  });

  it("starts it, and shows its card", async () => {
    const begun = await begin();
    const form = await options(begun);
    await begun.view.user.click(form.getByRole("checkbox", { name: "Skip special tokens" }));
    await begun.view.user.click(form.getByRole("button", { name: "Start extraction" }));
    await waitFor(() => expect(begun.view.page.getAllByRole("listitem", { name: "gpt2-l6-topk-k32" })).toHaveLength(2));
    const [command] = sent(begun.view.model, "start_extraction");
    expect(command).toMatchObject({
      sae_id: "sae_gpt2",
      values: { tokens: 1_000_000, exclude_special_tokens: false, max_norm_ratio: 10 },
    });
    await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe("gpt2-l6-topk-k32"));
  });

  it("keeps what was typed when it cannot be started, at the field it concerns", async () => {
    const failures = {
      start_extraction: { what: "The corpus is gone.", fields: { corpus: "There is no such dataset." } },
    };
    const form = await options(await begin({ failures }));
    (form.getByRole("button", { name: "Start extraction" }) as HTMLElement).click();
    await waitFor(() => expect(form.getByText("There is no such dataset.")).toBeTruthy());
    expect(document.activeElement).toBe(form.getByRole("textbox", { name: "Corpus" }));
  });

  it("closes with Esc", async () => {
    const { view } = await begin();
    await view.user.keyboard("{Escape}");
    expect(view.page.queryByRole("dialog")).toBeNull();
    expect(view.page.getByRole("grid", { name: "Features" })).toBeTruthy();
  });

  it("takes the values of an extraction that failed", async () => {
    const view = jobs();
    await view.user.click(card(view, FAILED.name).getByRole("button", { name: "Edit and retry" }));
    await view.page.findByRole("dialog", { name: "Start extraction" });
    expect(sent(view.model, "extraction_form")).toMatchObject([{ sae_id: FAILED.sae_id, extraction_id: FAILED.id }]);
  });
});

describe("asked for by Python or by the SAE browser", () => {
  const view = { ...EMPTY_VIEWER.view, dialog_sae: "sae_gemma" };
  it("opens with the options of that SAE, and says when it is closed", async () => {
    const shown = show(viewer({ open: null, view }));
    const form = within(await shown.page.findByRole("dialog", { name: "Start extraction" }));
    expect(sent(shown.model, "extraction_form")).toMatchObject([{ sae_id: "sae_gemma", extraction_id: null }]);
    await shown.user.click(form.getByRole("button", { name: "Cancel" }));
    await waitFor(() => expect(sent(shown.model, "show_view").at(-1)?.view.dialog_sae).toBeNull());
    expect(shown.page.queryByRole("dialog")).toBeNull();
  });
  it("opens later, too, and closes when Python says so", async () => {
    const shown = show(viewer());
    shown.model.setState({ view: { ...shown.model.state.view, dialog_sae: "sae_gpt2" } });
    await shown.page.findByRole("dialog", { name: "Start extraction" });
    shown.model.setState({ view: { ...shown.model.state.view, dialog_sae: null } });
    await waitFor(() => expect(shown.page.queryByRole("dialog")).toBeNull());
  });
  it("offers the other SAEs when that one has no options", async () => {
    const failures = { extraction_form: { what: "Weights not found.", hint: "Locate them." } };
    const shown = show(viewer({ open: null, view }), { failures });
    const dialog = within(await shown.page.findByRole("dialog", { name: "Choose an SAE" }));
    await waitFor(() => expect(dialog.getByRole("table", { name: "SAEs" })).toBeTruthy());
    expect(dialog.getByRole("alert").textContent).toContain("Weights not found. Locate them.");
  });
});

it("says why the features of an extraction cannot be shown, in place of waiting for them", () => {
  const notice = { what: "The files are gone.", where: null, hint: "Extract again.", kind: "error" };
  const shown = show(viewer({ open: null, notice, view: { ...EMPTY_VIEWER.view, extraction_id: EXT, feature: 3 } }));
  expect(shown.page.getAllByRole("alert")[0]?.textContent).toContain("The files are gone. Extract again.");
  expect(shown.page.queryByText("Opening the features…")).toBeNull();
  expect(shown.page.getByRole("list", { name: "Extractions" })).toBeTruthy();
});

it("shows other extractions of the same SAE without losing the feature", async () => {
  const view = show(viewer());
  await waitFor(() => expect(view.page.getByRole("region", { name: "Feature 7451" })).toBeTruthy());
  await view.user.selectOptions(view.page.getByRole("combobox", { name: "Extraction" }), `${EXT}-old`);
  await waitFor(() =>
    expect(sent(view.model, "open_feature").at(-1)).toMatchObject({ extraction_id: `${EXT}-old`, index: 7451 }),
  );
});

it("shows names as text, whatever they are", () => {
  const name = "<img src=x onerror=alert(1)>";
  const view = show(viewer({ open: null, cards: [...CARDS, extraction({ name, source_label: name })] }));
  expect(view.el.querySelector("img")).toBeNull();
  expect(card(view, name)).toBeTruthy();
});
