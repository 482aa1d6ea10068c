import { waitFor, within } from "@testing-library/preact";
import { describe, expect, it, vi } from "vitest";
import { HOSTILE } from "../../demo/fake";
import { EXT, extraction, opened, viewer } from "../../demo/viewer";
import { EMPTY_VIEWER } from "../../src/lib/wire";
import { skipping } from "../harness";
import { feature, press, ready, selected, sent, show, shown } from "./harness";

const at = (index: number) => viewer({ view: { ...EMPTY_VIEWER.view, extraction_id: EXT, feature: index } });

describe("the page of a feature", () => {
  it("has its figures, and what they mean", async () => {
    const [view, page] = await shown();
    const words = view.el.querySelector(".statg")?.textContent;
    for (const part of ["0.24 %", "2,380 of 1M tokens", "41.7", "9.42", "611 of 3,906"]) expect(words).toContain(part);
    expect(page.getByRole("img", { name: "Histogram of non-zero activations, 0 to 41.7" })).toBeTruthy();
    await view.user.click(page.getByRole("button", { name: "Help: Density" }));
    expect(page.getByText("Share of tokens on which it fires: 2,380 of 1,000,000.", { exact: false })).toBeTruthy();
  });

  it("brings logits and neighbours after it, and goes to a neighbour", async () => {
    const [view, page] = await shown();
    await waitFor(() => expect(page.getByRole("list", { name: "Raises the logit of" })).toBeTruthy());
    expect(within(page.getByRole("list", { name: "Lowers the logit of" })).getByText("−0.81")).toBeTruthy();
    const table = within(await page.findByRole("table", { name: "Similar features" }));
    expect(table.getByText("0.41")).toBeTruthy();
    expect(within(page.getByRole("table", { name: "Co-activating features" })).getByText("100 %")).toBeTruthy();
    expect(page.getByRole("table", { name: "Tokens it peaks at" })).toBeTruthy();
    expect(skipping()).toEqual([]);
    await view.user.click(table.getByRole("button", { name: "Open feature 1326" }));
    await ready(view, 1326);
    await waitFor(() => expect(selected(view)).toBe("1326"));
  });

  it("shows the examples first, and holds the place of logits that come later", async () => {
    const [view, page] = await shown(viewer(), { delays: { feature_logits: 100 } });
    const isBefore = (one: Element, other: Element) => one.compareDocumentPosition(other) & 4;
    const examples = page.getByRole("region", { name: "Examples" });
    const figure = page.getByRole("img", { name: /^Histogram of non-zero/ });
    expect(isBefore(examples, figure)).toBeTruthy();
    expect(isBefore(figure, page.getByRole("region", { name: "Examples by interval" }))).toBeTruthy();
    expect(view.el.querySelectorAll(".lgt.held, .no-fig.held")).toHaveLength(2);
    await waitFor(() => expect(page.getByRole("list", { name: "Raises the logit of" })).toBeTruthy());
    expect(view.el.querySelector(".held")).toBeNull();
  });

  it("holds no place for logits when the feature before had none", async () => {
    const [view, page] = await shown(viewer(), { failures: { feature_logits: { what: "The model is gone." } } });
    await waitFor(() => expect(page.getByText("The model is gone.")).toBeTruthy());
    await view.user.click(page.getByRole("button", { name: "Next feature" }));
    await ready(view, 7452);
    expect(view.el.querySelector(".lgt.held")).toBeNull();
  });

  it("does without logits and neighbours, and asks for them again", async () => {
    const gone = { what: "The model is gone.", hint: "Download it." };
    const [view, page] = await shown(viewer(), { failures: { feature_logits: gone, feature_relations: gone } });
    await waitFor(() => expect(page.getAllByText("The model is gone.")).toHaveLength(2));
    expect(page.getByRole("list", { name: "Top activations" })).toBeTruthy();
    view.model.options.failures = {};
    for (const button of page.getAllByRole("button", { name: "Try again" })) await view.user.click(button);
    await waitFor(() => expect(page.getByRole("list", { name: "Raises the logit of" })).toBeTruthy());
    await waitFor(() => expect(page.getByRole("table", { name: "Similar features" })).toBeTruthy());
  });

  it("says where logits are from, beside what there is of them", async () => {
    const note = { what: "From stored tables: it is gone.", where: null, hint: null, kind: "error" };
    const [view, page] = await shown(viewer(), { says: { feature_logits: { problem: note, histogram: null } } });
    await waitFor(() => expect(page.getByText(note.what)).toBeTruthy());
    expect(page.getByRole("list", { name: "Raises the logit of" })).toBeTruthy();
    const figures = page.getAllByRole("img", { name: /^(Histogram|Logit effects)/ }).length;
    const other = { ...note, what: "The SAE has other weights now." };
    view.model.options.says = { feature_logits: { problem: other } };
    await view.user.click(page.getByRole("button", { name: "Try again" }));
    await waitFor(() => expect(page.getByText("The SAE has other weights now.")).toBeTruthy());
    expect(page.getAllByRole("img", { name: /^(Histogram|Logit effects)/ })).toHaveLength(figures + 1);
    expect(page.queryByRole("button", { name: "Try again" })).toBeNull();
  });

  it("goes to the previous, the next, a random one, and to a number", async () => {
    const [view] = await shown();
    await waitFor(() => expect(selected(view)).toBe("7451"));
    await view.user.click(feature(view, 7451).getByRole("button", { name: "Next feature" }));
    await ready(view, 7452);
    await view.user.click(feature(view, 7452).getByRole("button", { name: "Previous feature" }));
    await ready(view);
    // its neighbours are in the list: nobody has to be asked
    expect(sent(view.model, "step_feature").filter((one) => one.step !== "here")).toEqual([]);
    await view.user.click(feature(view, 7451).getByRole("button", { name: "Random feature" }));
    await waitFor(() => expect(sent(view.model, "step_feature").at(-1)).toMatchObject({ step: "random", index: 7451 }));
    await waitFor(() => expect(view.page.queryByRole("region", { name: "Feature 7451" })).toBeNull());
    const box = view.page.getByRole("textbox", { name: "Feature index" }) as HTMLInputElement;
    await view.user.retype(box, "99999{Enter}");
    expect(view.page.getByText("Enter 0 to 16383.")).toBeTruthy();
    expect(box.getAttribute("aria-invalid")).toBe("true");
    await view.user.retype(box, "310{Enter}");
    await ready(view, 310);
    await waitFor(() => expect(selected(view)).toBe("310"));
  });

  it("has its neighbours at once, and reads them again when something was said", async () => {
    const [view] = await shown();
    const asked = () => sent(view.model, "open_feature").map(({ index }) => index);
    await waitFor(() => expect(asked()).toEqual([7451, 7452, 7450]));
    view.model.options.delays = { open_feature: 1000 };
    await view.user.click(feature(view, 7451).getByRole("button", { name: "Next feature" }));
    const region = view.page.getByRole("region", { name: "Feature 7452" });
    expect(region.getAttribute("aria-busy")).toBe("false");
    expect(region.querySelector(".stale")).toBeNull();
    await waitFor(() => expect(asked().slice(3)).toEqual([7453])); // the one before is known
    view.model.options.delays = {};
    view.model.setState({ features_revision: view.model.state.features_revision + 1 });
    await waitFor(() => expect(asked().slice(4)).toEqual([7452, 7453, 7451]));
  });

  it("drops answers about a feature that is no longer shown", async () => {
    const [view] = await shown(viewer(), { delays: { open_feature: 150 } });
    const next = () => view.page.getByRole("button", { name: "Next feature" });
    await waitFor(() => expect(selected(view)).toBe("7451"));
    await view.user.click(next());
    const region = view.page.getByRole("region", { name: "Feature 7452" });
    expect(region.getAttribute("aria-busy")).toBe("true");
    // what is there of the one before can be seen, not used
    expect(region.querySelector(".fp-body")?.hasAttribute("inert")).toBe(true);
    await view.user.click(next());
    await ready(view, 7453);
    await new Promise((done) => setTimeout(done, 200));
    expect(view.page.getByRole("region", { name: "Feature 7453" }).getAttribute("aria-busy")).toBe("false");
    expect(view.el.querySelector(".fp-body")?.hasAttribute("inert")).toBe(false);
  });

  it("says when a feature cannot be read, and does not show another one in its place", async () => {
    const [view] = await shown();
    await waitFor(() => expect(selected(view)).toBe("7451"));
    view.model.options.failures = { open_feature: { what: "Row 7452 is damaged.", hint: "Extract again." } };
    await view.user.click(view.page.getByRole("button", { name: "Next feature" }));
    const page = feature(view, 7452);
    await waitFor(() => expect(page.getByRole("alert").textContent).toContain("Row 7452 is damaged. Extract again."));
    expect(view.el.querySelector(".statg")).toBeNull();
    view.model.options.failures = {};
    await view.user.click(page.getByRole("button", { name: "Try again" }));
    await ready(view, 7452);
  });

  it("is of a dead feature too", async () => {
    const [view, page] = await shown(at(7460));
    expect(page.getByRole("heading", { name: "Feature 7460 did not fire" })).toBeTruthy();
    expect(page.getByText("Not once in 1,000,000 tokens.", { exact: false })).toBeTruthy();
    expect(page.queryByRole("list", { name: "Top activations" })).toBeNull();
    await new Promise((done) => setTimeout(done, 250));
    expect(sent(view.model, "feature_logits")).toEqual([]);
    await view.user.click(page.getByRole("button", { name: "Show logit effects" }));
    await waitFor(() => expect(page.getByRole("list", { name: "Raises the logit of" })).toBeTruthy());
    await view.user.click(page.getByRole("button", { name: "Next live feature" }));
    await waitFor(() =>
      expect(sent(view.model, "step_feature").at(-1)).toMatchObject({ step: "next_live", index: 7460 }),
    );
    await ready(view, 7461);
  });

  it("copies the code that shows it again", async () => {
    const [view, page] = await shown();
    const write = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
    await view.user.click(page.getByRole("button", { name: "Copy link to this view" }));
    expect(write).toHaveBeenCalledWith(`sw.ExtractionViewer(view={"extraction_id": "${EXT}", "feature": 7451})`);
    // with the text that is tested, here an example
    await view.user.click(page.getAllByRole("button", { name: "Test this" })[4] as HTMLElement);
    await waitFor(() => expect(page.getByRole("group", { name: "Tested text" })).toBeTruthy());
    const box = page.getByRole("textbox", { name: "Text to test" }) as HTMLTextAreaElement;
    expect(document.activeElement).toBe(box);
    expect(box.value).toContain("four frigates were");
    expect(view.el.querySelector(".ex.open")).toBeNull();
    await view.user.click(page.getByRole("button", { name: "Copy link to this view" }));
    expect(write).toHaveBeenLastCalledWith(expect.stringContaining(`"feature": 7451, "test": "${box.value}"})`));
    await waitFor(() => expect(view.model.state.view.test).toBe(box.value));
  });

  it("shows what to copy where the page may not", async () => {
    const [view, page] = await shown();
    vi.spyOn(navigator.clipboard, "writeText").mockRejectedValue(new Error("no"));
    await view.user.click(page.getByRole("button", { name: "Copy link to this view" }));
    await waitFor(() => expect(page.getByText("This page may not use the clipboard.")).toBeTruthy());
    expect(page.getByText("Copy it by hand: sw.ExtractionViewer", { exact: false })).toBeTruthy();
  });

  it("gets the focus back to Steer when Steering is closed", async () => {
    const [view, page] = await shown();
    await view.user.click(page.getByRole("button", { name: "Steer" }));
    view.model.setState({ below: "steering" });
    (document.activeElement as HTMLElement).blur();
    view.model.setState({ below: "" });
    await waitFor(() => expect(document.activeElement?.textContent).toBe("Steer"));
  });
  it("draws names and labels so that they turn nothing around them", async () => {
    const evil = "\u202Eevil\x07";
    const open = opened({ name: evil, model: evil, versions: [{ value: EXT, label: evil, count: null }] });
    const [view, page] = await shown(viewer({ open, cards: [extraction({ id: EXT, name: evil, sae_id: "s" })] }));
    const label = page.getByRole("textbox", { name: "Label" }) as HTMLInputElement;
    expect(label.dir).toBe("auto");
    await view.user.retype(label, "\u202Eabc");
    expect(label.value).toBe("\u202Eabc"); // what is typed stays as it is
    expect(page.getByText("Not drawn in the box: ⟨202E⟩")).toBeTruthy();
    await view.user.click(view.page.getByRole("tab", { name: /^Jobs/ }));
    expect(view.page.getByRole("listitem", { name: "⟨202E⟩evil␇" })).toBeTruthy();
    const drawn = document.body.innerHTML.replace(/value="[^"]*"/g, "");
    for (const raw of ["\u202E", "\u0007"]) expect(drawn).not.toContain(raw);
    expect(drawn).toContain("⟨202E⟩evil␇");
  });
  it("is steered with", async () => {
    const [view, page] = await shown();
    await view.user.click(page.getByRole("button", { name: "Steer" }));
    expect(sent(view.model, "steer_feature")).toMatchObject([{ extraction_id: EXT, index: 7451 }]);
  });
});

