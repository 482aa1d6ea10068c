import { fireEvent, waitFor, within } from "@testing-library/preact";
import { describe, expect, it } from "vitest";
import { HOSTILE } from "../../demo/fake";
import { CHAT, NO_CHAT, NO_SYSTEM, PROMPT, ROWS, row, texts } from "../../demo/steering";
import { EMPTY_STEERING } from "../../src/lib/wire";
import { feature, sent, show, slider, until } from "./harness";

const ONE = [row()];

describe("features", () => {
  it("are listed with their mode, strength and what that adds up to", () => {
    const shown = show();
    const { page } = shown;
    expect(page.getByRole("region", { name: "Steering" })).toBeTruthy();
    expect(page.getByRole("list", { name: "Features to steer with" })).toBeTruthy();
    expect(page.getByText("demo / demo-l2-topk-16k")).toBeTruthy();
    expect(page.getAllByRole("listitem").map((item) => item.getAttribute("aria-label"))).toEqual([
      "Feature 7451",
      "Feature 7487",
      "Feature 310",
    ]);
    expect(slider(shown, 7451).getAttribute("aria-valuetext")).toBe("2.0 × max activation = 83.4");
    expect(slider(shown, 7487).getAttribute("aria-valuetext")).toBe("clamped to 0");
    expect(feature(shown, 310).getByText("= −27.0 along d")).toBeTruthy();
    const box = feature(shown, 310).getByRole("textbox", { name: "Strength value of feature 310" });
    expect((box as HTMLInputElement).value).toBe("−1.0");
    const mode = feature(shown, 7487).getByRole("combobox", { name: "Mode of feature 7487" });
    expect((mode as HTMLSelectElement).value).toBe("clamp");
  });

  it("follow the keys of the slider, and send only where it came to rest", async () => {
    const shown = show({ rows: ONE });
    const { user, model } = shown;
    slider(shown, 7451).focus();
    await user.keyboard("{ArrowRight}{ArrowUp}{PageUp}{ArrowLeft}");
    expect(slider(shown, 7451).getAttribute("aria-valuetext")).toBe("3.1 × max activation = 129.3");
    await until(() => sent(model, "steering_edit").at(-1)?.rows?.[0]?.strength === 3.1);
    await user.keyboard("0");
    expect(slider(shown, 7451).getAttribute("aria-valuetext")).toBe("0.0 × max activation = 0.0");
    await user.keyboard("{PageDown}{End}");
    expect(Number(slider(shown, 7451).value)).toBe(8);
    fireEvent.dblClick(slider(shown, 7451));
    expect(Number(slider(shown, 7451).value)).toBe(0);
    await until(() => model.state.rows[0]?.strength === 0);
  });

  it("take what is typed, and refuse what is no number", async () => {
    const shown = show({ rows: ONE });
    const { user, model, page } = shown;
    const box = page.getByRole("textbox", { name: "Strength value of feature 7451" }) as HTMLInputElement;
    await user.retype(box, "−0.5");
    await until(() => model.state.rows[0]?.strength === -0.5);
    await user.retype(box, "much");
    expect(box.getAttribute("aria-invalid")).toBe("true");
    await user.tab();
    expect(box.value).toBe("−0.5");
    expect(box.getAttribute("aria-invalid")).toBeNull();
  });

  it("keep their change when the mode changes", async () => {
    const shown = show({ rows: ONE });
    const { user, model, page } = shown;
    const mode = page.getByRole("combobox", { name: "Mode of feature 7451" });
    await user.selectOptions(mode, "Add");
    await until(() => model.state.rows[0]?.mode === "add");
    expect(model.state.rows[0]?.strength).toBe(83.4);
    await user.selectOptions(mode, "Ablate");
    await until(() => model.state.rows[0]?.mode === "ablate");
    expect(slider(shown, 7451).getAttribute("aria-disabled")).toBe("true");
    expect(page.getByText("off at every token")).toBeTruthy();
  });

  it("are added by index and by label, and removed", async () => {
    const shown = show({ rows: ONE });
    const { user, model, page } = shown;
    const search = page.getByRole("searchbox", { name: "Add a feature" });
    await user.type(search, "42{Enter}");
    await until(() => model.state.rows.length === 2);
    expect(sent(model, "steering_add")[0]).toMatchObject({ sae_id: "sae_1", index: 42 });
    await waitFor(() => expect(document.activeElement).toBe(slider(shown, 42)));
    expect((search as HTMLInputElement).value).toBe("");
    await user.type(search, "ship");
    await user.click(await page.findByRole("button", { name: "Add feature 7451: ships and sailing vessels" }));
    await until(() => sent(model, "steering_add").length === 2);
    await waitFor(() => expect((search as HTMLInputElement).value).toBe(""));
    await user.type(search, "zebra");
    expect(await page.findByText("No label has these words.")).toBeTruthy();
    await user.keyboard("{Escape}");
    expect((search as HTMLInputElement).value).toBe("");
    await user.click(feature(shown, 42).getByRole("button", { name: "Remove feature 42" }));
    await until(() => page.queryByRole("listitem", { name: "Feature 42" }) === null);
  });

  it("show what is not known of them", () => {
    const problem = { what: "Feature 4 did not fire.", where: null, hint: "An activation.", kind: "warn" };
    const { page } = show({
      rows: [row({ a_max: null, pending: true }), row({ key: "f2", index: 4, mode: "add", a_max: null, problem })],
    });
    expect(page.getByText("measuring max…")).toBeTruthy();
    expect(page.getByText("Feature 4 did not fire.")).toBeTruthy();
  });
});

