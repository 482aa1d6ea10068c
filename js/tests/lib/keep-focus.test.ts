import { afterEach, beforeEach, expect, it } from "vitest";
import { keepFocus } from "../../src/lib/keep-focus";

let root: HTMLElement;
let stop: AbortController;

beforeEach(() => {
  stop = new AbortController();
  root = document.createElement("section");
  root.innerHTML = `
    <div class="toolbar"><button id="first">First</button></div>
    <ul><li id="card"><button id="pause">Pause</button><button id="cancel">Cancel</button></li></ul>`;
  document.body.append(root);
  keepFocus(root, stop.signal);
});

afterEach(() => {
  stop.abort();
  root.remove();
});

const byId = (id: string) => document.getElementById(id) as HTMLButtonElement;
const settled = () => new Promise((resolve) => setTimeout(resolve, 10));

it("goes to the neighbour of a button that was taken away", async () => {
  byId("pause").focus();
  byId("pause").remove();
  await settled();
  expect(document.activeElement?.id).toBe("cancel");
});

it("goes further out when the whole card is gone", async () => {
  byId("cancel").focus();
  byId("card").remove();
  await settled();
  expect(document.activeElement?.id).toBe("first");
});

it("leaves focus where somebody put it", async () => {
  const outside = document.createElement("input");
  document.body.append(outside);
  byId("pause").focus();
  outside.focus();
  byId("pause").remove();
  await settled();
  expect(document.activeElement).toBe(outside);
  outside.remove();
});

it("does not come back to somebody who left for the page", async () => {
  byId("pause").focus();
  byId("pause").blur();
  await settled();
  byId("pause").remove();
  await settled();
  expect(document.activeElement).toBe(document.body);
});

it("ends with the view", async () => {
  byId("pause").focus();
  stop.abort();
  byId("pause").remove();
  await settled();
  expect(document.activeElement).toBe(document.body);
});

/** Adds a box with buttons, as a form or a question that opens in place; the first one takes the focus. */
function openBox(...names: string[]): HTMLElement {
  const box = document.createElement("div");
  box.innerHTML = names.map((name) => `<button id="${name}">${name}</button>`).join("");
  root.prepend(box);
  byId(names[0] as string).focus();
  return box;
}

it("goes back to what opened a box that closes", async () => {
  byId("cancel").focus();
  const box = openBox("one", "two");
  byId("two").focus();
  box.remove();
  await settled();
  expect(document.activeElement?.id).toBe("cancel");
});

it("goes back through boxes that opened one another", async () => {
  byId("cancel").focus();
  const menu = openBox("rename");
  const form = openBox("save");
  menu.remove();
  form.remove();
  await settled();
  expect(document.activeElement?.id).toBe("cancel");
});

it("finds an opener that was drawn anew, in its own list item", async () => {
  const list = root.querySelector("ul") as HTMLElement;
  const items = (name: string) =>
    ["a", "b"].map((item) => `<li aria-label="${item}"><button id="${name}-${item}">Delete</button></li>`).join("");
  list.innerHTML = items("old");
  byId("old-b").focus();
  const box = openBox("keep");
  list.innerHTML = items("new");
  box.remove();
  await settled();
  expect(document.activeElement?.id).toBe("new-b");
});

it("goes to a neighbour when what opened the box is gone for good", async () => {
  byId("cancel").focus();
  const box = openBox("keep");
  byId("card").remove();
  box.remove();
  await settled();
  expect(document.activeElement?.id).toBe("first");
});
