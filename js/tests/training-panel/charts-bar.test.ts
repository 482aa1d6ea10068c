import { act, fireEvent, waitFor } from "@testing-library/preact";
import { expect, it } from "vitest";
import { crowdedState, emptyState, FakeModel, fullState } from "../../demo/runs";
import { Rpc as RealRpc, type Rpc } from "../../src/lib/rpc";
import { csvRows } from "../../src/training-panel/charts-bar";
import { sent, show } from "./harness";

it("shows the charted runs and changes only what was changed", async () => {
  const state = fullState();
  const { page, model, user } = show({ ...state, charts: { ...state.charts, zoomed: true } }, "chart_controls");
  expect(page.getByText("gpt2-l6-jumprelu")).toBeTruthy();
  await user.click(page.getByRole("radio", { name: "Steps" }));
  await user.click(page.getByRole("checkbox", { name: "Log x axis" }));
  await user.click(page.getByRole("checkbox", { name: "Log y axis" }));
  await user.click(page.getByRole("checkbox", { name: "Show raw values" }));
  fireEvent.input(page.getByRole("slider", { name: "Smoothing" }), { target: { value: "70" } });
  await user.click(page.getByRole("button", { name: "Reset zoom" }));
  const changes = sent(model, "chart").map(({ id: _, kind: __, ...change }) => change as object);
  expect(changes).toEqual([
    { x_axis: "steps" },
    { log_x: true },
    { log_y: false },
    { show_raw: false },
    { smoothing: 70 },
    { reset_zoom: true },
  ]);
  expect(page.getByRole("radio", { name: "Steps" }).getAttribute("aria-checked")).toBe("true");
});

it("lets every chart show another metric, which the data follows, and two never the same", async () => {
  const { page, model, user } = show(fullState(), "chart_controls");
  const third = page.getByRole("combobox", { name: "Metric of chart 3" }) as HTMLSelectElement;
  expect([...third.options].map((one) => one.textContent)).toContain("CE recovered");
  await user.selectOptions(third, "Learning rate");
  await user.click(page.getByRole("button", { name: "View data" }));
  await waitFor(() => expect(page.getByRole("columnheader", { name: "Learning rate" })).toBeTruthy());
  expect(sent(model, "metric_table").at(-1)).toMatchObject({ names: ["loss", "l0", "lr"] });
  await user.selectOptions(page.getByRole("combobox", { name: "Metric of chart 1" }), "Learning rate");
  expect(sent(model, "chart")).toMatchObject([{ metrics: ["loss", "l0", "lr"] }, { metrics: ["lr", "l0", "loss"] }]);
});

it("shows one chart in full width, and all of them again", async () => {
  const { page, model, user } = show(fullState(), "chart_controls");
  await user.click(page.getByRole("button", { name: "Full width of chart 2" }));
  const back = await waitFor(() => page.getByRole("button", { name: "Full width of chart 2", pressed: true }));
  expect(page.queryByRole("combobox", { name: "Metric of chart 1" })).toBeNull();
  expect(document.activeElement).toBe(back);
  await user.click(back);
  expect(sent(model, "chart")).toMatchObject([{ wide: 2 }, { wide: 0 }]);
  expect(page.getByRole("combobox", { name: "Metric of chart 1" })).toBeTruthy();
});

it("while other runs reach further than those that are active, one click shows all of every run", async () => {
  const state = fullState();
  const { page, model, user } = show({ ...state, charts: { ...state.charts, longer: true } }, "chart_controls");
  expect(page.getByRole("radio", { name: "Active runs" }).getAttribute("aria-checked")).toBe("true");
  await user.click(page.getByRole("radio", { name: "All" }));
  expect(sent(model, "chart")).toMatchObject([{ x_range: "all" }]);
  expect(page.getByRole("radio", { name: "All" }).getAttribute("aria-checked")).toBe("true");
  model.setState({ charts: { ...state.charts, longer: false } });
  await waitFor(() => expect(page.queryByRole("radio", { name: "All" })).toBeNull());
});

it("takes a run off the charts, whether it is selected or has a line by itself", async () => {
  const state = fullState();
  const [first, second] = state.charts.training_ids;
  const charts = { ...state.charts, training_ids: [first as string], followed: [second as string] };
  const { page, model, user } = show({ ...state, charts }, "chart_controls");
  await user.click(page.getByRole("button", { name: "Take gpt2-l6-jumprelu off the charts" }));
  await user.click(page.getByRole("button", { name: "Take gpt2-l6-topk-k32 off the charts" }));
  expect(sent(model, "chart")).toMatchObject([{ followed: [] }, { training_ids: [] }]);
  await waitFor(() => expect(page.getByText("Select runs in the list to chart them")).toBeTruthy());
});

it("moves the x axis with arrows", async () => {
  const { page, model, user } = show(fullState(), "chart_controls");
  page.getByRole("radio", { name: "Tokens" }).focus();
  await user.keyboard("{ArrowLeft}");
  expect(sent(model, "chart")).toMatchObject([{ x_axis: "time" }]);
  expect(document.activeElement).toBe(page.getByRole("radio", { name: "Time" }));
});

