/** Stored activations as the source of a training. */
import { waitFor, within } from "@testing-library/preact";
import { expect, it } from "vitest";
import { CARDS, fullState, STORES } from "../../demo/runs";
import type { StoreRow } from "../../src/lib/wire";
import { isStore } from "../../src/training-panel/form-state";
import { hooksOf, takenFrom } from "../../src/training-panel/stores";
import { sent, show } from "./harness";

const [pair, states] = STORES as [StoreRow, StoreRow];

async function opened(stores: StoreRow[] = STORES) {
  const view = show({ ...fullState(), cards: CARDS.slice(0, 1), total: 1 });
  view.model.stores = stores;
  await view.user.click(view.page.getByRole("button", { name: "New training" }));
  const button = await waitFor(() => view.page.getByRole("button", { name: "Use stored activations" }));
  await view.user.click(button);
  return { ...view, button };
}

it("picking one fills in the dataset, the model and the hook name, and goes to the dataset", async () => {
  const { page, user, model } = await opened();
  const table = within(await waitFor(() => page.getByRole("table", { name: "Activation stores" })));
  expect(table.getAllByRole("row")[1]?.textContent).toContain("gpt2 · wikimedia/wikipedia");
  expect(table.getAllByRole("row")[1]?.textContent).toContain("2M6.1 GB");
  await user.selectOptions(
    table.getByRole("combobox", { name: "Hook point of gpt2 wikipedia" }),
    "blocks.6.hook_mlp_out",
  );
  await user.click(table.getByRole("button", { name: "Use gpt2 wikipedia" }));
  const text = (name: string) => (page.getByRole("textbox", { name }) as HTMLInputElement).value;
  expect(text("Dataset")).toBe(pair.id);
  expect([text("Model"), text("Layer"), text("Hook name")]).toEqual(["gpt2", "6", "blocks.6.hook_mlp_out"]);
  expect((page.getByRole("combobox", { name: "Site" }) as HTMLSelectElement).value).toBe("hook_mlp_out");
  expect(text("Context length")).toBe("256");
  expect(text("Tokens")).toBe("2,000,000"); // it has no more
  expect(document.activeElement).toBe(page.getByRole("textbox", { name: "Dataset" }));
  expect(page.queryByRole("table", { name: "Activation stores" })).toBeNull();
  await waitFor(() =>
    expect(sent(model, "check").at(-1)).toMatchObject({
      config: { corpus: pair.id, hook_name: "blocks.6.hook_mlp_out" },
    }),
  );
  await user.click(page.getByRole("button", { name: "Use stored activations" }));
  const again = within(await waitFor(() => page.getByRole("table", { name: "Activation stores" })));
  expect(again.getByText("in use")).toBeTruthy();
});

it("used before is suggested by its name", async () => {
  const view = show({ ...fullState(), cards: CARDS.slice(0, 1), total: 1 });
  await view.user.click(view.page.getByRole("button", { name: "New training" }));
  await view.user.click(await view.page.findByRole("button", { name: "Help: Dataset" }));
  await view.user.click(view.page.getByRole("button", { name: pair.name }));
  expect((view.page.getByRole("textbox", { name: "Dataset" }) as HTMLInputElement).value).toBe(pair.id);
});

it("is told from text by what the dataset names", () => {
  expect(isStore(` ${pair.id} `)).toBe(true);
  expect(isStore({ kind: "activations", store_id: pair.id, cross_entropy: true })).toBe(true);
  for (const text of ["demo", "acts_notes.txt", { kind: "text", files: [] }, undefined])
    expect(isStore(text)).toBe(false);
});

it("of all heads serves the head that the form names", () => {
  const z = "blocks.6.attn.hook_z";
  const row = { ...pair, hook_names: [z] };
  expect(hooksOf(row, `${z}.5`)).toEqual([z, `${z}.5`]);
  expect(hooksOf(row, "blocks.7.attn.hook_z.5")).toEqual([z]);
  expect(hooksOf(row, z)).toEqual([z]);
  expect(takenFrom(row, z, { hook_name_out: `${z}.5` }, true)).not.toHaveProperty("hook_name_out");
});

it("one that cannot be read is grey and says why", async () => {
  const { page, user } = await opened();
  const use = await waitFor(() => page.getByRole("button", { name: "Use being captured" }));
  expect(use.getAttribute("aria-disabled")).toBe("true");
  expect(document.getElementById(use.getAttribute("aria-describedby") ?? "")?.textContent).toBe(
    "Its capture is running. Wait until it has completed.",
  );
  await user.click(use);
  expect((page.getByRole("textbox", { name: "Dataset" }) as HTMLInputElement).value).not.toBe("acts_3");
});

it("names are text, and a store whose model is not known leaves that field alone", async () => {
  const { page, user, el } = await opened();
  await user.click(await waitFor(() => page.getByRole("button", { name: "Use <b>states</b> of a script" })));
  expect(el.querySelector("td b")).toBeNull();
  expect((page.getByRole("textbox", { name: "Layer" }) as HTMLInputElement).value).toBe("3");
});

it("says how to make one where there is none, and Esc closes the list before the form", async () => {
  const { page, user, button } = await opened([]);
  await waitFor(() => expect(page.getByText(/No stored activations yet/)).toBeTruthy());
  const text = (name: string) => (page.getByRole("textbox", { name }) as HTMLInputElement).value;
  const [model, corpus, hook] = [text("Model"), text("Dataset"), text("Hook name")];
  const python = `ws.activations.capture("${model}", "${corpus}", "${hook}", tokens=1_000_000)`;
  expect(page.getByText(python)).toBeTruthy();
  const shell = `saewidgets activations capture ${model} --corpus ${corpus} --hook-name ${hook} --tokens 1000000`;
  expect(page.getByText(shell)).toBeTruthy();
  await user.keyboard("{Escape}");
  expect(page.queryByText(/No stored activations yet/)).toBeNull();
  expect(document.activeElement).toBe(button);
  await user.keyboard("{Escape}");
  expect(page.queryByRole("form", { name: "New training" })).toBeNull();
});

it("says what failed, and asks again", async () => {
  const view = show({ ...fullState(), cards: CARDS.slice(0, 1), total: 1 });
  view.model.options.failures = { list_stores: { what: "The catalog is locked.", hint: "Try again." } };
  await view.user.click(view.page.getByRole("button", { name: "New training" }));
  await view.user.click(await waitFor(() => view.page.getByRole("button", { name: "Use stored activations" })));
  await waitFor(() => expect(view.page.getByText("The catalog is locked.")).toBeTruthy());
  view.model.options.failures = {};
  await view.user.click(view.page.getByRole("button", { name: "Try again" }));
  await waitFor(() => expect(view.page.getByRole("table", { name: "Activation stores" })).toBeTruthy());
});

it("a transcoder gets another hook point of the store to reconstruct", () => {
  const [input, output] = pair.hook_names as [string, string];
  expect(takenFrom(pair, input, { tokens: "100" }, true)).toEqual({
    ...pair.values,
    hook_name: input,
    hook_name_out: output,
  });
  expect(takenFrom(pair, output, { hook_name_out: output }, true).hook_name_out).toBe(input);
  expect("hook_name_out" in takenFrom(pair, input, { hook_name_out: output }, true)).toBe(false);
  expect("hook_name_out" in takenFrom(states, "x", {}, false)).toBe(false);
  expect(takenFrom(pair, input, { tokens: "10M" }, false).tokens).toBe(2_000_000);
});
