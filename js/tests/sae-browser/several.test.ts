/** What is done with several SAEs: compare, export, delete; and how SAEs are added. */
import { waitFor, within } from "@testing-library/preact";
import { expect, it } from "vitest";
import { SAES } from "../../demo/library";
import { names, type Shown, sent, show } from "./harness";

const TRAINED = "gpt2-l6-topk-k32";

async function select(view: Shown, ...wanted: string[]) {
  for (const name of wanted) await view.user.click(view.page.getByRole("checkbox", { name: `Select ${name}` }));
}

it("compares two in place, and comes back", async () => {
  const view = show();
  const { page, user, model } = view;
  await select(view, TRAINED, "lab-run-0413");
  await user.click(page.getByRole("button", { name: "Compare selected" }));
  const region = within(page.getByRole("region", { name: "Comparison" }));
  expect(document.activeElement?.textContent).toBe("Back to SAEs");
  await waitFor(() => expect(region.getByText("0.612")).toBeTruthy());
  const rows = within(region.getByRole("table", { name: "Decoder cosine matches" })).getAllByRole("row");
  expect(rows).toHaveLength(51);
  expect(rows[2]?.textContent).toBe("7971310.986"); // feature 797 of one, 131 of the other
  expect(region.getByRole("img").getAttribute("aria-label")).toBeTruthy();
  expect(region.getByRole("table", { name: "Differences" })).toBeTruthy();
  await user.click(region.getByRole("button", { name: "Swap" }));
  await waitFor(() => expect(sent(model, "compare_saes")).toHaveLength(2));
  expect(sent(model, "compare_saes")[1]).toMatchObject({ first: "sae_lab-run-0413", second: `sae_${TRAINED}` });
  await user.keyboard("{Escape}");
  expect(names(view)).toHaveLength(6);
});

it("says why two cannot be compared", async () => {
  const view = show(SAES, {
    failures: { compare_saes: { what: "They cannot be compared.", hint: "Compare others." } },
  });
  await select(view, TRAINED, "lab-run-0413");
  await view.user.click(view.page.getByRole("button", { name: "Compare selected" }));
  await waitFor(() => expect(view.page.getByRole("alert").textContent).toContain("They cannot be compared."));
});

it("deletes several after one question", async () => {
  const view = show();
  await select(view, TRAINED, "lab-run-0413");
  await view.user.click(view.page.getByRole("button", { name: "Delete selected" }));
  expect(view.page.getByRole("alert").textContent).toContain(
    `Delete 2 SAEs: ${TRAINED} and lab-run-0413? 302 MB of weights go too. The training record stays. You can undo this for ten seconds.`,
  );
  await view.user.click(view.page.getByRole("button", { name: "Delete 2 SAEs" }));
  await waitFor(() => expect(names(view)).toHaveLength(4));
  expect(view.page.getByText("4 of 4 shown, 0 selected")).toBeTruthy();
});

it("exports several to sub-folders", async () => {
  const view = show();
  await select(view, TRAINED, "lab-run-0413");
  await view.user.click(view.page.getByRole("button", { name: "Export selected" }));
  const form = within(view.page.getByRole("form", { name: "Export selected" }));
  await view.user.click(form.getByRole("button", { name: "Write 2 SAEs" }));
  expect(sent(view.model, "export_saes")).toMatchObject([{ folder: "saes", format: "saelens" }]);
  await waitFor(() => expect(view.page.getByText("2 SAEs are in saes.")).toBeTruthy());
});

it("adds a folder of the kernel's machine", async () => {
  const view = show();
  const { page, user, model } = view;
  await user.click(page.getByRole("button", { name: "Add local files" }));
  const form = within(page.getByRole("form", { name: "Add local files" }));
  expect(document.activeElement).toBe(form.getByRole("textbox", { name: "Folder, file or zip" }));
  expect(form.getByRole("button", { name: "Add to library" }).getAttribute("aria-disabled")).toBe("true");
  await user.keyboard("/data/mine");
  await user.type(form.getByRole("textbox", { name: "Name" }), "mine");
  await user.click(form.getByRole("button", { name: "Add to library" }));
  expect(sent(model, "add_local")).toMatchObject([{ path: "/data/mine", name: "mine" }]);
  await waitFor(() => expect(page.queryByRole("form", { name: "Add local files" })).toBeNull());
  await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe("mine"));
});

