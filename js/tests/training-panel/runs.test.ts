/** Several runs at once, groups, checkpoints, advice, the comparison. */
import { fireEvent, render, waitFor, within } from "@testing-library/preact";
import { h } from "preact";
import { describe, expect, it, vi } from "vitest";
import { CARDS, card, crowdedState, fullState } from "../../demo/runs";
import type { Card, CheckpointData, PanelState } from "../../src/lib/wire";
import { AdviceList } from "../../src/training-panel/details";
import type { Store } from "../../src/training-panel/store";
import { cardOf, sent, show } from "./harness";

const ids = (...cards: (Card | undefined)[]) => cards.map((one) => one?.id);
const with_ = (cards: Card[], selected: Card[] = []): PanelState => ({
  ...fullState(),
  cards,
  total: cards.length,
  charts: { ...fullState().charts, training_ids: selected.map((one) => one.id) },
});
const [running, paused, queued, , completed, , interrupted, stopped] = CARDS as Card[];

describe("a run with its files on another machine", () => {
  it("says so, and offers nothing that needs them", async () => {
    const note = "Its files are on gpu-box, and cannot be seen from here.";
    const away = card({ ...interrupted, has_files: false, place: ["by ada", note] });
    const { page, user } = show(with_([away]));
    const one = within(page.getByRole("listitem", { name: away.name }));
    expect(one.getByText(note)).toBeTruthy();
    expect(one.getByText("It can be resumed on the machine that has its files.")).toBeTruthy();
    await user.click(one.getByRole("button", { name: /^More/ }));
    await user.click(page.getByRole("menuitem", { name: "Details" }));
    await waitFor(() => expect(one.getByRole("table", { name: "Checkpoints" })).toBeTruthy());
    for (const name of [/^Resume/, /^Delete/, /^Load/]) expect(one.queryByRole("button", { name })).toBeNull();
  });
});