it("has the prompt first, and shows what a chosen feature fires on", async () => {
  const { page, user, model } = show();
  const prompt = page.getByRole("textbox", { name: "Prompt" });
  const list = page.getByRole("list", { name: "Features to steer with" });
  expect(prompt.compareDocumentPosition(list) & Node.DOCUMENT_POSITION_FOLLOWING).toBeTruthy();
  await user.click(page.getByRole("button", { name: "Examples of feature 310" }));
  await waitFor(() => expect(page.getByRole("region", { name: "Preview" }).querySelector(".pk")).toBeTruthy());
  expect(sent(model, "steering_preview").at(-1)?.key).toBe(ROWS[2]?.key);
  await user.keyboard("{Escape}");
  await waitFor(() => expect(page.queryByRole("region", { name: "Preview" })).toBeNull());
  await user.click(page.getByRole("checkbox", { name: "Chat" }));
  await user.retype(page.getByRole("textbox", { name: "Multiplier" }), "0.5");
  await user.retype(page.getByRole("textbox", { name: "Frequency penalty" }), "1");
  await until(() => model.state.settings.frequency_penalty === 1);
  expect(model.state.settings).toMatchObject({ chat: true, multiplier: 0.5 });
});

describe("a chat", () => {
  it("is shown as bubbles of both sides, and goes on", async () => {
    const { page, user, model } = show({ ...CHAT, generated: 1 });
    const bubbles = (side: string) =>
      within(page.getByRole("region", { name: side }))
        .getAllByRole("listitem")
        .map((item) => [item.getAttribute("aria-label"), item.querySelector(".gen")?.textContent]);
    await waitFor(() => expect(page.getByRole("button", { name: "Token 1: ·ship" })).toBeTruthy());
    expect(bubbles("Baseline").slice(0, 4)).toEqual([
      ["System", "Answer in one short paragraph."],
      ["User", "What did the old man see from the hill?"],
      ["Assistant", "He saw the village, and smoke that rose from its roofs."],
      ["User", "Where did he go then?"],
    ]);
    expect(bubbles("Steered")[2]?.[1]).toContain("under full sail");
    expect((page.getByRole("textbox", { name: "System prompt" }) as HTMLTextAreaElement).value).toContain("Answer in");
    await user.type(page.getByRole("textbox", { name: "Prompt" }), "And then?{Control>}{Enter}{/Control}");
    await until(() => model.state.turns.length === 3 && model.state.run.status === "done");
    expect(sent(model, "steering_edit").at(-1)?.settings).toMatchObject({ chat: true, prompt: "And then?" });
    await waitFor(() => expect(bubbles("Steered").at(-2)).toEqual(["User", "And then?"]));
    await waitFor(() => expect((page.getByRole("textbox", { name: "Prompt" }) as HTMLInputElement).value).toBe(""));
    await user.click(page.getByRole("button", { name: "Edit last message" }));
    await waitFor(() =>
      expect((page.getByRole("textbox", { name: "Prompt" }) as HTMLInputElement).value).toBe("And then?"),
    );
    await user.click(page.getByRole("button", { name: "New chat" }));
    await waitFor(() => expect(page.queryByRole("region", { name: "Steered" })).toBeNull());
  });

  it("is refused before it is written where the model has no template", async () => {
    const { page, user, model } = show({ chat_problem: NO_CHAT });
    const chat = page.getByRole("checkbox", { name: "Chat" }) as HTMLInputElement;
    expect(chat.disabled).toBe(true);
    expect(page.getByText(NO_CHAT)).toBeTruthy();
    model.setState({ settings: { ...model.state.settings, chat: true } });
    await waitFor(() => expect(page.getByRole("alert").textContent).toBe(NO_CHAT));
    const generate = page.getByRole("button", { name: "Generate" });
    expect(generate.getAttribute("aria-disabled") ?? generate.hasAttribute("disabled")).toBeTruthy();
    await user.click(chat);
    await until(() => !model.state.settings.chat);
  });

  it("says that a template has no system role", () => {
    const { page } = show({ settings: { ...CHAT.settings, system: "" }, chat_problem: "", system_problem: NO_SYSTEM });
    expect((page.getByRole("textbox", { name: "System prompt" }) as HTMLInputElement).disabled).toBe(true);
    expect(page.getByText(NO_SYSTEM)).toBeTruthy();
  });
});

