import { waitFor, within } from "@testing-library/preact";
import { describe, expect, it, vi } from "vitest";
import { CARDS, card, emptyState, fullState } from "../../demo/runs";
import { skipping } from "../harness";
import { cardOf, sent, show } from "./harness";

const buttons = (scope: Pick<ReturnType<typeof cardOf>, "getAllByRole">) =>
  scope
    .getAllByRole("button")
    .map((button) => button.getAttribute("aria-label") ?? button.textContent)
    .filter((name) => !name?.startsWith("Help: "));

const only = (changes: Parameters<typeof card>[0]) => ({
  ...fullState(),
  cards: [card({ ...changes, name: "run" })],
  total: 1,
});

describe("list", () => {
  it("is a region with a card per run, named by it", () => {
    const { page } = show(fullState());
    const region = within(page.getByRole("region", { name: "Training panel" }));
    const list = within(region.getByRole("list", { name: "Trainings" }));
    expect(list.getAllByRole("listitem").map((item) => item.getAttribute("aria-label"))).toEqual(
      CARDS.map((one) => one.name),
    );
    const bar = list.getByRole("progressbar", { name: "Progress of gpt2-l6-topk-k32" });
    expect(bar.getAttribute("aria-valuenow")).toBe("62");
    expect(page.getByText("default workspace · cuda:0, 6.1 of 8.0 GB free")).toBeTruthy();
  });

  it("has no button of features that do not exist", () => {
    const { page } = show(fullState());
    expect(page.queryByRole("button", { name: /layers/i })).toBeNull();
  });

  it("offers per status what the specification says", () => {
    const view = show(fullState());
    const more = (name: string) => `More actions: ${name}`;
    for (const [name, expected] of [
      ["gpt2-l6-topk-k32", ["Pause", "Stop"]],
      ["gpt2-l6-jumprelu", ["Resume", "Stop"]],
      ["gpt2-l6-topk-k48", ["Stop"]],
      ["gpt2-l6-batchtopk", ["Open SAE", "Train longer", "Delete"]],
      ["demo-l2-topk-k24", ["Import to SAEs", "Train longer", "Delete"]],
      ["gpt2-l8-topk-k64", ["Resume", "Delete"]],
      ["gpt2-l6-standard-try", ["Resume", "Retry", "Delete"]],
    ] as const) {
      expect(buttons(cardOf(view, name)), name).toEqual([...expected, more(name)]);
    }
    expect(buttons(cardOf(view, "pythia-70m-l3-standard"))).toEqual([
      "Retry",
      "Edit and retry",
      more("pythia-70m-l3-standard"),
      "Resume from step 400",
      "Show log",
    ]);
  });

  it("shows names from data as text", () => {
    const { el } = show(only({ model: "<img src=x onerror=alert(1)>" }));
    expect(el.querySelector("img")).toBeNull();
    expect(el.textContent).toContain("<img src=x onerror=alert(1)>");
  });

  it("filters by tab, with arrows, and by search, and offers a way back", async () => {
    const { page, user } = show(fullState());
    const names = () => page.queryAllByRole("listitem").map((item) => item.getAttribute("aria-label"));
    expect(page.getByRole("tab", { name: "Completed 2" }).getAttribute("tabindex")).toBe("-1");
    page.getByRole("tab", { name: "All 8" }).focus();
    await user.keyboard("{ArrowRight}");
    expect(names()).toEqual(["gpt2-l6-topk-k32"]);
    expect(document.activeElement).toBe(page.getByRole("tab", { name: "Running 1" }));
    await user.keyboard("{Home}");
    await user.type(page.getByRole("searchbox", { name: "Search trainings" }), "no such run");
    expect(page.getByText("No training matches")).toBeTruthy();
    await user.click(page.getByRole("button", { name: "Clear filters" }));
    expect(names()).toHaveLength(8);
    await user.selectOptions(page.getByRole("combobox", { name: "Sort trainings" }), "FVU, best first");
    expect(names()[0]).toBe("demo-l2-topk-k24");
  });

  it("follows the state that Python pushes", async () => {
    const { page, model } = show(fullState());
    model.setState({ cards: CARDS.slice(0, 1), total: 1 });
    await waitFor(() => expect(page.getAllByRole("listitem")).toHaveLength(1));
  });

  it("keeps its order while the pointer is over it, and sorts again when it leaves", async () => {
    const { page, model, user } = show(fullState());
    const names = () => page.getAllByRole("listitem").map((item) => item.getAttribute("aria-label"));
    const before = names();
    const list = page.getByRole("list", { name: "Trainings" });
    await user.hover(list);
    const cards = fullState().cards.map((one, i) => (i === 0 ? { ...one, status: "stopped" } : one));
    const made = card({ name: "made-elsewhere", created_at: Date.now() / 1000 });
    model.setState({ cards: [made, ...cards], total: 9 });
    await waitFor(() => expect(names()).toEqual([...before, "made-elsewhere"]));
    await user.click(page.getByRole("button", { name: "More actions: gpt2-l6-topk-k32" }));
    expect(names()).toEqual([...before, "made-elsewhere"]);
    await user.keyboard("{Escape}");
    await user.unhover(list);
    expect(names()).toEqual([...before, "made-elsewhere"]); // the keyboard is still in it
    (document.activeElement as HTMLElement).blur();
    await waitFor(() => expect(names()[0]).toBe("made-elsewhere"));
    expect(names().indexOf("gpt2-l6-topk-k32")).toBeGreaterThan(2);
  });

  it("keeps a card that no longer matches the filter until the pointer has left", async () => {
    const { page, model, user } = show(fullState());
    await user.click(page.getByRole("tab", { name: "Running 1" }));
    await user.hover(page.getByRole("list", { name: "Trainings" }));
    model.setState({ cards: CARDS.map((one, i) => (i === 0 ? { ...one, status: "paused" } : one)) });
    await waitFor(() => expect(page.getByRole("tab", { name: "Running 0" })).toBeTruthy());
    expect(page.getByRole("listitem", { name: "gpt2-l6-topk-k32" })).toBeTruthy();
    await user.unhover(page.getByRole("list", { name: "Trainings" }));
    await waitFor(() => expect(page.getByText("No training matches")).toBeTruthy());
  });

  it("selects runs for the charts and shows the choice at once", async () => {
    const { page, model, user } = show(fullState());
    const box = page.getByRole("checkbox", { name: "Select demo-l2-topk-k24" }) as HTMLInputElement;
    await user.click(box);
    expect(box.checked).toBe(true);
    const ids = [...fullState().charts.training_ids, "train_demo-l2-topk-k24"];
    expect(sent(model, "chart")).toMatchObject([{ training_ids: ids }]);
    await waitFor(() => expect(page.getByText("3 selected")).toBeTruthy());
  });
});