describe("the selection", () => {
  it("takes all that are shown, and only those", async () => {
    const { page, model, user } = show(with_(CARDS));
    await user.click(page.getByRole("tab", { name: "Completed 2" }));
    const all = page.getByRole("checkbox", { name: "Select all shown" }) as HTMLInputElement;
    await user.click(all);
    expect(sent(model, "chart")).toMatchObject([{ training_ids: ids(completed, CARDS[3]).reverse() }]);
    await waitFor(() => expect(all.checked).toBe(true));
    await user.click(page.getByRole("tab", { name: "All 8" }));
    expect(all.checked).toBe(false);
    expect(all.indeterminate).toBe(true);
    expect(page.getByText("2 selected")).toBeTruthy();
  });

  it("retries what failed or was stopped, and imports what is completed", async () => {
    const [failed, stopped] = [card({ name: "broken", status: "failed" }), card({ name: "ended", status: "stopped" })];
    const known = card({ name: "known", status: "completed", sae_id: "sae_1" });
    const runs = [running, completed, failed, stopped, known] as Card[];
    const { page, model, user } = show(with_(runs, runs));
    const retry = page.getByRole("button", { name: "Retry selected" });
    expect(retry.title).toBe("Retry 2 trainings");
    await user.click(page.getByRole("tab", { name: "Failed 1" }));
    await user.click(retry);
    await waitFor(() => expect(page.getByText("3 selected")).toBeTruthy()); // nobody retries them a second time
    expect(page.getByRole("tab", { name: "All 5" }).getAttribute("aria-selected")).toBe("true"); // the new ones, too
    await user.click(page.getByRole("button", { name: "Import selected to SAEs" }));
    expect(sent(model, "run_actions")).toMatchObject([
      { action: "retry", training_ids: ids(failed, stopped) },
      { action: "import", training_ids: ids(completed) },
    ]);
  });

  it("says why nothing can be done", () => {
    const { page } = show(with_(CARDS));
    for (const name of ["Pause", "Resume", "Stop", "Retry", "Export", "Delete"]) {
      const button = page.getByRole("button", { name: `${name} selected` });
      expect(button.getAttribute("aria-disabled")).toBe("true");
      expect(button.title).toBe("Select trainings in the list");
    }
    expect(page.getByRole("button", { name: "Compare" }).title).toBe("Select two or more trainings to compare them");
  });

  it("pauses those that run and says what failed", async () => {
    const refused = card({ name: "refused" });
    const { page, model, user } = show(with_([...CARDS, refused], [running, completed, refused] as Card[]));
    const problem = { what: "train_refused is completed.", where: refused.id, hint: null, kind: "error" };
    model.options.says = { run_actions: { done: ids(running), problems: [problem] } };
    await user.click(page.getByRole("button", { name: "Pause selected" }));
    expect(sent(model, "run_actions")).toMatchObject([{ action: "pause", training_ids: ids(running, refused) }]);
    const title = await waitFor(() => page.getByText("1 of 2 trainings could not be paused."));
    const note = title.closest(".note") as HTMLElement;
    expect(note.textContent).toContain("train_refused is completed.");
    await user.click(within(note).getByRole("button", { name: "Dismiss" }));
    expect(page.queryByText("1 of 2 trainings could not be paused.")).toBeNull();
  });

  it("asks before it stops what is not in a checkpoint, and before it deletes", async () => {
    const { page, model, user } = show(with_(CARDS, [running, queued] as Card[]));
    await user.click(page.getByRole("button", { name: "Stop selected" }));
    expect(page.getByText("Stop 2 trainings?")).toBeTruthy();
    expect(document.activeElement?.textContent).toBe("Keep running");
    await user.keyboard("{Escape}");
    expect(page.queryByText("Stop 2 trainings?")).toBeNull();
    await user.click(page.getByRole("button", { name: "Stop selected" }));
    await user.click(page.getByRole("button", { name: "Stop and save checkpoint" }));
    expect(sent(model, "run_actions")).toMatchObject([{ action: "stop", training_ids: ids(running, queued) }]);
  });

  it("offers to undo what was deleted, for as long as Python has it", async () => {
    const { model, page, user } = show({ ...fullState(), deleted: [{ id: "t9", name: "tried" }] });
    const note = page.getByText("tried deleted.").closest(".note") as HTMLElement;
    await user.click(within(note).getByRole("button", { name: "Undo" }));
    await waitFor(() => expect(sent(model, "undo_delete")).toMatchObject([{ ids: ["t9"] }]));
    model.setState({ deleted: [] });
    await waitFor(() => expect(page.queryByRole("button", { name: "Undo" })).toBeNull());
  });

  it("deletes what can be deleted", async () => {
    const { page, model, user } = show(with_(CARDS, [running, completed, stopped] as Card[]));
    await user.click(page.getByRole("button", { name: "Delete selected" }));
    expect(page.getByText("Delete 2 trainings?").parentElement?.textContent).toContain("One that is running stays.");
    expect(page.getByRole("list", { name: "What would be deleted" }).textContent).toContain("demo-l2-topk-k24");
    await user.click(page.getByRole("button", { name: "Delete trainings" }));
    expect(sent(model, "run_actions")).toMatchObject([{ action: "delete", training_ids: ids(completed, stopped) }]);
    await waitFor(() => expect(page.queryByRole("listitem", { name: "demo-l2-topk-k24" })).toBeNull());
  });

  it("says which of the selected runs the filter hides, and names them before it acts", async () => {
    const { page, model, user } = show(with_(CARDS, [running, paused, queued] as Card[]));
    expect(page.queryByText(/hidden by the filter/)).toBeNull();
    await user.click(page.getByRole("tab", { name: "Paused 1" }));
    expect(page.getByText("3 selected")).toBeTruthy();
    expect(page.getByText("2 hidden by the filter")).toBeTruthy();
    const stop = page.getByRole("button", { name: "Stop selected" });
    expect(stop.title).toBe("Stop 3 trainings, 2 hidden by the filter");
    await user.click(stop);
    const names = within(page.getByRole("list", { name: "What would be stopped" })).getAllByRole("listitem");
    expect(names.map((one) => one.textContent)).toEqual([
      `${running?.name} (hidden by the filter)`,
      paused?.name,
      `${queued?.name} (hidden by the filter)`,
    ]);
    await user.click(page.getByRole("button", { name: "Keep running" }));
    await user.click(page.getByRole("button", { name: "Deselect hidden" }));
    expect(sent(model, "chart")).toMatchObject([{ training_ids: ids(paused) }]);
    await waitFor(() => expect(page.queryByText(/hidden by the filter/)).toBeNull());
    expect(stop.title).toBe(`Stop ${paused?.name}`);
    // One that is seen, and has nothing to lose, needs no question.
    await user.click(stop);
    expect(sent(model, "run_actions")).toMatchObject([{ action: "stop", training_ids: ids(paused) }]);
  });

  it("asks before it stops a run that cannot be seen, whatever would be lost", async () => {
    const { page, model, user } = show(with_(CARDS, [queued] as Card[]));
    fireEvent.input(page.getByRole("searchbox", { name: "Search trainings" }), { target: { value: "no such run" } });
    await user.click(page.getByRole("button", { name: "Stop selected" }));
    expect(page.getByText(`Stop ${queued?.name}?`)).toBeTruthy();
    expect(page.getByRole("list", { name: "What would be stopped" }).textContent).toContain("hidden by the filter");
    expect(sent(model, "run_actions")).toEqual([]);
  });

  it("exports into a folder, and says where", async () => {
    const { page, model, user } = show(with_(CARDS, [paused, completed] as Card[]));
    await user.click(page.getByRole("button", { name: "Export selected" }));
    const form = within(page.getByRole("form", { name: "Export selected" }));
    expect(document.activeElement).toBe(form.getByRole("textbox", { name: "Folder" }));
    await user.keyboard("{Enter}");
    expect(sent(model, "export_runs")).toMatchObject([{ training_ids: ids(paused, completed), folder: "trainings" }]);
    await waitFor(() => expect(page.getByText("2 trainings are in /workspace/trainings.")).toBeTruthy());
  });
});

