import { fireEvent, waitFor } from "@testing-library/preact";
import { afterEach, expect, it, vi } from "vitest";
import { FakeModel, fullState } from "../../demo/runs";
import { valueAt } from "../../src/training-panel/crosshair";
import { mount } from "../harness";

afterEach(() => void vi.restoreAllMocks());

it("reads the nearest point of a line, and nothing beside it", () => {
  const at = (x: number) => valueAt([1, 2, 4, 8], [10, 20, 40, 80], x);
  expect([1, 1.4, 1.6, 3.1, 8].map(at)).toEqual([10, 10, 20, 40, 80]);
  expect([0.9, 8.1].map(at)).toEqual([Number.NaN, Number.NaN]);
  expect(valueAt([], [], 1)).toBeNaN();
  expect(valueAt([3], [5], 3)).toBe(5);
});

const shared = (values: Record<string, unknown>, domain?: [number, number]) => ({
  get: (name: string) => values[name],
  domain,
});
const line = (labels: string[], y: number[], visible = true) => shared({ labels, visible, x: [0, 100, 200], y });

it("shows the values of all runs in all charts at the pointer, without the kernel", async () => {
  vi.spyOn(Element.prototype, "getBoundingClientRect").mockReturnValue(new DOMRect(0, 0, 200, 90));
  const scale_x = shared({}, [0, 200]);
  const charts = [0, 1, 2].map((i) => {
    const run = (slot: number, end = 3) =>
      line(
        [`${slot}`],
        [1, 2, end].map((value) => value + 10 * i),
      );
    const marks = [line(["C1"], [7, 7, 7]), run(0), run(3, Number.NaN), line(["4"], [8, 8, 8], false)];
    return shared({ children: [shared({}), shared({ scale_x, marks })] });
  });
  const state = fullState();
  state.charts = { ...state.charts, figures: "box", x_axis: "steps" };
  const manager = { get_model: async (id: string) => (id === "box" ? shared({ children: charts }) : null) };
  const model = Object.assign(new FakeModel(state), { view: "chart_controls", widget_manager: manager });
  const { el } = mount(model);
  const frame = document.createElement("div");
  frame.className = "sw-frame";
  const chart = '<div class="sw-chart"><svg class="plotarea_background"></svg></div>';
  frame.innerHTML = `<div class="sw-charts">${chart.repeat(3)}</div>`;
  document.body.append(frame);
  frame.prepend(el);
  model.setState({ charts: { ...state.charts, figures: "box2" } });
  model.setState({ charts: { ...state.charts, figures: "box" } }); // it looks for its frame again
  const tips = () => [...el.querySelectorAll(".cross > div")].map((tip) => tip.textContent?.replace(/\s+/g, " "));
  const over = frame.querySelectorAll(".plotarea_background")[1] as Element;
  await waitFor(() => {
    fireEvent.pointerMove(over, { clientX: 104 });
    expect(tips()).toEqual(["step 104 2.0000 2.0000", "step 104 12.0 12.0", "step 104 22.000 22.000"]);
  });
  fireEvent.pointerMove(over, { clientX: 199 });
  await waitFor(() => expect(tips()[0]).toBe("step 199 3.0000 –"));
  fireEvent.pointerMove(over, { clientX: 201 }); // beside the plot
  await waitFor(() => expect(tips()).toEqual([]));
  frame.remove();
});