describe("the empty state", () => {
  it("says what to do, with code", async () => {
    const { page, user, model } = show({ rows: [] });
    expect(page.getByText("No feature chosen")).toBeTruthy();
    expect(page.getByText('with sw.steered(model, [("sae_1", 7451, 1.0)]): ...')).toBeTruthy();
    await user.click(page.getByRole("button", { name: "Open features browser" }));
    expect(page.getByText("sw.ExtractionViewer()")).toBeTruthy();
    expect(sent(model, "steering_browse")).toEqual([]);
    await user.click(page.getByRole("button", { name: "Load preset" }));
    expect(await page.findByText("No presets yet")).toBeTruthy();
    expect(page.queryByRole("button", { name: "Generate" })).toBeNull();
  });
  it("shows code for the workspace it is bound to", async () => {
    const { page, user } = show({ rows: [], code: "ws" });
    expect(page.getByText(/^with sw.steered/).textContent).toBe(
      `with sw.steered(model, [("sae_1", 7451, 1.0)], ws=ws): ...`,
    );
    await user.click(page.getByRole("button", { name: "Open features browser" }));
    expect(page.getByText("sw.ExtractionViewer(ws)")).toBeTruthy();
  });
  it("offers the demo SAE where the library is empty, and says where others come from", async () => {
    const { page, user, model } = show({ rows: [], saes: [], sae_id: "", code: "ws" });
    expect(page.getByRole("heading", { name: "No SAEs yet" })).toBeTruthy();
    expect(page.getByText("sw.SAEBrowser(ws)")).toBeTruthy();
    expect(page.getByText("sw.TrainingPanel(ws)")).toBeTruthy();
    await user.click(page.getByRole("button", { name: "Use the demo SAE" }));
    expect(await page.findByText("No feature chosen")).toBeTruthy();
    expect(sent(model, "steering_demo")).toHaveLength(1);
    await waitFor(() => expect(document.activeElement).toBe(page.getByRole("searchbox", { name: "Add a feature" })));
  });
  it("says why the demo SAE cannot be had", async () => {
    const failures = { steering_demo: { what: "No space left.", hint: "Free 12 MB." } };
    const { page, user } = show({ rows: [], saes: [], sae_id: "" }, { failures });
    await user.click(page.getByRole("button", { name: "Use the demo SAE" }));
    expect((await page.findByRole("alert")).textContent).toContain("No space left. Free 12 MB.");
    expect(page.getByRole("button", { name: "Use the demo SAE" }).getAttribute("aria-disabled")).toBeNull();
  });
  it("can be closed only where somebody takes it away", async () => {
    const alone = show();
    expect(alone.page.queryByRole("button", { name: "Close steering" })).toBeNull();
    alone.close();
    const { page, user, model } = show({ embedded: true, can_close: true });
    await user.click(page.getByRole("button", { name: "Close steering" }));
    await until(() => sent(model, "steering_close").length === 1);
  });
  it("opens the browser where there is one", async () => {
    const { page, user, model } = show({ rows: [], can_browse: true });
    await user.click(page.getByRole("button", { name: "Open features browser" }));
    await until(() => sent(model, "steering_browse").length === 1);
  });
});