it("says what was wrong with a folder and keeps what was typed", async () => {
  const view = show(SAES, { failures: { add_local: { what: "No SAE was found there.", hint: "Choose another." } } });
  await view.user.click(view.page.getByRole("button", { name: "Add local files" }));
  await view.user.keyboard("/data/none{Enter}");
  await waitFor(() => expect(view.page.getByRole("alert").textContent).toContain("No SAE was found there."));
  expect((view.page.getByRole("textbox", { name: "Folder, file or zip" }) as HTMLInputElement).value).toBe(
    "/data/none",
  );
});

it("asks what the files leave open, once they were found to", async () => {
  const hint = "Add true or false, or pass apply_b_dec_to_input=True or False where you load it.";
  const view = show(SAES, { failures: { add_local: { what: "The value is missing.", hint } } });
  const { page, user, model } = view;
  await user.click(page.getByRole("button", { name: "Add local files" }));
  expect(page.queryByRole("combobox", { name: "Subtract b_dec from the input" })).toBeNull();
  await user.keyboard("/data/open{Enter}");
  const choice = await page.findByRole("combobox", { name: "Subtract b_dec from the input" });
  await user.selectOptions(choice, "No");
  await user.click(page.getByRole("button", { name: "Add to library" }));
  expect(sent(model, "add_local").at(-1)).toMatchObject({ path: "/data/open", apply_b_dec_to_input: false });
});

const file = (name: string, size: number) => new File([new Uint8Array(size)], name);

it("sends files in pieces of at most 1 MB, in order, and shows how far it is", async () => {
  const view = show([], { delays: { upload_chunk: 20 } });
  const { page, user, model } = view;
  await user.click(page.getAllByRole("button", { name: "Add local files" })[0] as HTMLElement);
  await user.click(page.getByRole("radio", { name: "From this computer" }));
  await user.upload(page.getByLabelText("Files of an SAE"), [file("cfg.json", 10), file("w.safetensors", 2_300_000)]);
  expect(page.getByText("2 files, 2.3 MB: cfg.json, w.safetensors")).toBeTruthy();
  await user.click(page.getByRole("button", { name: "Add to library" }));
  const bar = await waitFor(() => page.getByRole("progressbar", { name: "Upload of 2 files" }));
  expect(bar.getAttribute("aria-valuemax")).toBe("100");
  await waitFor(() => expect(sent(model, "finish_upload")).toHaveLength(1));
  expect(sent(model, "begin_upload")).toMatchObject([
    {
      files: [
        { name: "cfg.json", size: 10 },
        { name: "w.safetensors", size: 2_300_000 },
      ],
    },
  ]);
  expect(
    sent(model, "upload_chunk").map(
      (command) => "offset" in command && [(command as { file?: number }).file, command.offset],
    ),
  ).toEqual([
    [0, 0],
    [1, 0],
    [1, 1_000_000],
    [1, 2_000_000],
  ]);
  expect(model.buffers.map((buffer) => buffer.byteLength)).toEqual([10, 1_000_000, 1_000_000, 300_000]);
  await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe("added-one"));
});

it("gives up an upload and tells Python to throw it away", async () => {
  const view = show(SAES, { delays: { upload_chunk: 60_000 } });
  const { page, user, model } = view;
  await user.click(page.getByRole("button", { name: "Add local files" }));
  await user.click(page.getByRole("radio", { name: "From this computer" }));
  await user.upload(page.getByLabelText("Files of an SAE"), [file("sae.zip", 1_500_000)]);
  await user.click(page.getByRole("button", { name: "Add to library" }));
  await waitFor(() => expect(sent(model, "upload_chunk")).toHaveLength(1));
  await user.click(page.getByRole("button", { name: "Cancel upload" }));
  await waitFor(() => expect(sent(model, "cancel_upload")).toMatchObject([{ upload_id: "u1" }]));
  expect(page.queryByRole("progressbar")).toBeNull();
  expect(page.queryByRole("alert")).toBeNull();
  expect(page.getByRole("button", { name: "Add to library" }).getAttribute("aria-disabled")).toBeNull();
});

it("says what was wrong with an upload", async () => {
  const view = show(SAES, { failures: { begin_upload: { what: "Not enough disk space.", hint: "Free some." } } });
  await view.user.click(view.page.getByRole("button", { name: "Add local files" }));
  await view.user.click(view.page.getByRole("radio", { name: "From this computer" }));
  await view.user.upload(view.page.getByLabelText("Files of an SAE"), [file("sae.zip", 15)]);
  await view.user.click(view.page.getByRole("button", { name: "Add to library" }));
  await waitFor(() => expect(view.page.getByRole("alert").textContent).toContain("Not enough disk space. Free some."));
});
