import { expect, it } from "vitest";
import { FakeModel, fullState } from "../../demo/runs";
import { measureTheme, parseColor } from "../../src/lib/host";
import { mount } from "../harness";

it.each([
  ["rgb(17, 17, 17)", [17, 17, 17, 1]],
  ["rgba(0, 0, 0, 0)", [0, 0, 0, 0]],
  ["#1e1e1e", [30, 30, 30, 1]],
  ["#fff", [255, 255, 255, 1]],
  ["color(srgb 1 0 0 / 0.5)", [255, 0, 0, 0.5]],
  ["transparent", null],
])("reads the colour %s", (text, color) => expect(parseColor(text)).toEqual(color));

it("takes the first opaque ground around the widget, not our own frame", () => {
  document.body.innerHTML =
    '<div style="background-color:rgb(17,17,17)"><div class="sw-frame" style="background-color:rgb(255,255,255)">' +
    '<div style="background-color:rgba(0,0,0,0)"><i></i></div></div></div>';
  expect(measureTheme(document.querySelector("i") as Element)).toBe("dark");
  document.body.innerHTML = '<div style="background-color:rgb(250,250,250)"><i></i></div>';
  expect(measureTheme(document.querySelector("i") as Element)).toBe("light");
});

it.each([
  ["auto", "light", false],
  ["light", "light", false],
  ["dark", "dark", true],
] as const)("shows the theme %s on a light page with a ground of that theme", (given, shown, own) => {
  document.body.innerHTML = "";
  document.body.style.backgroundColor = "rgb(255,255,255)";
  const model = new FakeModel(fullState());
  const get = model.get.bind(model);
  model.get = (name) => (name === "theme" ? given : get(name));
  const root = mount(model).el.querySelector<HTMLElement>(".sw");
  expect(root?.dataset.swTheme).toBe(shown);
  expect(root?.hasAttribute("data-sw-own")).toBe(own);
});