describe("labels", () => {
  it("say whose they are, are edited and saved", async () => {
    const [view, page] = await shown();
    const label = page.getByRole("textbox", { name: "Label" }) as HTMLInputElement;
    expect(label.value).toBe("ships and sailing vessels");
    expect(view.el.querySelector(".offer")?.textContent).toContain(
      "Automatic: “nautical vessels”, gpt-4o-mini, detection",
    );
    expect(page.getByRole("button", { name: "Save label" }).getAttribute("aria-disabled")).toBe("true");
    await view.user.retype(label, "vessels{Enter}");
    await waitFor(() => expect(page.getByText("Saved.", { exact: false })).toBeTruthy());
    expect(sent(view.model, "edit_feature")).toMatchObject([{ index: 7451, label: "vessels" }]);
    await waitFor(() => expect(view.el.querySelector('[aria-selected="true"].fr')?.textContent).toContain("vessels"));
  });

  it("are suggested as chips, and typed and saved only by buttons", async () => {
    const [view, page] = await shown();
    await view.user.click(page.getByRole("button", { name: "Suggest" }));
    const label = page.getByRole("textbox", { name: "Label" }) as HTMLInputElement;
    const use = await page.findByRole("button", { name: "Use ‘ ship’, ‘ boat’" });
    expect(use.closest("p")?.textContent).toContain("Suggested: ·ship·boat, offline heuristic.");
    expect(label.value).toBe("ships and sailing vessels");
    await view.user.click(use);
    expect(label.value).toBe("‘ ship’, ‘ boat’");
    expect(sent(view.model, "edit_feature")).toEqual([]);
  });

  it("that somebody else made are not in the box", async () => {
    const [, page] = await shown(at(1));
    expect((page.getByRole("textbox", { name: "Label" }) as HTMLInputElement).value).toBe("");
    expect(page.getByRole("button", { name: /^Use / })).toBeTruthy();
  });

  it("have what the judge said of every window, wrong answers first", async () => {
    const [view, page] = await shown();
    await view.user.click(page.getByRole("button", { name: "Show what the judge said" }));
    const table = within(await page.findByRole("table", { name: "What the judge said" }));
    const rows = table.getAllByRole("row").slice(1);
    expect(
      rows.map((row) => row.textContent?.match(/^(Wrong|Right|Not judged)(fires|silent)(yes|no(?!ne)|none)/)?.[0]),
    ).toEqual([
      "Wrongfiresno",
      "Wrongsilentyes",
      "Rightfiresyes",
      "Rightsilentno",
      "Rightsilentno",
      "Not judgedfiresnone",
    ]);
    expect(rows[0]?.querySelector("[class^=a]")?.textContent).toBe("ship");
    expect(sent(view.model, "read_judged")).toMatchObject([{ index: 7451, score_at: 7 }]);
  });

  it("that were typed and not saved are there when one comes back", async () => {
    const [view] = await shown();
    await waitFor(() => expect(selected(view)).toBe("7451"));
    await view.user.type(view.page.getByRole("textbox", { name: "Label" }), " at sea");
    await view.user.click(view.page.getByRole("button", { name: "Next feature" }));
    const next = await ready(view, 7452);
    expect((next.getByRole("textbox", { name: "Label" }) as HTMLInputElement).value).not.toContain("at sea");
    await view.user.click(view.page.getByRole("button", { name: "Previous feature" }));
    const page = await ready(view);
    expect((page.getByRole("textbox", { name: "Label" }) as HTMLInputElement).value).toBe(
      "ships and sailing vessels at sea",
    );
    expect(page.getByText("Not saved yet.", { exact: false })).toBeTruthy();
  });

  it("come with a description and notes behind a button", async () => {
    const [view, page] = await shown();
    await view.user.click(page.getByRole("button", { name: "Show all 3 labels and notes" }));
    expect(within(page.getByRole("list", { name: "Labels" })).getAllByRole("listitem")).toHaveLength(3);
    await view.user.type(page.getByRole("textbox", { name: "Notes" }), "see 2210");
    await view.user.click(page.getByRole("button", { name: "Save notes" }));
    await waitFor(() => expect(sent(view.model, "edit_feature")).toMatchObject([{ notes: "see 2210" }]));
    expect(sent(view.model, "edit_feature")[0]).not.toHaveProperty("description");
    await waitFor(() => expect(page.getByText("Saved", { exact: true })).toBeTruthy());
  });

  it("of all features are made, imported and exported from a menu", async () => {
    const [view] = await shown();
    await view.user.click(view.page.getByRole("button", { name: "Labels" }));
    expect(view.page.getAllByRole("menuitem").map((one) => one.textContent)).toEqual([
      "Label with a model",
      "Label all features",
      "Import labels",
      "Export labels",
    ]);
    await view.user.click(view.page.getByRole("menuitem", { name: "Label all features" }));
    await view.user.click(view.page.getByRole("button", { name: "Label 6,852 features" }));
    await waitFor(() => expect(sent(view.model, "start_labels")).toMatchObject([{ asked: { llm: "heuristic" } }]));
    await waitFor(() => expect(view.page.queryByRole("button", { name: "Label 6,852 features" })).toBeNull());
    await view.user.click(view.page.getByRole("button", { name: "Labels" }));
    await view.user.click(view.page.getByRole("menuitem", { name: "Import labels" }));
    view.model.options.failures = { import_labels: { what: "Line 3 has no index.", hint: "Nothing was imported." } };
    await view.user.keyboard("labels.csv{Enter}");
    await waitFor(() => expect(view.page.getByRole("alert").textContent).toContain("Line 3 has no index."));
    view.model.options.failures = {};
    await view.user.click(await view.page.findByRole("button", { name: "Import" }));
    await waitFor(() => expect(view.page.getByText("120 labels imported, 3 skipped.")).toBeTruthy());
    expect(sent(view.model, "import_labels").at(-1)).toMatchObject({ path: "labels.csv" });
  });
});