describe("the gauge", () => {
  it("is a meter with words", () => {
    const { page, model } = show();
    const meter = page.getByRole("meter", { name: "Size of the change against the residual" });
    expect(meter.getAttribute("aria-valuetext")).toBe("0.38: moderate");
    expect(page.getByText("mean over steered tokens")).toBeTruthy();
    model.setState({ gauge: { ratio: 1.52, over: "steered tokens" } });
    return waitFor(() => expect(meter.getAttribute("aria-valuetext")).toBe("1.52: breaks text"));
  });
});

describe("positions", () => {
  it("are radio buttons, and chosen ones are tokens of the prompt", async () => {
    const { page, user, model } = show({ rows: ONE });
    const group = within(page.getByRole("radiogroup", { name: "Positions" }));
    expect(group.getAllByRole("radio").map((radio) => radio.textContent)).toEqual([
      "All",
      "Generated",
      "Prompt",
      "Chosen",
    ]);
    await user.click(group.getByRole("radio", { name: "Generated" }));
    await until(() => model.state.settings.positions === "generated");
    await user.click(group.getByRole("radio", { name: "Chosen" }));
    const tokens = within(await page.findByRole("group", { name: "Tokens of the prompt" }));
    expect(tokens.getAllByRole("button")).toHaveLength(11);
    await user.click(page.getByRole("button", { name: "Generate" }));
    expect(page.getByText("Choose at least one token of the prompt.")).toBeTruthy();
    expect(sent(model, "steering_generate")).toEqual([]);
    await user.click(tokens.getByRole("button", { name: "Token 5: ·old" }));
    await user.click(tokens.getByRole("button", { name: "Token 1: In" }));
    await until(() => JSON.stringify(model.state.settings.positions) === "[1,5]");
    expect(tokens.getByRole("button", { name: "Token 5: ·old" }).getAttribute("aria-pressed")).toBe("true");
    await user.click(page.getByRole("button", { name: "Generate" }));
    await until(() => sent(model, "steering_generate").length === 1);
  });
});

