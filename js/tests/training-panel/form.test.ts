import { fireEvent, waitFor, within } from "@testing-library/preact";
import { describe, expect, it, vi } from "vitest";
import { CARDS, CHECK, emptyState, fullState } from "../../demo/runs";
import { cardOf, type Shown, sent, show } from "./harness";

/** Two runs, one of them failed: a short list keeps the queries quick. */
const few = () => ({ ...fullState(), cards: CARDS.filter((one) => /jumprelu|pythia/.test(one.name)), total: 2 });

async function openForm(state = few()) {
  const view = show(state);
  await view.user.click(view.page.getByRole("button", { name: "New training" }));
  await waitFor(() => expect(view.page.getByRole("textbox", { name: "Model" })).toBeTruthy());
  return { ...view, form: within(view.page.getByRole("form", { name: "New training" }) as HTMLElement) };
}

const box = (form: ReturnType<typeof within>, name: string) => form.getByRole("textbox", { name }) as HTMLInputElement;

async function retype({ user }: Pick<Shown, "user">, input: HTMLInputElement, text: string) {
  await user.clear(input);
  if (text) await user.type(input, text);
}

describe("New training", () => {
  it("has the groups, fields and buttons of the specification, and starts in Model", async () => {
    const { form } = await openForm();
    for (const group of ["Model & data", "Where to look", "Autoencoder", "Training", "Estimate"]) {
      expect(form.getByRole("group", { name: group })).toBeTruthy();
    }
    const texts = ["Model", "Dataset", "Context length", "Layer", "Hook name", "Latents (d_sae)", "Active latents (k)"];
    for (const name of [...texts, "Name", "Tokens", "Batch size", "Learning rate", "Seed"]) box(form, name);
    for (const name of ["Precision", "Site", "Architecture", "Device"]) form.getByRole("combobox", { name });
    for (const name of ["Start training", "Cancel", "Close form", "Help: Layer"]) form.getByRole("button", { name });
    expect(document.activeElement).toBe(box(form, "Model"));
  });

  it.each([
    ["Enter in a text field", "Name", "{Enter}"],
    ["Ctrl+Enter from a list", "Precision", "{Control>}{Enter}{/Control}"],
  ])("starts by %s, as the button does", async (_, name, keys) => {
    const { form, user, model, page } = await openForm();
    form.getByRole(name === "Name" ? "textbox" : "combobox", { name }).focus();
    await user.keyboard(keys);
    await waitFor(() => expect(sent(model, "create")).toHaveLength(1));
    await waitFor(() => expect(page.queryByRole("form", { name: "New training" })).toBeNull());
  });

  it("does not start by Enter where that means something else", async () => {
    const { form, user, model } = await openForm();
    const press = async (element: HTMLElement, keys: string) => {
      element.focus();
      await user.keyboard(keys);
    };
    await press(form.getByRole("combobox", { name: "Precision" }), "{Enter}");
    await press(form.getByRole("checkbox", { name: "Start contexts with BOS" }), "{Enter}");
    await press(form.getByRole("button", { name: "Help: Layer" }), "{Enter}");
    await press(box(form, "Name"), "{Shift>}{Enter}{/Shift}");
    fireEvent.keyDown(box(form, "Name"), { key: "Enter", isComposing: true });
    await user.click(form.getByRole("button", { name: "Save as template" }));
    await user.keyboard("mine{Enter}");
    await waitFor(() => expect(sent(model, "save_template")).toHaveLength(1));
    expect(sent(model, "create")).toEqual([]);
  });

  it("goes to the first bad field by Enter, too", async () => {
    const view = await openForm();
    const k = box(view.form, "Active latents (k)");
    await retype(view, k, "20000{Enter}");
    await waitFor(() => expect(document.activeElement).toBe(k));
    await waitFor(() => expect(k.getAttribute("aria-invalid")).toBe("true"));
    expect(view.page.getByText(/1 field needs attention/)).toBeTruthy();
    expect(view.page.queryByRole("form", { name: "New training" })).toBeTruthy();
  });

  it("shows help where it is asked for", async () => {
    const { form, user } = await openForm();
    const help = form.getByRole("button", { name: "Help: Active latents (k)" });
    expect(help.getAttribute("aria-expanded")).toBe("false");
    await user.click(help);
    expect(form.getByText("How many latents stay active per token. 32 is usual.").closest("[hidden]")).toBeNull();
    expect(help.getAttribute("aria-expanded")).toBe("true");
  });

  it("leaves out of the estimate what takes no memory: stored activations need no model", async () => {
    const model = CHECK.estimate?.memory[0] as { bytes: number };
    const before = model.bytes;
    model.bytes = 0;
    try {
      const { form } = await openForm();
      await waitFor(() => expect(form.getByRole("img", { name: /^Memory on cuda:0: SAE 500 MB/ })).toBeTruthy());
    } finally {
      model.bytes = before;
    }
  });

  it("estimates before Start", async () => {
    const { form } = await openForm();
    const estimate = form.getByRole("group", { name: "Estimate" });
    await waitFor(() => expect(estimate.textContent).toContain("≈ 3 min 28 s"));
    expect(estimate.textContent).toContain("2.9 of 8.0 GB");
    expect(within(estimate).getByRole("img").getAttribute("aria-label")).toBe(
      "Memory on cuda:0: Model 800 MB, SAE 500 MB, Activations 1.6 GB, Other programs 1.9 GB",
    );
  });

  it("puts the error in place of the hint, and Start moves to the first bad field", async () => {
    const view = await openForm();
    const { form, user, model } = view;
    const k = box(form, "Active latents (k)");
    await retype(view, k, "20000");
    await waitFor(() => expect(k.getAttribute("aria-invalid")).toBe("true"));
    const error = document.getElementById(k.getAttribute("aria-describedby") ?? "");
    expect(error?.textContent).toBe("k is 20,000 but d_sae is 16,384. Enter 1 to 16,384; 32 is usual.");
    expect(form.getByText("1 field needs attention:")).toBeTruthy();
    box(form, "Model").focus();
    await waitFor(() => expect(k.value).toBe("20,000"));
    const start = form.getByRole("button", { name: "Start training" });
    expect(start.getAttribute("aria-disabled")).toBeNull();
    await user.click(start);
    await waitFor(() => expect(document.activeElement).toBe(k));
    expect(sent(model, "create")).toEqual([]);
    box(form, "Model").focus();
    await user.click(form.getByRole("button", { name: "Active latents (k)" }));
    await waitFor(() => expect(document.activeElement).toBe(k));

    await retype(view, k, "16");
    expect(k.getAttribute("aria-invalid")).toBeNull();
    await user.click(start);
    await waitFor(() => expect(sent(model, "create")).toHaveLength(1));
    expect(sent(model, "create")[0]).toMatchObject({ config: { sae: { k: 16 } }, retry_of: null });
    await waitFor(() => expect(view.page.queryByRole("form")).toBeNull());
    await waitFor(() => expect(document.activeElement?.getAttribute("aria-label")).toBe("new-run"));
  });

  it("takes errors that only Start finds", async () => {
    const view = await openForm();
    const k = box(view.form, "Active latents (k)");
    // pressed before the check of what was just typed can have come back
    await retype(view, k, "20,000");
    await view.user.click(view.form.getByRole("button", { name: "Start training" }));
    await waitFor(() => expect(document.activeElement).toBe(k));
    expect(view.form.getByText(/k is 20,000 but/)).toBeTruthy();
    expect(view.page.getByRole("form")).toBeTruthy();
  });

  it("opens Advanced to show an error in it", async () => {
    const view = await openForm();
    const clip = view.el.querySelector<HTMLInputElement>("details input[type=text]") as HTMLInputElement;
    const details = clip.closest("details") as HTMLDetailsElement;
    details.open = true;
    await retype(view, clip, "lots");
    details.open = false;
    await view.user.click(view.form.getByRole("button", { name: "Start training" }));
    await waitFor(() => expect(details.open).toBe(true));
    expect(document.activeElement).toBe(clip);
  });

  it("finds advanced settings, and shows those that were changed alone", async () => {
    const view = await openForm();
    const { form, user, el, model } = view;
    const summary = within(el.querySelector("details") as HTMLElement);
    const labels = () => [...el.querySelectorAll("details .g label:not(.ck)")].map((label) => label.textContent);
    const all = labels();
    const search = form.getByRole("searchbox", { name: "Search settings" });
    await user.type(search, "NORM of the gradient{Enter}"); // in the help; Enter starts nothing
    expect(labels()).toEqual(["Gradient clip"]);
    expect(summary.getByText(`1 of ${all.length + 1}`)).toBeTruthy(); // the other one is a box to tick
    await retype(view, box(form, "Gradient clip"), "2");
    await user.type(search, " nowhere");
    expect(summary.getByText(/^None of /)).toBeTruthy();
    await user.clear(search);
    expect(labels()).toEqual(all);
    expect(summary.getByText(`Advanced: ${all.length + 1} settings, 1 changed`)).toBeTruthy();
    await user.click(form.getByRole("checkbox", { name: "Changed only" }));
    await retype(view, box(form, "Gradient clip"), "1"); // as it was: it stays where it is typed in
    expect(labels()).toEqual(["Gradient clip"]);
    expect(sent(model, "create")).toEqual([]);
  });

  it("hides settings of the text where stored activations are read", async () => {
    const view = await openForm();
    expect(view.form.getByRole("checkbox", { name: "Start contexts with BOS" })).toBeTruthy();
    await retype(view, box(view.form, "Dataset"), "acts_01ARZ3NDEKTSV4RRFFQ69G5FAV");
    expect(view.form.queryByRole("checkbox", { name: "Start contexts with BOS" })).toBeNull();
  });

  it("shows an error of the composed hook name at Layer, once", async () => {
    const view = await openForm();
    const { form, model } = view;
    const answer = model.send.bind(model);
    vi.spyOn(model, "send").mockImplementation((content) => {
      const command = content as { id: string; kind: string };
      if (command.kind !== "check") return answer(content);
      const value = {
        ...CHECK,
        fields: { hook_name: "gpt2 has no blocks.99.hook_z: layers 0 to 11." },
        estimate: null,
      };
      setTimeout(() => model.emit("msg:custom", { id: command.id, kind: "result", value }, []), 5);
    });
    await retype(view, box(form, "Layer"), "99");
    await waitFor(() => expect(box(form, "Layer").getAttribute("aria-invalid")).toBe("true"));
    const [error, ...more] = form.getAllByText("gpt2 has no blocks.99.hook_z: layers 0 to 11.");
    expect(more).toEqual([]);
    expect(error?.innerHTML).toContain("blocks.<wbr>99.<wbr>hook_<wbr>z"); // a narrow column breaks it there
    expect(box(form, "Hook name").getAttribute("aria-invalid")).toBeNull();
    expect(form.getByText("1 field needs attention:")).toBeTruthy();
  });

  it("says what it does after an edit, and takes only the answer to the newest check", async () => {
    const view = await openForm();
    const { form, model } = view;
    const estimate = form.getByRole("group", { name: "Estimate" });
    await waitFor(() => expect(estimate.textContent).toContain("≈ 3 min 28 s"));
    const answer = model.send.bind(model);
    const checks: { id: string; config: { model?: string } }[] = [];
    vi.spyOn(model, "send").mockImplementation((content) => {
      const command = content as { id: string; kind: string; config: { model?: string } };
      if (command.kind !== "check") return answer(content);
      checks.push(command);
      model.emit("msg:custom", { id: command.id, kind: "ack" }, []);
    });
    const reply = (i: number, words: string) =>
      model.emit("msg:custom", { id: checks[i]?.id, kind: "result", value: { ...CHECK, hints: { model: words } } }, []);
    await retype(view, box(form, "Model"), "slow/one");
    expect(form.getByText("Looking up the model…")).toBeTruthy();
    expect(estimate.textContent).toBe("Checking…");
    expect(box(form, "Name").placeholder).toBe("");
    expect(form.queryByText(/124M parameters/)).toBeNull();
    await waitFor(() => expect(checks.at(-1)?.config.model).toBe("slow/one"));
    const slow = checks.length - 1;
    await retype(view, box(form, "Model"), "other");
    reply(slow, "1B parameters");
    expect(form.queryByText(/1B parameters/)).toBeNull();
    await waitFor(() => expect(checks.at(-1)?.config.model).toBe("other"));
    reply(checks.length - 1, "2B parameters");
    await waitFor(() => expect(form.getByText(/2B parameters/)).toBeTruthy());
    expect(form.queryByText("Looking up the model…")).toBeNull();
    expect(estimate.textContent).toContain("≈ 3 min 28 s");
  });

  it("asks again while Python still looks something up", async () => {
    const view = await openForm();
    await waitFor(() => expect(view.form.getByText(/124M parameters/)).toBeTruthy());
    let asked = 0;
    vi.spyOn(view.model, "send").mockImplementation((content) => {
      const { id, kind } = content as { id: string; kind: string };
      if (kind !== "check") return;
      asked += 1;
      const value = asked === 1 ? { ...CHECK, pending: ["model"], model: null, estimate: null } : CHECK;
      setTimeout(() => view.model.emit("msg:custom", { id, kind: "result", value }, []), 5);
    });
    await retype(view, box(view.form, "Model"), "gpt2");
    await waitFor(() => expect(asked).toBe(1));
    const estimate = view.form.getByRole("group", { name: "Estimate" });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(view.form.getByText("Looking up the model…")).toBeTruthy();
    expect(estimate.textContent).toBe("Checking…");
    await waitFor(() => expect(view.form.getByText(/124M parameters/)).toBeTruthy(), { timeout: 3000 });
    expect(asked).toBe(2);
    expect(estimate.getAttribute("aria-busy")).toBe("false");
  });

  it("moves the layer to the middle of another model, unless somebody chose it", async () => {
    const view = await openForm();
    const layer = () => (box(view.form, "Layer") as HTMLInputElement).value;
    await waitFor(() => expect(view.form.getByText(/124M parameters/)).toBeTruthy());
    const answer = view.model.send.bind(view.model);
    let layers = 6;
    vi.spyOn(view.model, "send").mockImplementation((content) => {
      const { id, kind } = content as { id: string; kind: string };
      if (kind !== "check") return answer(content);
      const value = { ...CHECK, model: { ...CHECK.model, layers } };
      setTimeout(() => view.model.emit("msg:custom", { id, kind: "result", value }, []), 5);
    });
    await retype(view, box(view.form, "Model"), "small");
    await waitFor(() => expect(layer()).toBe("3"));
    await retype(view, box(view.form, "Layer"), "5");
    layers = 40;
    await retype(view, box(view.form, "Model"), "large");
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(layer()).toBe("5");
  });

  it("does not queue checks for a kernel that is busy", async () => {
    const view = await openForm();
    await waitFor(() => expect(view.form.getByText(/124M parameters/)).toBeTruthy());
    const checks: { id: string; config: { name?: string } }[] = [];
    const answer = view.model.send.bind(view.model);
    vi.spyOn(view.model, "send").mockImplementation((content) => {
      const command = content as { id: string; kind: string; config: { name?: string } };
      if (command.kind === "check") checks.push(command);
      else answer(content);
    });
    for (const name of ["a", "ab", "abc"]) {
      await retype(view, box(view.form, "Name"), name);
      await new Promise((resolve) => setTimeout(resolve, 350));
    }
    expect(checks.map(({ config }) => config.name)).toEqual(["a"]);
    view.model.emit("msg:custom", { id: checks[0]?.id, kind: "result", value: CHECK }, []);
    await waitFor(() => expect(checks.map(({ config }) => config.name)).toEqual(["a", "abc"]));
  });

  it("has one line where no time is known", async () => {
    const view = await openForm();
    const basis = "not measured on this device yet; the first 20 steps tell";
    const time = { seconds: null, tokens_per_second: null, basis, queue: 0 };
    vi.spyOn(view.model, "send").mockImplementation((content) => {
      const { id } = content as { id: string };
      const value = { ...CHECK, estimate: { ...CHECK.estimate, ...time } };
      setTimeout(() => view.model.emit("msg:custom", { id, kind: "result", value }, []), 5);
    });
    await retype(view, box(view.form, "Tokens"), "5M");
    const estimate = view.form.getByRole("group", { name: "Estimate" });
    await waitFor(() => expect(estimate.textContent).toContain(`Time ${basis}Disk`));
  });

  it("says the rate where the length is known once the text is counted", async () => {
    const view = await openForm();
    const time = { seconds: null, tokens_per_second: 5400, basis: "estimated from a run", queue: 0 };
    vi.spyOn(view.model, "send").mockImplementation((content) => {
      const { id } = content as { id: string };
      const value = { ...CHECK, estimate: { ...CHECK.estimate, ...time } };
      setTimeout(() => view.model.emit("msg:custom", { id, kind: "result", value }, []), 5);
    });
    await retype(view, box(view.form, "Tokens"), "5M");
    const estimate = view.form.getByRole("group", { name: "Estimate" });
    await waitFor(() =>
      expect(estimate.textContent).toContain("Time known once the text is counted5.4K tok/s, estimated from a runDisk"),
    );
  });

  it("closes an open explanation with Esc, and not the form", async () => {
    const view = await openForm();
    const help = view.form.getByRole("button", { name: "Help: Tokens" });
    await view.user.click(help);
    expect(help.getAttribute("aria-expanded")).toBe("true");
    await view.user.keyboard("{Escape}");
    expect(help.getAttribute("aria-expanded")).toBe("false");
    expect(box(view.form, "Tokens")).toBeTruthy();
  });

  it("refuses decimals with a comma in words", async () => {
    const view = await openForm();
    await retype(view, box(view.form, "Learning rate"), "0,001");
    await waitFor(() => expect(view.form.getByText(/“0,001” is not a number. Decimals take a point./)).toBeTruthy());
  });

  it("composes the hook name from layer and site", async () => {
    const view = await openForm();
    await retype(view, box(view.form, "Layer"), "3");
    await view.user.selectOptions(view.form.getByRole("combobox", { name: "Site" }), "MLP output");
    expect(box(view.form, "Hook name").value).toBe("blocks.3.hook_mlp_out");
    await retype(view, box(view.form, "Hook name"), "blocks.9.hook_attn_out");
    expect(box(view.form, "Layer").value).toBe("9");
    expect(view.form.queryByRole("textbox", { name: "Head" })).toBeNull();
    await view.user.selectOptions(view.form.getByRole("combobox", { name: "Site" }), "Attention heads");
    await retype(view, box(view.form, "Head"), "5");
    expect(box(view.form, "Hook name").value).toBe("blocks.9.attn.hook_z.5");
  });

  it("swaps the fields of the architecture", async () => {
    const { form, user } = await openForm();
    await user.selectOptions(form.getByRole("combobox", { name: "Architecture" }), "JumpReLU");
    expect(form.queryByRole("textbox", { name: "Active latents (k)" })).toBeNull();
    box(form, "Bandwidth");
    expect(box(form, "Sparsity coefficient").value).toBe("1");
  });

  it("keeps what was typed when closed with Esc, and drops it on Cancel", async () => {
    const view = await openForm();
    await retype(view, box(view.form, "Name"), "mine");
    await view.user.keyboard("{Escape}");
    expect(view.page.queryByRole("form")).toBeNull();
    await view.user.click(view.page.getByRole("button", { name: "New training" }));
    await waitFor(() =>
      expect((view.page.getByRole("textbox", { name: "Name" }) as HTMLInputElement).value).toBe("mine"),
    );
    await view.user.click(view.page.getByRole("button", { name: "Cancel" }));
    await view.user.click(view.page.getByRole("button", { name: "New training" }));
    await waitFor(() => expect((view.page.getByRole("textbox", { name: "Name" }) as HTMLInputElement).value).toBe(""));
  });

  it("starts from the settings of a failed run", async () => {
    const view = show(few());
    await view.user.click(cardOf(view, "pythia-70m-l3-standard").getByRole("button", { name: "Edit and retry" }));
    await waitFor(() => expect(view.page.getByText("with the settings of pythia-70m-l3-standard")).toBeTruthy());
    await waitFor(() => expect(sent(view.model, "form_schema")).toHaveLength(1));
    expect(sent(view.model, "form_schema")).toMatchObject([{ training_id: "train_pythia-70m-l3-standard" }]);
    const start = () => view.page.getByRole("button", { name: "Start training" });
    await waitFor(() => expect(start().getAttribute("aria-disabled")).toBe(null)); // its fields are there
    expect(view.page.getByRole("textbox", { name: "Name" })).toBeTruthy();
    await view.user.click(start());
    await waitFor(() => expect(sent(view.model, "create")).toHaveLength(1));
    expect(sent(view.model, "create")).toMatchObject([{ retry_of: "train_pythia-70m-l3-standard" }]);
  });

  it("opens from the empty state too", async () => {
    const { form, page } = await openForm(emptyState());
    expect(form.getByRole("button", { name: "Start training" })).toBeTruthy();
    expect(page.queryByText("No trainings yet")).toBeNull();
  });
});