describe("exports", () => {
  it("are of all features, of those in the list, or of the one shown", async () => {
    const view = show(
      viewer({
        view: {
          ...EMPTY_VIEWER.view,
          extraction_id: EXT,
          feature: 7451,
          query: { ...EMPTY_VIEWER.view.query, search: "whom" },
        },
      }),
    );
    await ready(view);
    await view.user.click(view.page.getByRole("button", { name: "Export" }));
    await view.user.click(view.page.getByRole("menuitem", { name: "Table (CSV)" }));
    const form = within(view.page.getByRole("form", { name: "Export features of demo-l2-topk-16k" }));
    const scope = form.getByRole("combobox", { name: "Features" }) as HTMLSelectElement;
    expect([...scope.options].map((one) => one.value)).toEqual(["all", "query", "one"]);
    await view.user.selectOptions(scope, "query");
    await view.user.click(form.getByRole("button", { name: "Write" }));
    await waitFor(() => expect(view.page.getByText("Written to /workspace/demo-l2-topk-16k.csv.")).toBeTruthy());
    expect(sent(view.model, "export_features")).toMatchObject([
      { what: "csv", indices: null, query: { search: "whom" } },
    ]);
  });
  it("start from a feature with it chosen", async () => {
    const [view, page] = await shown();
    await view.user.click(page.getByRole("button", { name: "More feature actions" }));
    await view.user.click(page.getByRole("menuitem", { name: "Export its decoder vector" }));
    await view.user.click(view.page.getByRole("button", { name: "Write" }));
    await waitFor(() =>
      expect(sent(view.model, "export_features")).toMatchObject([
        { what: "vectors", indices: [7451], path: "demo-l2-topk-16k-7451.safetensors" },
      ]),
    );
  });
});