describe("a group", () => {
  const name = "gpt2-l4-6-8-batchtopk";

  it("is one card that opens into its layers", async () => {
    const view = show(crowdedState());
    const group = cardOf(view, name);
    expect(group.getByText("3 layers, one job")).toBeTruthy();
    await view.user.click(group.getByRole("button", { name: "Show layers" }));
    const table = within(group.getByRole("table", { name: `Layers of ${name}` }));
    expect(table.getAllByRole("row")).toHaveLength(4);
    await view.user.click(table.getByRole("button", { name: "Import layer 6" }));
    expect(sent(view.model, "run_actions")).toMatchObject([
      { action: "import", training_ids: ["train_gpt2-l6-batchtopk-k48"] },
    ]);
    await view.user.click(table.getByRole("button", { name: "Details of gpt2-l8-batchtopk-k48" }));
    await waitFor(() => expect(group.getByRole("table", { name: "Checkpoints" })).toBeTruthy());
    // Whose details they are stands above them, and its row is marked; Esc closes them before the table.
    const heading = group.getByRole("heading", { name: /^Details of/ });
    expect(heading.textContent).toBe("Details of blocks.8.hook_resid_post");
    const marked = table.getAllByRole("row").filter((row) => row.classList.contains("sel"));
    expect(marked.map((row) => row.textContent)).toEqual([expect.stringContaining("blocks.8.hook_resid_post")]);
    await view.user.keyboard("{Escape}");
    expect(group.queryByRole("table", { name: "Checkpoints" })).toBeNull();
    expect(group.getByRole("table", { name: `Layers of ${name}` })).toBeTruthy();
    expect(document.activeElement?.getAttribute("aria-label")).toBe("Details of gpt2-l8-batchtopk-k48");
    await view.user.keyboard("{Escape}");
    expect(group.queryByRole("table")).toBeNull();
    await waitFor(() => expect(document.activeElement?.textContent).toBe("Show layers"));
  });

  it("counts as one in the filters, as it is one in the list", async () => {
    const { page, user } = show(crowdedState());
    const list = page.getByRole("list", { name: "Trainings" });
    expect(list.children).toHaveLength(9);
    expect(page.getByRole("tab", { name: "All 9" })).toBeTruthy();
    await user.click(page.getByRole("tab", { name: "Completed 3" }));
    expect(list.children).toHaveLength(3);
  });

  it("is selected whole, or a layer at a time", async () => {
    const view = show(crowdedState());
    const group = cardOf(view, name);
    const box = group.getByRole("checkbox", { name: `Select ${name}` }) as HTMLInputElement;
    await view.user.click(box);
    await waitFor(() => expect(view.model.state.charts.training_ids).toHaveLength(5));
    await view.user.click(group.getByRole("button", { name: "Show layers" }));
    await view.user.click(group.getByRole("checkbox", { name: "Select gpt2-l6-batchtopk-k48" }));
    await waitFor(() => expect(box.indeterminate).toBe(true));
  });

  it("is imported and deleted as a whole", async () => {
    const view = show(crowdedState());
    const group = cardOf(view, name);
    await view.user.click(group.getByRole("button", { name: "Import to SAEs" }));
    expect(sent(view.model, "run_actions")[0]).toMatchObject({ action: "import", training_ids: { length: 3 } });
    await view.user.click(group.getByRole("button", { name: "Delete" }));
    expect(group.getByRole("alert").textContent).toContain(
      `Delete ${name}? Its 3 trainings go, and their 9 checkpoints (2.7 GB) and metrics go too.`,
    );
    await view.user.click(group.getByRole("button", { name: "Delete trainings" }));
    expect(sent(view.model, "group_action")).toMatchObject([{ action: "delete", group_id: "group_1" }]);
    await waitFor(() => expect(view.page.queryByRole("listitem", { name })).toBeNull());
  });
});