describe("actions", () => {
  it("pauses, and says so until it is paused", async () => {
    const view = show(fullState());
    const run = cardOf(view, "gpt2-l6-topk-k32");
    await view.user.click(run.getByRole("button", { name: "Pause" }));
    expect(sent(view.model, "run_action")).toMatchObject([{ action: "pause", training_id: "train_gpt2-l6-topk-k32" }]);
    expect(run.getByRole("button", { name: "Pausing…" }).getAttribute("aria-disabled")).toBe("true");
    await view.user.click(run.getByRole("button", { name: "Pausing…" }));
    expect(sent(view.model, "run_action")).toHaveLength(1);
    await waitFor(() => expect(run.getByRole("button", { name: "Resume" })).toBeTruthy(), { timeout: 3000 });
  });

  it("says that the kernel is busy when nothing is acknowledged, and takes it back", async () => {
    const view = show(fullState(), "training_panel", { late: true });
    const run = cardOf(view, "gpt2-l6-topk-k32");
    await view.user.click(run.getByRole("button", { name: "Pause" }));
    await waitFor(() => expect(run.getByText("Kernel busy.")).toBeTruthy());
    expect(run.getByRole("status").textContent).toBe(
      "Kernel busy. Pause is queued and takes effect when the running cell ends.",
    );
    await waitFor(() => expect(run.queryByText("Kernel busy.")).toBeNull(), { timeout: 3000 });
  });

  it("shows the failure of an action in the card", async () => {
    const view = show(only({}));
    const answer = vi.spyOn(view.model, "send").mockImplementation((content) => {
      const { id } = content as { id: string };
      view.model.emit("msg:custom", { id, kind: "failure", what: "The disk is full.", hint: "Free some space." });
    });
    const run = cardOf(view, "run");
    await view.user.click(run.getByRole("button", { name: "Pause" }));
    expect(run.getByRole("alert").textContent).toContain("The disk is full. Free some space.");
    expect(run.getByRole("button", { name: "Pause" })).toBeTruthy();
    await view.user.click(run.getByRole("button", { name: "Dismiss" }));
    expect(run.queryByRole("alert")).toBeNull();
    expect(answer).toHaveBeenCalled();
  });

  it("asks before deleting, naming what is lost, and can be kept with Esc", async () => {
    const view = show(fullState());
    const run = cardOf(view, "gpt2-l6-standard-try");
    await view.user.click(run.getByRole("button", { name: "Delete" }));
    expect(run.getByRole("alert").textContent).toContain(
      "Delete gpt2-l6-standard-try? Its 2 checkpoints (604 MB) and metrics go too. You can undo this for ten seconds.",
    );
    expect(buttons(run)).toEqual(["Delete training", "Keep"]);
    expect(document.activeElement?.textContent).toBe("Keep");
    await view.user.keyboard("{Escape}");
    expect(run.queryByRole("alert")).toBeNull();
    await waitFor(() => expect(document.activeElement?.textContent).toBe("Delete"));
    expect(sent(view.model, "run_action")).toEqual([]);

    await view.user.click(run.getByRole("button", { name: "Delete" }));
    await view.user.click(run.getByRole("button", { name: "Delete training" }));
    expect(sent(view.model, "run_action")).toMatchObject([{ action: "delete" }]);
    await waitFor(() => expect(view.page.queryByRole("listitem", { name: "gpt2-l6-standard-try" })).toBeNull());
  });

  it("asks before stopping only when tokens are not in a checkpoint", async () => {
    const view = show(only({ tokens_done: 6_201_344, last_checkpoint_tokens: 6_144_000 }));
    const run = cardOf(view, "run");
    await view.user.click(run.getByRole("button", { name: "Stop" }));
    expect(run.getByRole("status").textContent).toContain("Stop run? 57,344 tokens are not in a checkpoint yet.");
    expect(buttons(run)).toEqual(["Stop and save checkpoint", "Stop without saving", "Keep running"]);
    await view.user.click(run.getByRole("button", { name: "Keep running" }));
    expect(document.activeElement?.textContent).toBe("Stop");
    await view.user.keyboard("{Enter}");
    await view.user.click(run.getByRole("button", { name: "Stop without saving" }));
    expect(sent(view.model, "run_action")).toMatchObject([{ action: "stop_without_saving" }]);

    view.close();
    const saved = show(only({ tokens_done: 100, last_checkpoint_tokens: 100 }));
    await saved.user.click(saved.page.getByRole("button", { name: "Stop" }));
    expect(sent(saved.model, "run_action")).toMatchObject([{ action: "stop" }]);
  });

  it("imports once and then says where it is", async () => {
    const view = show(only({ status: "completed" }));
    await view.user.click(view.page.getByRole("button", { name: "Import to SAEs" }));
    await waitFor(() => expect(cardOf(view, "run").getByText("In SAEs")).toBeTruthy());
    expect(cardOf(view, "run").queryByRole("button", { name: /import/i })).toBeNull();
  });

  it("has a menu with menu keys, and renames", async () => {
    const view = show(only({ status: "stopped" }));
    await view.user.click(view.page.getByRole("button", { name: "More actions: run" }));
    const items = view.page.getAllByRole("menuitem").map((item) => item.textContent);
    const names = [
      "Rename",
      "Details",
      "Save as template",
      "Export",
      "Copy ID",
      "Duplicate…",
      "Copy as Python",
      "Delete",
    ];
    expect(items).toEqual(names);
    await view.user.keyboard("{ArrowLeft}");
    expect(document.activeElement?.textContent).toBe("Delete");
    await view.user.keyboard("r{Enter}");
    const input = view.page.getByRole("textbox", { name: "New name of run" });
    expect(document.activeElement).toBe(input);
    await view.user.retype(input, "better{Enter}");
    expect(sent(view.model, "rename")).toMatchObject([{ training_id: "train_run", name: "better" }]);
    await waitFor(() => expect(view.page.getByRole("listitem", { name: "better" })).toBeTruthy());
  });

  it("is duplicated as another run, not as a retry, and copied as code", async () => {
    const view = show(only({ status: "stopped" }));
    const menu = async (item: string) => {
      await view.user.click(view.page.getByRole("button", { name: "More actions: run" }));
      await view.user.click(view.page.getByRole("menuitem", { name: item }));
    };
    await menu("Copy as Python");
    expect(sent(view.model, "run_code")).toMatchObject([{ training_id: "train_run" }]);
    await menu("Duplicate…");
    await waitFor(() => expect(sent(view.model, "form_schema")).toMatchObject([{ training_id: "train_run" }]));
    await view.user.click(await view.page.findByRole("button", { name: "Start training" }));
    await waitFor(() => expect(sent(view.model, "create")).toMatchObject([{ retry_of: null }]));
  });

  it("opens the details in the card", async () => {
    const view = show(only({}));
    await view.user.click(view.page.getByRole("button", { name: "More actions: run" }));
    await view.user.click(view.page.getByRole("menuitem", { name: "Details" }));
    const run = cardOf(view, "run");
    await waitFor(() => expect(run.getByRole("table", { name: "Checkpoints" })).toBeTruthy());
    await view.user.click(run.getByRole("tab", { name: "Log" }));
    expect(run.getByRole("tabpanel", { name: "Log" }).textContent).toContain("checkpoint saved (302 MB)");
    expect(skipping()).toEqual([]);
    await view.user.click(run.getByRole("tab", { name: "Settings 3" }));
    expect(run.getByRole("table", { name: "Settings" }).textContent).toContain("Active latents (k)32");
    await view.user.click(run.getByRole("button", { name: "Save checkpoint now" }));
    expect(sent(view.model, "run_action")).toMatchObject([{ action: "checkpoint" }]);
    expect(run.getByRole("tab", { name: "Log" })).toBeTruthy();
  });
});