describe("writing", () => {
  it("sends what was typed first, streams, and shows both texts", async () => {
    const { page, user, model } = show({ rows: ONE }, { hold: true });
    const prompt = page.getByRole("textbox", { name: "Prompt" }) as HTMLTextAreaElement;
    expect(prompt.value).toBe(PROMPT);
    await user.type(prompt, " sea");
    const tokens = page.getByRole("textbox", { name: "New tokens" });
    await user.retype(tokens, "40");
    const stop = page.getByRole("button", { name: "Stop" });
    expect(stop.getAttribute("aria-disabled")).toBe("true");
    await user.click(page.getByRole("button", { name: "Generate" }));
    await until(() => model.state.run.status === "running");
    const kinds = model.sent.map((command) => command.kind);
    expect(kinds.lastIndexOf("steering_edit")).toBeLessThan(kinds.indexOf("steering_generate"));
    expect(model.state.settings).toMatchObject({ prompt: `${PROMPT} sea`, new_tokens: 40 });
    model.setState({
      run: { ...model.state.run, texts: [{ run: "baseline", strength: null, tokens: 3, text: " village and sat" }] },
    });
    const baseline = await page.findByRole("region", { name: "Baseline" });
    await waitFor(() => expect(baseline.textContent).toContain("village and sat"));
    expect(page.getAllByText("Writing, 3 of 40 tokens").length).toBeGreaterThan(0);
    expect(page.getByRole("button", { name: "Generate" }).getAttribute("aria-disabled")).toBe("true");
    await user.click(stop);
    await until(() => sent(model, "steering_stop").length === 1);
    expect(await page.findByRole("button", { name: "Stopping…" })).toBeTruthy();
    model.finish();
    const wanted = "perplexity 18.7, repetition 2 %, KL at first token 1.31";
    await waitFor(() => expect(page.getByRole("region", { name: "Steered" }).textContent).toContain(wanted));
    const steered = page.getByRole("region", { name: "Steered" });
    expect(page.getByText("same seed and sampling; first difference at token 1")).toBeTruthy();
    expect(steered.querySelector(".fd")?.textContent).toBe("ship");
    expect(steered.querySelectorAll(".gt.df").length).toBeGreaterThan(10);
    await user.click(page.getByRole("checkbox", { name: "Mark differences" }));
    expect(steered.querySelectorAll(".df, .fd")).toHaveLength(0);
  });

  it("refuses fields with their names, and goes to the first of them", async () => {
    const { page, user, model } = show({ rows: ONE });
    const top = page.getByRole("textbox", { name: "Top-p" });
    await user.retype(top, "2");
    expect(page.getByRole("alert").textContent).toContain("Top-p: Enter a number above 0, at most 1.");
    await user.click(page.getByRole("button", { name: "Generate" }));
    expect(document.activeElement).toBe(top);
    expect(sent(model, "steering_generate")).toEqual([]);
    await user.retype(top, "0.9");
    await user.type(page.getByRole("textbox", { name: "Prompt" }), "{Control>}{Enter}{/Control}");
    await until(() => sent(model, "steering_generate").length === 1);
    expect(model.state.settings.top_p).toBe(0.9);
  });

  it("says why nothing was generated, and that a change is large", async () => {
    const problem = {
      what: "Nothing was generated: the prompt is 249 tokens.",
      where: null,
      hint: "Shorten.",
      kind: "error",
    };
    const run = { ...EMPTY_STEERING.run, number: 2, status: "failed" as const, problem };
    const notes = ["The change is large: ‖Δ‖ / ‖h‖ is 1.52. Text usually breaks above 1."];
    const { page } = show({ rows: ONE, run, generated: 1 }, { says: { steering_read: { notes } } });
    expect(page.getByRole("alert").textContent).toContain("Nothing was generated: the prompt is 249 tokens. Shorten.");
    const large = await page.findByText("The change is large: ‖Δ‖ / ‖h‖ is 1.52.");
    expect(large.tagName).toBe("B");
  });

  it("shows what could have come at a token that is clicked", async () => {
    const { page, user, model } = show({ rows: ONE, generated: 1 });
    const steered = within(await page.findByRole("region", { name: "Steered" }));
    await user.click(steered.getByRole("button", { name: "Token 1: ·ship" }));
    const table = within(await page.findByRole("table", { name: "Next-token change" }));
    expect(table.getAllByRole("columnheader")[0]?.textContent).toBe("First token");
    expect(table.getAllByRole("row")).toHaveLength(6);
    expect(table.getByText("31.4 %")).toBeTruthy();
    expect(sent(model, "steering_next")[0]).toMatchObject({ number: 1, text: "steered", token: 0 });
    await user.keyboard("{ArrowRight}{Enter}");
    await until(() => sent(model, "steering_next").length === 2);
    expect(sent(model, "steering_next")[1]).toMatchObject({ token: 1 });
    await user.keyboard("{Escape}");
    expect(page.queryByRole("table", { name: "Next-token change" })).toBeNull();
  });
});

describe("the sweep", () => {
  it("runs over strengths, and one of them can be used", async () => {
    const { page, user, model } = show();
    const strengths = page.getByRole("textbox", { name: "Strengths" }) as HTMLInputElement;
    expect(strengths.value).toBe("−4 −2 0 2 4");
    await user.retype(strengths, "-4 x");
    await user.click(page.getByRole("button", { name: "Run sweep" }));
    expect(document.activeElement).toBe(strengths);
    await user.retype(strengths, "-4 −2 0 2 4");
    await user.selectOptions(
      page.getByRole("combobox", { name: "Feature to sweep" }),
      "7451 ships and sailing vessels",
    );
    await user.click(page.getByRole("button", { name: "Run sweep" }));
    await until(() => sent(model, "steering_generate").length === 1);
    expect(sent(model, "steering_generate")[0]?.what).toBe("sweep");
    expect(model.state.settings).toMatchObject({ strengths: [-4, -2, 0, 2, 4], swept: "f1" });
    const two = await page.findByRole("button", { name: "Use strength 2" });
    expect(two.getAttribute("aria-pressed")).toBe("true");
    expect(two.textContent).toContain("ppl 19, rep. 2 %");
    await user.click(page.getByRole("button", { name: "Use strength −4" }));
    await until(() => model.state.rows[0]?.strength === -4);
  });
});