describe("more actions of a group", () => {
  const name = "gpt2-l4-6-8-batchtopk";
  const opened = async (item: string, cards: Card[] = crowdedState().cards) => {
    const view = show({ ...crowdedState(), cards });
    const group = cardOf(view, name);
    await view.user.click(group.getByRole("button", { name: `More actions: ${name}` }));
    const items = group.getAllByRole("menuitem").map((one) => one.textContent);
    expect(items).toEqual(["Rename", "Details", "Save as template", "Export", "Copy ID", "Delete"]);
    await view.user.click(group.getByRole("menuitem", { name: item }));
    return { ...view, group };
  };

  it("rename it, not its runs", async () => {
    const { page, model, user, group } = await opened("Rename");
    const box = group.getByRole("textbox", { name: `New name of ${name}` });
    expect(document.activeElement).toBe(box);
    await user.retype(box, "three layers{Enter}");
    expect(sent(model, "rename_group")).toMatchObject([{ group_id: "group_1", name: "three layers" }]);
    await waitFor(() => expect(page.getByRole("listitem", { name: "three layers" })).toBeTruthy());
  });

  it("open its layers, and copy the id that Python takes", async () => {
    const copied = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
    const { user, group } = await opened("Details");
    expect(group.getByRole("table", { name: `Layers of ${name}` })).toBeTruthy();
    await user.click(group.getByRole("button", { name: `More actions: ${name}` }));
    await user.click(group.getByRole("menuitem", { name: "Copy ID" }));
    expect(copied).toHaveBeenCalledWith("group_1");
    await waitFor(() => expect(document.querySelector("[aria-live=polite]")?.textContent).toBe("ID copied."));
  });

  it("keep the settings of one run as a template, and say what is left out", async () => {
    const { model, user, group } = await opened("Save as template");
    expect(group.getByText(/^A template keeps one hook name: blocks\.4\.hook_resid_post\./)).toBeTruthy();
    await user.keyboard("{Enter}");
    expect(sent(model, "save_template")).toMatchObject([{ name, training_id: "train_gpt2-l4-batchtopk-k48" }]);
    await waitFor(() => expect(group.getByText(`Saved as template “${name}”.`)).toBeTruthy());
  });
});

describe("a run that failed", () => {
  it("is retried with other settings where none of its checkpoints is worth resuming from", async () => {
    const retry = { "optimizer.lr": 2e-4 };
    const note = { what: "Loss diverged by step 76.", where: null, hint: "No checkpoint is good.", kind: "diverged" };
    const failed = card({ name: "wild", status: "failed", note, last_checkpoint_step: 28, retry });
    const view = show(with_([failed]));
    const shown = cardOf(view, "wild");
    expect(shown.queryByRole("button", { name: /^Resume from/ })).toBeNull();
    await view.user.click(shown.getByRole("button", { name: "Retry with a lower learning rate" }));
    const rate = (await waitFor(() => view.page.getByLabelText("Learning rate"))) as HTMLInputElement;
    await waitFor(() => expect(Number(rate.value)).toBe(2e-4));
  });
});

describe("a group that failed", () => {
  it("is resumed as one job, and shows the log of the run that its note is about", async () => {
    const note = { what: "Out of memory on cuda:0 at 2M tokens.", where: null, hint: "Train fewer.", kind: "memory" };
    const state = crowdedState();
    const cards = state.cards.map((one) =>
      one.group_id ? { ...one, status: "failed", note, last_checkpoint_step: 400 } : one,
    );
    const { model, user, ...view } = show({ ...state, cards });
    const group = cardOf(view, "gpt2-l4-6-8-batchtopk");
    await user.click(group.getByRole("button", { name: "Show log" }));
    await waitFor(() => expect(group.getByRole("tab", { name: "Log", selected: true })).toBeTruthy());
    const log = { training_id: "train_gpt2-l4-batchtopk-k48" };
    await waitFor(() => expect(sent(model, "details")).toMatchObject([log]));
    await user.click(group.getByRole("button", { name: "Resume from step 400" }));
    expect(sent(model, "group_action")).toMatchObject([{ action: "resume", group_id: "group_1" }]);
    expect(sent(model, "run_action")).toEqual([]);
  });
});

describe("a group that runs", () => {
  it("is paused as one job, and one of its runs can be stopped alone", async () => {
    const state = crowdedState();
    const cards = state.cards.map((one) => (one.group_id ? { ...one, status: "running" } : one));
    const view = show({ ...state, cards });
    const group = cardOf(view, "gpt2-l4-6-8-batchtopk");
    await view.user.click(group.getByRole("button", { name: "Show layers" }));
    const layer = within(group.getByRole("button", { name: "Stop layer 6" }).closest("tr") as HTMLElement);
    await view.user.click(layer.getByRole("button", { name: "Stop layer 6" }));
    expect(group.getByText("Stop gpt2-l6-batchtopk-k48?").parentElement?.textContent).toMatch(
      /tokens are not in a checkpoint yet/,
    );
    await view.user.keyboard("{Escape}");
    expect(group.queryByText("Stop gpt2-l6-batchtopk-k48?")).toBeNull();
    expect(sent(view.model, "run_actions")).toEqual([]);
    await view.user.click(layer.getByRole("button", { name: "Stop layer 6" }));
    await view.user.click(group.getByRole("button", { name: "Stop and save checkpoint" }));
    expect(sent(view.model, "run_actions")).toMatchObject([
      { action: "stop", training_ids: ["train_gpt2-l6-batchtopk-k48"] },
    ]);
    // The row says so; the job goes on, whoever of its runs comes first.
    expect(layer.getByRole("button", { name: "Stopping layer 6…" }).getAttribute("aria-disabled")).toBe("true");
    expect(group.getByRole("button", { name: "Pause" }).getAttribute("aria-disabled")).toBeNull();
    await waitFor(() => expect(group.getByText("Stopped")).toBeTruthy(), { timeout: 3000 });
    await view.user.click(group.getByRole("button", { name: "Pause" }));
    expect(sent(view.model, "group_action")).toMatchObject([{ action: "pause", group_id: "group_1" }]);
    expect(group.getByRole("button", { name: "Hide layers" })).toBeTruthy(); // what one looks at stays open
  });

  it("says Stopping in the row as long as the workspace says so", async () => {
    const state = crowdedState();
    let first = true;
    const cards = state.cards.map((one) => {
      if (!one.group_id) return one;
      const status = first ? "stopping" : "running";
      first = false;
      return { ...one, status };
    });
    const group = cardOf(show({ ...state, cards }), "gpt2-l4-6-8-batchtopk");
    expect(group.getByRole("button", { name: "Stop" }).getAttribute("aria-disabled")).toBeNull();
    fireEvent.click(group.getByRole("button", { name: "Show layers" }));
    const word = /^Stopping layer \d…$/;
    await waitFor(() => expect(group.getAllByRole("button", { name: word })).toHaveLength(1));
    expect(group.getAllByRole("button", { name: /^Stop layer/ })).toHaveLength(2);
  });
});