describe("keys", () => {
  it("work with focus inside, and not while something is typed", async () => {
    const [view, page] = await shown();
    await waitFor(() => expect(selected(view)).toBe("7451"));
    const root = view.page.getByRole("region", { name: "Extraction viewer" });
    press(root, "s");
    await waitFor(() => expect(page.getByRole("button", { name: "Star" }).getAttribute("aria-pressed")).toBe("false"));
    press(root, "l");
    const label = page.getByRole("textbox", { name: "Label" });
    expect(document.activeElement).toBe(label);
    await view.user.keyboard("rs?");
    expect(view.page.queryByRole("group", { name: "Keys" })).toBeNull();
    expect(sent(view.model, "edit_feature")).toHaveLength(1);
    press(root, "t");
    expect(document.activeElement).toBe(page.getByRole("textbox", { name: "Text to test" }));
    press(root, "c");
    await waitFor(() => expect(page.getByRole("radio", { name: "Full" }).getAttribute("aria-checked")).toBe("true"));
    press(root, "?");
    await waitFor(() => expect(view.page.getByRole("group", { name: "Keys" })).toBeTruthy());
    press(root, "Escape");
    await waitFor(() => expect(view.page.queryByRole("group", { name: "Keys" })).toBeNull());
    press(root, "ArrowRight");
    await ready(view, 7452);
    press(root, "ArrowLeft");
    await ready(view, 7451);
    press(root, "r");
    await waitFor(() => expect(sent(view.model, "step_feature").at(-1)?.step).toBe("random"));
  });
  it("do not reach the notebook", async () => {
    const [view] = await shown();
    const outside = vi.fn();
    document.body.addEventListener("keydown", outside);
    press(view.page.getByRole("button", { name: "Steer" }), "x");
    expect(outside).not.toHaveBeenCalled();
    document.body.removeEventListener("keydown", outside);
  });
});