describe("presets", () => {
  const saved = {
    name: "ships",
    features: 3,
    saes: ["a"],
    prompt: "p",
    saved_at: 1_790_000_000,
    path: "",
    problem: "",
  };
  it("are saved, loaded and deleted after a question", async () => {
    const { page, user, model } = show({ rows: ONE }, { presets: [saved] });
    await user.click(page.getByRole("button", { name: "Presets" }));
    const list = within(await page.findByRole("list", { name: "Presets" }));
    await user.type(page.getByRole("textbox", { name: "Preset name" }), "mine");
    await user.click(page.getByRole("button", { name: "Save preset" }));
    await until(() => sent(model, "steering_preset").length === 1);
    expect(sent(model, "steering_preset")[0]).toMatchObject({ action: "save", name: "mine", replace: false });
    await user.click(list.getByRole("button", { name: "Delete ships" }));
    expect(page.getByText("Delete ships?")).toBeTruthy();
    expect(document.activeElement?.textContent).toBe("Keep");
    await user.click(page.getByRole("button", { name: "Delete preset" }));
    await until(() => sent(model, "steering_preset").length === 2);
    await user.click(page.getByRole("button", { name: "Load mine" }));
    await until(() => sent(model, "steering_preset").length === 3);
    await until(() => page.queryByRole("region", { name: "Presets" }) === null);
  });
  it("are replaced only on purpose", async () => {
    const failures = { steering_preset: { what: "There is a preset 'ships'.", where: "name" } };
    const { page, user, model } = show({ rows: ONE }, { presets: [saved], failures });
    await user.click(page.getByRole("button", { name: "Presets" }));
    await user.type(await page.findByRole("textbox", { name: "Preset name" }), "ships{Enter}");
    await user.click(await page.findByRole("button", { name: "Replace preset" }));
    await until(() => sent(model, "steering_preset").length === 2);
    expect(sent(model, "steering_preset")[1]).toMatchObject({ name: "ships", replace: true });
  });
});

describe("the rest", () => {
  it("copies everything", async () => {
    const { page, user, model } = show();
    await user.click(page.getByRole("button", { name: "Copy all" }));
    await until(() => sent(model, "steering_copy").length === 1);
    expect(await page.findByRole("button", { name: "Copied" })).toBeTruthy();
  });

  it("has keys", async () => {
    const { page, user } = show();
    slider({ page }, 7451).focus();
    await user.keyboard("?");
    expect(page.getByRole("group", { name: "Keys" })).toBeTruthy();
    await user.keyboard("/");
    expect(document.activeElement).toBe(page.getByRole("searchbox", { name: "Add a feature" }));
    await user.keyboard("{Escape}");
    expect(page.queryByRole("group", { name: "Keys" })).toBeNull();
  });

  it("never interprets what comes from models and people", async () => {
    const pieces = [HOSTILE, "\u202Eabc"];
    const text = { ...texts().baseline, pieces, changed: [0] };
    const options = { says: { steering_read: { baseline: text, steered: text, prompt_pieces: [HOSTILE] } } };
    const { el, page, user } = show({ rows: [row({ label: HOSTILE })], generated: 1 }, options);
    await page.findByRole("region", { name: "Steered" });
    await user.type(page.getByRole("searchbox", { name: "Add a feature" }), "ship");
    await page.findByRole("button", { name: /^Add feature 900/ });
    expect(el.querySelector("img, b img")).toBeNull();
    expect(el.textContent).toContain(HOSTILE);
    expect(el.textContent).not.toContain("\u202E");
  });

  it("shows no sweep that Python has forgotten, and is reset", async () => {
    const { page, model, user } = show({ rows: ROWS, generated: 3, swept: 4 });
    await page.findByRole("group", { name: "Strength sweep" });
    model.setState({ swept: 0 });
    await waitFor(() => expect(page.queryByRole("group", { name: "Strength sweep" })).toBeNull());
    await user.click(page.getByRole("button", { name: "Reset" }));
    await waitFor(() => expect(sent(model, "steering_reset")).toHaveLength(1));
  });

  it("lists a feature without a label by its top tokens", async () => {
    const { page, user } = show({ rows: [row({ label: "", tokens: [" boat"] })] });
    expect(page.getByRole("listitem", { name: "Feature 7451" }).textContent).toContain("·boat");
    await user.type(page.getByRole("searchbox", { name: "Add a feature" }), "12");
    expect((await page.findByRole("button", { name: "Add feature 12" })).textContent).toContain("·ship");
  });

  it("asks for the texts that are there when it is opened", async () => {
    const { page, model } = show({ rows: ROWS, generated: 3, swept: 4 });
    await page.findByRole("region", { name: "Baseline" });
    await page.findByRole("group", { name: "Strength sweep" });
    expect(sent(model, "steering_read").map(({ what }) => what)).toEqual(["generate", "sweep"]);
  });
});