describe("checkpoints and advice", () => {
  const details = async (changes: Partial<Card> = {}) => {
    const view = show(with_([card({ name: "run", ...changes })]));
    await view.user.click(view.page.getByRole("button", { name: "More actions: run" }));
    await view.user.click(view.page.getByRole("menuitem", { name: "Details" }));
    await waitFor(() => expect(view.page.getByRole("table", { name: "Checkpoints" })).toBeTruthy());
    return view;
  };

  it("stay open while the run is paused", async () => {
    const view = await details();
    await view.user.click(view.page.getByRole("tab", { name: "Log" }));
    await view.user.click(cardOf(view, "run").getByRole("button", { name: "Pause" }));
    expect(sent(view.model, "run_action")).toMatchObject([{ action: "pause" }]);
    expect(view.page.getByRole("tab", { name: "Log" }).getAttribute("aria-selected")).toBe("true");
  });

  it("goes on from a checkpoint in a new run, which gets the focus", async () => {
    const { page, model, user } = await details();
    await user.click(page.getByRole("button", { name: "Load checkpoint step 1,000" }));
    expect(page.getByText("Load checkpoint step 1,000?")).toBeTruthy();
    await user.click(page.getByRole("button", { name: "Continue from step 1,000" }));
    expect(sent(model, "checkpoint_action")).toMatchObject([{ action: "continue", checkpoint_id: "c" }]);
    const name = "gpt2-l6-topk-k32-from-1000";
    await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe(name));
  });

  it("shows what the best checkpoint is chosen by: FVU on held-out text where it was measured there", async () => {
    const { page, model } = await details();
    const table = () =>
      within(page.getByRole("table", { name: "Checkpoints" }))
        .getAllByRole("row")
        .map((row) => within(row).getAllByRole(row.querySelector("td") ? "cell" : "columnheader"))
        .map((cells) => cells.slice(3, -3).map((cell) => cell.textContent));
    expect(table()).toEqual([
      ["Held-out FVU", "Batch FVU"],
      ["–", "0.114"],
      ["0.118", "0.116"],
      ["0.123", "0.116"],
    ]);
    const first = model.details.checkpoints[0] as CheckpointData;
    const again = (best_by: string, row: Partial<CheckpointData>, step: number) => {
      model.details = { ...model.details, best_by, checkpoints: [{ ...first, ...row }] };
      model.setState({ cards: [card({ name: "run", last_checkpoint_step: step })] });
    };
    again("", { val_fvu: 0.121 }, 1);
    await waitFor(() => expect(table()).toEqual([["Held-out FVU"], ["0.121"]]));
    again("CE recovered", { best_by: 0.95714 }, 2);
    await waitFor(() =>
      expect(table()).toEqual([
        ["CE recovered", "FVU"],
        ["0.957", "0.114"],
      ]),
    );
  });

  it("says that the best checkpoint goes", async () => {
    const { model, page, user } = await details();
    const first = model.details.checkpoints[0] as CheckpointData;
    const best = { ...first, id: "b", label: "best, mine", best: true };
    model.details = { ...model.details, checkpoints: [first, best] };
    model.setState({ cards: [card({ name: "run", last_checkpoint_step: first.step + 1 })] });
    await user.click(await page.findByRole("button", { name: "Delete checkpoint best, mine" }));
    expect(page.getByText(/It is the best one; the next best takes its place/)).toBeTruthy();
    await user.click(page.getByRole("button", { name: `Delete checkpoint ${first.label}` }));
    expect(page.queryByText(/It is the best one/)).toBeNull();
  });

  it("closes only the question of a checkpoint with Esc", async () => {
    const { page, user } = await details();
    for (const [name, word] of [
      ["Load checkpoint step 1,000", "Cancel"],
      ["Delete checkpoint step 1,000", "Keep"],
    ]) {
      await user.click(page.getByRole("button", { name }));
      expect(document.activeElement?.textContent).toBe(word);
      await user.keyboard("{Escape}");
      expect(page.queryByText(`${name}?`)).toBeNull();
      expect(page.getByRole("table", { name: "Checkpoints" })).toBeTruthy();
    }
    page.getByRole("button", { name: "Load checkpoint step 1,000" }).focus();
    await user.keyboard("{Escape}");
    expect(page.queryByRole("table", { name: "Checkpoints" })).toBeNull();
  });

  it("makes an SAE of a checkpoint, and deletes one only when asked twice", async () => {
    const { page, model, user } = await details();
    await user.click(page.getByRole("button", { name: "Load checkpoint best FVU" }));
    await user.click(page.getByRole("button", { name: "Make an SAE of it" }));
    await waitFor(() => expect(page.getByText("gpt2-l6-topk-k32-step-1500 is in the library of SAEs.")).toBeTruthy());
    await user.click(page.getByRole("button", { name: "Delete checkpoint best FVU" }));
    expect(sent(model, "checkpoint_action")).toHaveLength(1);
    expect(document.activeElement?.textContent).toBe("Keep");
    await user.click(page.getByRole("button", { name: "Delete checkpoint" }));
    expect(sent(model, "checkpoint_action")[1]).toMatchObject({ action: "delete", checkpoint_id: "b" });
  });

  it("offers to train longer from the end of a run", async () => {
    const { page, user } = await details({ status: "completed", tokens_total: 6_144_000, tokens_done: 6_144_000 });
    await user.click(page.getByRole("button", { name: "Load checkpoint latest" }));
    const note = within(page.getByText("Load checkpoint latest?").closest(".note") as HTMLElement);
    expect(note.queryByRole("button", { name: /^Continue/ })).toBeNull();
    await user.click(note.getByRole("button", { name: "Train longer" }));
    expect((page.getByRole("textbox", { name: "Tokens in all" }) as HTMLInputElement).value).toBe("12,288,000");
  });

  it("trains longer, but not shorter", async () => {
    const { page, model, user } = show(with_([completed as Card]));
    await user.click(page.getByRole("button", { name: "Train longer" }));
    const field = page.getByRole("textbox", { name: "Tokens in all" }) as HTMLInputElement;
    expect(field.value).toBe("4,000,000");
    await user.retype(field, "1M{Enter}");
    expect(field.getAttribute("aria-invalid")).toBe("true");
    expect(page.getByText("It has seen so many already. Enter more than 2,000,000.")).toBeTruthy();
    await user.retype(field, "3M{Enter}");
    expect(sent(model, "train_longer")).toMatchObject([{ tokens: 3_000_000 }]);
    const name = "demo-l2-topk-k24-longer";
    await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe(name));
  });

  it("opens the form with what is advised", async () => {
    const { page, user } = show(crowdedState());
    const run = within(page.getByRole("listitem", { name: "gpt2-l6-topk-k32" }));
    await user.click(run.getByRole("button", { name: "Advice" }));
    await waitFor(() => expect(run.getByText("Dead latents 52 % after 3M tokens.")).toBeTruthy());
    await user.click(run.getByRole("button", { name: "Why this helps" }));
    expect(run.getByText(/gets no gradient/)).toBeTruthy();
    await user.click(run.getByRole("button", { name: "Edit and retry" }));
    const k = (await waitFor(() => page.getByRole("textbox", { name: "Active latents (k)" }))) as HTMLInputElement;
    expect(k.value).toBe("48");
    expect(page.getByText("with the settings of gpt2-l6-topk-k32, changed as advised")).toBeTruthy();
  });
});

