import { expect, it } from "vitest";
import { measureTheme, parseColor } from "../../src/lib/host";

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