it("shows the data behind the charts, newest first", async () => {
  const { page, user } = show(fullState(), "chart_controls");
  await user.click(page.getByRole("button", { name: "View data" }));
  await waitFor(() => expect(page.getByRole("table", { name: "Metrics of gpt2-l6-topk-k32" })).toBeTruthy());
  const rows = page.getAllByRole("row").map((row) => row.textContent ?? "");
  expect(rows).toHaveLength(4);
  expect(rows[1]).toMatch(/^30122,880.*0\.700032\.00\.200$/);
  expect(rows[2]).toMatch(/–$/); // not measured at that step
});

it("closes the data with Esc in it or on its button", async () => {
  const { page, user } = show(fullState(), "chart_controls");
  const button = page.getByRole("button", { name: "View data" });
  for (const name of ["Refresh", "View data"]) {
    await user.click(button);
    await page.findByRole("button", { name: "Refresh" });
    page.getByRole("button", { name }).focus();
    await user.keyboard("{Escape}");
    expect(page.queryByRole("table")).toBeNull();
    expect(button.getAttribute("aria-expanded")).toBe("false");
  }
});

it("writes one CSV row per run and step, all that was recorded, empty where nothing was measured", async () => {
  const model = Object.assign(new FakeModel(fullState()), { view: "chart_controls" });
  const rpc: Rpc = new RealRpc(model);
  const cards = fullState().cards.slice(0, 2);
  const rows = await csvRows(rpc, cards);
  expect(sent(model, "metric_table").map((command) => "names" in command && command.names)).toEqual([null, null]);
  expect(rows).toHaveLength(7);
  expect(rows[0]).toEqual(["training_id", "name", "step", "tokens", "time", "loss", "l0", "fvu"]);
  expect(rows[2]?.[7]).toBeNull();
  expect(rows[6]?.slice(0, 4)).toEqual(["train_gpt2-l6-jumprelu", "gpt2-l6-jumprelu", 30, 122_880]);
  expect(rows[1]?.[4]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  rpc.close();
});

it("draws nothing while there is no training", () => {
  const { page } = show(emptyState(), "chart_controls");
  expect(page.queryByRole("radiogroup")).toBeNull();
});

it("says in the footer how fresh and how full the panel is", async () => {
  const { page } = show(fullState(), "training_footer");
  await waitFor(() => expect(page.getByText(/^Updated \d\.\d s ago$/)).toBeTruthy(), { timeout: 3000 });
  expect(page.getByText("8 trainings, 2 selected")).toBeTruthy();
});

it("says in the footer in how many jobs they are, which is what the tabs of the list count", () => {
  const { page } = show(crowdedState(), "training_footer");
  expect(page.getByText("11 trainings in 9 jobs, 2 selected")).toBeTruthy();
});

it("has no data to view while nothing is drawn, and says what to do", async () => {
  const state = fullState();
  const { page, model, user } = show(state, "chart_controls");
  const button = () => page.getByRole("button", { name: "View data" });
  await user.click(button());
  await waitFor(() => expect(page.getByRole("table")).toBeTruthy());
  act(() => model.setState({ cards: state.cards.map((one) => ({ ...one, series: null })) }));
  expect(page.queryByRole("table")).toBeNull();
  for (const name of ["View data", "Download CSV", "Download PNG", "Download SVG"]) {
    expect(page.getByRole("button", { name }).getAttribute("aria-disabled")).toBe("true");
    expect(page.getByRole("button", { name }).title).toBe("Select runs in the list to chart them");
  }
  await user.click(button());
  expect(button().getAttribute("aria-expanded")).toBe("false");
});

it("explains the upright line of a run that goes on from another one", () => {
  const state = fullState();
  const { page, model } = show(state, "chart_controls");
  expect(page.queryByText("goes on from an earlier run")).toBeNull();
  const cards = state.cards.map((one) => ({ ...one, continued_from: "first", continued_step: 1000 }));
  act(() => model.setState({ cards }));
  expect(page.getByText("goes on from an earlier run")).toBeTruthy();
});

it("shows pictures where no figure of bqplot stands on the page, and asks for new ones when the state changes", async () => {
  const { page, model } = show(fullState(), "chart_controls");
  const [picture] = await page.findAllByRole("img", { name: "loss" }, { timeout: 4000 });
  expect(picture?.getAttribute("src")).toMatch(/^data:image\/svg\+xml/);
  const before = sent(model, "pictures").length;
  act(() => model.setState({}));
  await waitFor(() => expect(sent(model, "pictures").length).toBeGreaterThan(before), { timeout: 4000 });

  const frame = document.createElement("div");
  frame.className = "sw-frame";
  const figure = document.createElement("div");
  figure.className = "bqplot";
  const part = document.querySelector(".sw") as Element;
  part.replaceWith(frame);
  frame.append(part, figure);
  await waitFor(() => expect(page.queryByRole("img", { name: "loss" })).toBeNull(), { timeout: 4000 });
});
