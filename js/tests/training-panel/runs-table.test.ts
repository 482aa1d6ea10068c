import { waitFor, within } from "@testing-library/preact";
import { describe, expect, it } from "vitest";
import { CARDS, card, fullState, LAYERS } from "../../demo/runs";
import type { Card } from "../../src/lib/wire";
import { inOrder } from "../../src/training-panel/runs-table";
import { matches } from "../../src/training-panel/state";
import { sent, show } from "./harness";

const tiles = (fvu: number | string | null) => ({ ...(CARDS[0] as Card).tiles, fvu });
const named = (name: string, changes: Partial<Card>) => card({ name, ...changes });

describe("the order of a column", () => {
  const runs = [
    named("k-100", { tiles: tiles(0.3), architecture: "TopK k 1,024", status: "failed" }),
    named("k-9", { tiles: tiles(null), architecture: "TopK k 9", status: "running" }),
    named("lambda", { tiles: tiles("NaN"), architecture: "JumpReLU λ 1.5e-3", status: "completed" }),
    named("k-30", { tiles: tiles(0.1), architecture: "TopK k 30", status: "queued" }),
  ];
  it.each([
    ["fvu", false, "k-30 k-100 k-9 lambda"],
    ["fvu", true, "k-100 k-30 k-9 lambda"], // what was not measured comes last either way
    ["k", false, "lambda k-9 k-30 k-100"],
    ["name", false, "k-9 k-30 k-100 lambda"],
    ["architecture", false, "lambda k-100 k-9 k-30"],
  ])("%s, descending: %j", (by, down, expected) => {
    const order = inOrder(runs, { by, down }).map(({ name }) => name);
    expect(order.join(" ")).toBe(expected);
  });
});

it("an expression between slashes is searched for; one that is not whole finds nothing", () => {
  const run = named("topk", { architecture: "TopK k 32" });
  expect(["/k (16|32)$", "/^TOPK/", "/k (16|64)/", "/k (16/"].map((text) => matches(run, text))).toEqual([
    true,
    true,
    false,
    false,
  ]);
});

describe("the table of runs", () => {
  const open = async (cards: Card[]) => {
    const view = show({ ...fullState(cards), charts: { ...fullState().charts, training_ids: [] } });
    await view.user.click(view.page.getByRole("button", { name: "Table" }));
    const table = within(view.page.getByRole("table", { name: "Trainings" }));
    const names = () => table.getAllByRole("rowheader").map((head) => head.textContent);
    return { ...view, table, names };
  };

  it("has a row for each run, that is sorted, filtered, selected and opened", async () => {
    const { page, user, table, names, model } = await open([...CARDS, ...LAYERS]);
    expect(names()).toHaveLength(CARDS.length + LAYERS.length);
    expect(page.queryByRole("list", { name: "Trainings" })).toBeNull();
    await user.click(table.getByRole("button", { name: "Loss" }));
    await user.click(table.getByRole("button", { name: "Loss" }));
    expect(table.getByRole("columnheader", { name: "Loss" }).getAttribute("aria-sort")).toBe("descending");
    await user.click(page.getByRole("tab", { name: /^Completed/ }));
    await user.type(page.getByRole("searchbox", { name: "Search trainings" }), "/^demo-l2.*24$/");
    expect(names()).toEqual(["demo-l2-topk-k24"]);
    await user.click(table.getByRole("checkbox", { name: "Select demo-l2-topk-k24" }));
    expect(sent(model, "chart").at(-1)).toMatchObject({ training_ids: ["train_demo-l2-topk-k24"] });
    const name = table.getByRole("button", { name: "demo-l2-topk-k24" });
    await user.click(name);
    expect(name.getAttribute("aria-expanded")).toBe("true");
    expect(page.getByRole("listitem", { name: "demo-l2-topk-k24" })).toBeTruthy();
    expect(table.getAllByRole("checkbox", { name: "Select demo-l2-topk-k24" })).toHaveLength(1);
    await user.keyboard("{Escape}");
    expect(page.queryByRole("listitem", { name: "demo-l2-topk-k24" })).toBeNull();
  });

  it("shows the columns that were chosen", async () => {
    const { page, user, table } = await open(CARDS);
    await user.click(page.getByRole("checkbox", { name: "Column Hook" }));
    expect(table.queryByRole("columnheader", { name: "Hook" })).toBeNull();
    expect(table.getByRole("columnheader", { name: "LR" })).toBeTruthy();
  });

  it("draws a hundred rows, and more when asked; a run that is called for is opened", async () => {
    const many = Array.from({ length: 250 }, (_, i) => card({ id: `r${i}`, name: `run-${i}`, created_at: -i }));
    const { page, user, names, model } = await open(many);
    expect(names()).toHaveLength(100);
    await user.click(page.getByRole("button", { name: "Show 100 more" }));
    expect(names()).toHaveLength(200);
    await user.click(page.getByRole("button", { name: "New training" }));
    await waitFor(() => expect(page.getByRole("textbox", { name: "Name" })).toBeTruthy());
    await user.type(page.getByRole("textbox", { name: "Name" }), "mine{Enter}");
    await waitFor(() => expect(sent(model, "create")).toHaveLength(1));
    await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe("mine"));
  });
});