describe("without its kernel or its model", () => {
  it("says that what is shown is old", async () => {
    const [view] = await shown();
    view.el.classList.add("jupyter-widgets-disconnected");
    await waitFor(() => expect(view.page.getByText("Not connected.")).toBeTruthy());
    expect(view.page.getByText("Run the cell again for a live viewer.", { exact: false })).toBeTruthy();
    expect(view.page.getByRole("button", { name: "Next feature" }).closest("fieldset:disabled")).not.toBeNull();
  });
  it("does not offer to read other text", async () => {
    const [view, page] = await shown(
      viewer({ open: opened({ live: false, live_note: "The model is not on this machine." }) }),
    );
    expect((page.getByRole("textbox", { name: "Text to test" }) as HTMLTextAreaElement).disabled).toBe(true);
    expect(page.getByText("The model is not on this machine.")).toBeTruthy();
    await view.user.click(view.page.getByRole("tab", { name: "On a prompt" }));
    expect((view.page.getByRole("textbox", { name: "Text" }) as HTMLTextAreaElement).disabled).toBe(true);
  });
  it("asks by itself what has changed", async () => {
    const [view] = await shown();
    await waitFor(() => expect(view.model.sent.some((command) => command.kind === "refresh")).toBe(true));
  });
});

it("shows tokens and labels that nobody should trust as text, cut with an ellipsis", async () => {
  const [view, page] = await shown(viewer(), { hostile: true });
  await waitFor(() => expect(page.getByRole("table", { name: "Similar features" })).toBeTruthy());
  await view.user.click(page.getByRole("radio", { name: "Full" }));
  await view.user.click(page.getByRole("radio", { name: "Snippet" }));
  expect(view.el.querySelector("img")).toBeNull();
  expect(page.getAllByText(HOSTILE).length).toBeGreaterThan(0);
  const text = view.el.textContent ?? "";
  expect(text).not.toContain("x".repeat(200));
  expect(text).not.toContain("y".repeat(400));
  expect(text).not.toContain("\u0000");
  expect(text).not.toContain("\u202e");
  expect(text).toContain("⟨202E⟩");
});