describe("settings of a run that has ended", () => {
  it("can be edited and tried again, whatever came of it", async () => {
    const view = show(only({ status: "completed" }));
    await view.user.click(view.page.getByRole("button", { name: "More actions: run" }));
    await view.user.click(view.page.getByRole("menuitem", { name: "Details" }));
    const run = cardOf(view, "run");
    expect(run.queryByRole("button", { name: "Edit and retry" })).toBeNull();
    await view.user.click(run.getByRole("tab", { name: /^Settings/ }));
    await view.user.click(run.getByRole("button", { name: "Edit and retry" }));
    expect(view.page.getByText("with the settings of run")).toBeTruthy();
  });
});

describe("notes and keys", () => {
  it("says where it happened, as text", () => {
    const note = { what: "There is no such file.", where: "/data/<b>.txt", hint: "Check the path.", kind: "other" };
    const { page, el } = show(only({ status: "failed", note }));
    expect(page.getByRole("alert").textContent).toContain("There is no such file. Check the path. /data/<b>.txt");
    expect(el.querySelector("[role=alert] b")?.textContent).toBe("There is no such file.");
    expect(el.querySelector("[role=alert] b b")).toBeNull();
  });

  it("opens the log at its end, and follows it only from there", async () => {
    const height = vi.spyOn(HTMLElement.prototype, "scrollHeight", "get").mockReturnValue(900);
    const view = show(only({ status: "failed" }));
    await view.user.click(view.page.getByRole("button", { name: "Show log" }));
    await waitFor(() => expect(view.el.querySelector("pre.log")).toBeTruthy());
    const log = view.el.querySelector("pre.log") as HTMLElement;
    expect(log.scrollTop).toBe(900);
    height.mockRestore();
  });

  it("says how an interrupted run goes on", () => {
    const { page } = show(only({ status: "interrupted", last_checkpoint_step: 1780 }));
    expect(page.getByText("The kernel that ran it ended.").parentElement?.textContent).toBe(
      "The kernel that ran it ended. Resume continues from step 1,780 and ends in the same weights as an uninterrupted run.",
    );
  });

  it("is empty with the next action", async () => {
    const { page, model, user } = show(emptyState());
    expect(page.getByText("No trainings yet")).toBeTruthy();
    expect(page.getAllByRole("button").map((button) => button.textContent)).toEqual([
      "Templates",
      "Train the demo",
      "New training",
      "Copy code",
    ]);
    await user.click(page.getByRole("button", { name: "Train the demo" }));
    expect(sent(model, "train_demo")).toHaveLength(1);
  });

  it("uses / ? N and Esc, keeps keys from the notebook, and lets letters be typed", async () => {
    const { page, user } = show(fullState());
    const outside = vi.fn();
    document.addEventListener("keydown", outside);
    page.getByRole("button", { name: "New training" }).focus();
    await user.keyboard("/");
    const search = page.getByRole("searchbox", { name: "Search trainings" }) as HTMLInputElement;
    expect(document.activeElement).toBe(search);
    await user.keyboard("n?/");
    expect(search.value).toBe("n?/");
    await user.keyboard("{Escape}");
    expect(search.value).toBe("");
    page.getByRole("tab", { name: "All 8" }).focus();
    await user.keyboard("?");
    expect(page.getByRole("group", { name: "Keys" })).toBeTruthy();
    await user.keyboard("{Escape}n");
    await waitFor(() => expect(page.getByRole("form", { name: "New training" })).toBeTruthy());
    expect(page.queryByRole("group", { name: "Keys" })).toBeNull();
    expect(outside).not.toHaveBeenCalled();
    document.removeEventListener("keydown", outside);
  });

  it("draws from its traits while nothing answers, says so, and shows no rate that may be long over", async () => {
    vi.useFakeTimers();
    const { page } = show(fullState(), "training_panel", { silent: true });
    expect(page.getAllByRole("listitem")).toHaveLength(8);
    expect(page.getByText("48,210 tok/s")).toBeTruthy();
    await vi.advanceTimersByTimeAsync(6100);
    expect(page.getByText("No answer from the kernel yet.")).toBeTruthy();
    expect(page.queryByText("Not connected.")).toBeNull();
    expect(page.queryByText("48,210 tok/s")).toBeNull();
    expect(page.queryByText(/ETA/)).toBeNull();
    vi.useRealTimers();
  });

  it("says that it is not connected when the front end marks it so, and gives up what waits", async () => {
    const { page, el, user } = show(fullState(), "training_panel", { silent: true });
    const run = cardOf({ page }, "gpt2-l6-topk-k32");
    await user.click(run.getByRole("button", { name: "Pause" }));
    expect(run.getByRole("button", { name: "Pausing…" })).toBeTruthy();
    el.classList.add("jupyter-widgets-disconnected");
    await waitFor(() => expect(page.getByText("Not connected.")).toBeTruthy());
    expect(run.getByRole("button", { name: "Pause" })).toBeTruthy();
    expect(run.getByRole("alert").textContent).toContain("The kernel is not connected. Run the cell again.");
    expect(page.queryByText("48,210 tok/s")).toBeNull();
    expect(run.getByRole("button", { name: "Pause" }).closest("fieldset:disabled")).not.toBeNull();
    el.classList.remove("jupyter-widgets-disconnected");
    await waitFor(() => expect(page.queryByText("Not connected.")).toBeNull());
  });

  it("leaves nothing behind when the view is closed", () => {
    const { el, close } = show(fullState());
    close();
    expect(el.innerHTML).toBe("");
  });
});