describe("where nothing stands out", () => {
  it.each([
    [null, "Nothing stands out: L0 and the loss are as they should be."],
    [0.02, "Nothing stands out: dead latents, L0 and the loss are as they should be."],
  ])("only what is known is vouched for (dead latents: %s)", (dead, words) => {
    const ended = { ...(completed as Card), tiles: { ...(completed as Card).tiles, dead } };
    const { container } = render(h(AdviceList, { store: null as unknown as Store, card: ended, rows: [] }));
    expect(container.textContent).toBe(words);
  });
});

describe("the comparison", () => {
  const compared = async () => {
    const view = show(with_(CARDS, [running, paused, completed] as Card[]));
    await view.user.click(view.page.getByRole("button", { name: "Compare" }));
    await waitFor(() => expect(view.page.getByRole("table", { name: "Configuration differences" })).toBeTruthy());
    return view;
  };

  it("shows settings that differ, results with the best, and all settings when asked", async () => {
    const { page, user } = await compared();
    expect(page.getByRole("heading", { name: "Compare 3 trainings" })).toBeTruthy();
    expect(page.queryByRole("list", { name: "Trainings" })).toBeNull();
    const table = page.getByRole("table", { name: "Configuration differences" });
    const rows = () =>
      within(table)
        .getAllByRole("rowheader")
        .map((head) => head.textContent);
    expect(rows()).not.toContain("Batch size");
    expect(within(table).getByText("0.971").tagName).toBe("B");
    await user.click(page.getByRole("checkbox", { name: "Show all settings" }));
    expect(rows()).toContain("Batch size");
  });

  it("shows more than eight runs as rows, sorted by the heading that was pressed", async () => {
    const many = [...CARDS, ...[7, 8].map((n) => card({ name: `more-${n}` }))];
    const { page, user } = show(with_(many, many));
    await user.click(page.getByRole("button", { name: "Compare" }));
    const table = within(await waitFor(() => page.getByRole("table", { name: "Configuration differences" })));
    const runs = () => table.getAllByRole("rowheader").map((head) => head.textContent);
    const [first, second, third] = many.map((one) => one.name);
    expect(runs()).toEqual(many.map((one) => one.name));
    expect(table.getByText("0.971").tagName).toBe("B");
    await user.click(table.getByRole("button", { name: "L0" })); // 32.0, 58.4, 24.0 and of the others nothing
    expect(runs().slice(0, 3)).toEqual([third, first, second]);
    expect(table.getByRole("columnheader", { name: "L0" }).getAttribute("aria-sort")).toBe("ascending");
    await user.click(table.getByRole("button", { name: "L0" }));
    expect(runs().slice(0, 3)).toEqual([second, first, third]);
    await user.click(table.getByRole("button", { name: "Throughput" })); // by number, not by text
    expect(runs().slice(0, 3)).toEqual([third, second, first]);
    await user.click(table.getByRole("button", { name: "Run" }));
    expect(runs()).toEqual(many.map((one) => one.name).sort());
  });

  it("changes the Pareto view and shows its data", async () => {
    const { page, model, user } = await compared();
    await user.click(page.getByRole("radio", { name: "CE recovered" }));
    await user.selectOptions(page.getByRole("combobox", { name: "Runs in the Pareto view" }), "");
    expect(sent(model, "pareto")).toMatchObject([{ y_axis: "ce_loss_score" }, { scope: "" }]);
    await user.click(page.getByRole("button", { name: "View data of the Pareto view" }));
    const table = within(await waitFor(() => page.getByRole("table", { name: "L0 against CE recovered" })));
    expect(table.getAllByRole("row")).toHaveLength(4);
    expect(page.getByText(/1 without both numbers left out/)).toBeTruthy();
  });

  it("is left by Esc, and what was open in the list is open again", async () => {
    const { page, user } = show(with_(CARDS, [running, paused, completed] as Card[]));
    const more = `More actions: ${(completed as Card).name}`;
    await user.click(page.getByRole("button", { name: more }));
    await user.click(page.getByRole("menuitem", { name: "Details" }));
    await user.click(page.getByRole("button", { name: "Compare" }));
    await waitFor(() => expect(document.activeElement?.textContent).toBe("Back to trainings"));
    await user.keyboard("{Escape}");
    await waitFor(() => expect(page.getByRole("list", { name: "Trainings" })).toBeTruthy());
    expect(page.getByRole("tab", { name: /^Checkpoints/ })).toBeTruthy();
  });

  it("can be saved as CSV that a program reads", async () => {
    const { page, user } = await compared();
    const made: Blob[] = [];
    vi.stubGlobal("URL", {
      ...URL,
      createObjectURL: (blob: Blob) => made.push(blob) && "blob:x",
      revokeObjectURL() {},
    });
    fireEvent.click(page.getByRole("button", { name: "Download comparison as CSV" }));
    await waitFor(() => expect(made).toHaveLength(1));
    vi.unstubAllGlobals();
    const lines = (await (made[0] as Blob).text()).split("\r\n");
    expect(lines[0]).toBe("training_id,status,sae.k,activations.prepend_bos,latest.val_fvu");
    expect(lines[1]).toMatch(/,completed,32,true,0\.118$/);
    expect(lines[2]).toMatch(/,completed,,true,0\.118$/); // no k: an empty cell
    await user.keyboard("{Escape}");
  });

  it("says of every point where it stands", async () => {
    const { page, user } = await compared();
    await user.click(page.getByRole("button", { name: "View data of the Pareto view" }));
    const table = within(await waitFor(() => page.getByRole("table", { name: "L0 against FVU" })));
    const rows = table.getAllByRole("row").map((row) => row.textContent ?? "");
    expect(rows[1]).toMatch(/TopK k 32.*on the line$/);
    expect(rows[3]).toMatch(/JumpReLU λ 1\.5e-3.*running$/);
    await user.keyboard("{Escape}"); // on its button: closes the table alone
    expect(page.queryByRole("table", { name: "L0 against FVU" })).toBeNull();
    expect(page.getByRole("region", { name: "Comparison" })).toBeTruthy();
  });

  it("says why a picture could not be saved", async () => {
    const { page, model, user } = await compared();
    vi.spyOn(HTMLImageElement.prototype, "decode").mockRejectedValue(new Error("The source image cannot be decoded."));
    await user.click(page.getByRole("button", { name: "Download Pareto view as PNG" }));
    await waitFor(() => expect(sent(model, "pictures")).toMatchObject([{ figure: "pareto" }]));
    await waitFor(() => expect(page.getByText(/cannot be decoded/)).toBeTruthy());
    vi.restoreAllMocks();
  });

  it("saves the Pareto view as SVG", async () => {
    const { page, model, user } = await compared();
    const saved: string[] = [];
    vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
      saved.push(this.download);
    });
    await user.click(page.getByRole("button", { name: "Download Pareto view as SVG" }));
    await waitFor(() => expect(sent(model, "pictures")).toMatchObject([{ figure: "pareto" }]));
    await waitFor(() => expect(saved.at(-1)).toMatch(/\.svg$/));
    vi.restoreAllMocks();
  });
});

describe("the SAE of a run", () => {
  const done = card({ name: "done", status: "completed" });

  it("is imported, then opened in the place of the runs, and left again", async () => {
    const view = show(with_([done, ...CARDS]));
    const { page, model, user } = view;
    await user.click(cardOf(view, "done").getByRole("button", { name: "Import to SAEs" }));
    const open = await waitFor(() => cardOf(view, "done").getByRole("button", { name: "Open SAE" }));
    expect(cardOf(view, "done").queryByRole("button", { name: "Import to SAEs" })).toBeNull();
    await user.click(open);
    expect(sent(model, "open_sae")).toMatchObject([{ sae_id: "sae_new" }]);
    const back = await waitFor(() => page.getByRole("button", { name: "Back to trainings" }));
    await waitFor(() => expect(document.activeElement).toBe(back));
    expect(page.queryByRole("list", { name: "Trainings" })).toBeNull();
    await user.keyboard("n");
    expect(page.queryByRole("form", { name: "New training" })).toBeNull();
    await user.keyboard("{Escape}");
    expect(sent(model, "open_sae").at(-1)).toMatchObject({ sae_id: null });
    await waitFor(() => expect(document.activeElement).toBe(page.getByRole("listitem", { name: "done" })));
  });

  it("is opened from the menu where the run was stopped, and from the note about a checkpoint", async () => {
    const early = card({ name: "early", status: "stopped", sae_id: "sae_early" });
    const view = show(with_([early, ...CARDS]));
    const { page, model, user } = view;
    await user.click(cardOf(view, "early").getByRole("button", { name: "More actions: early" }));
    await user.click(page.getByRole("menuitem", { name: "Open SAE" }));
    expect(sent(model, "open_sae")).toMatchObject([{ sae_id: "sae_early" }]);
    await user.click(await waitFor(() => page.getByRole("button", { name: "Back to trainings" })));
    await waitFor(() => expect(page.getByRole("list", { name: "Trainings" })).toBeTruthy());
    await user.click(cardOf(view, "early").getByRole("button", { name: "More actions: early" }));
    await user.click(page.getByRole("menuitem", { name: "Details" }));
    await user.click(await waitFor(() => page.getByRole("button", { name: "Load checkpoint best FVU" })));
    await user.click(page.getByRole("button", { name: "Make an SAE of it" }));
    const note = (await waitFor(() => page.getByText(/is in the library of SAEs/))).closest(".note") as HTMLElement;
    await user.click(within(note).getByRole("button", { name: "Open SAE" }));
    expect(sent(model, "open_sae").at(-1)).toMatchObject({ sae_id: "sae_new" });
  });

  it("that cannot be opened says so on the card", async () => {
    const view = show(with_([{ ...done, sae_id: "sae_gone" }]));
    view.model.options.failures = {
      open_sae: { what: "There is no SAE 'sae_gone'.", hint: "It may have been deleted." },
    };
    await view.user.click(cardOf(view, "done").getByRole("button", { name: "Open SAE" }));
    await waitFor(() => expect(cardOf(view, "done").getByText(/There is no SAE/)).toBeTruthy());
    expect(view.page.getByRole("list", { name: "Trainings" })).toBeTruthy();
  });

  it("of one run of a job is opened from the table", async () => {
    const members = [4, 6].map((layer) =>
      card({ name: `l${layer}`, status: "completed", hook_name: `blocks.${layer}.hook_resid_post`, group_id: "g" }),
    );
    const view = show(with_([{ ...(members[0] as Card), sae_id: "sae_4" }, members[1] as Card]));
    await view.user.click(view.page.getByRole("button", { name: "Show layers" }));
    expect(view.page.queryByRole("button", { name: "Open SAE" })).toBeNull();
    await view.user.click(view.page.getByRole("button", { name: "Open layer 4" }));
    expect(sent(view.model, "open_sae")).toMatchObject([{ sae_id: "sae_4" }]);
  });
});
