import { waitFor, within } from "@testing-library/preact";
import { expect, it } from "vitest";
import { LABEL_JOB, viewer } from "../../demo/viewer";
import { type Shown, sent, shown } from "./harness";

async function opened(view: Shown) {
  await view.user.click(view.page.getByRole("button", { name: "Labels" }));
  await view.user.click(view.page.getByRole("menuitem", { name: "Label with a model" }));
  return within(view.page.getByRole("form", { name: "Label with a model" }));
}

it("says what it would ask and cost before anything is sent, and starts with the typed key", async () => {
  const [view] = await shown();
  const form = await opened(view);
  await view.user.retype(
    form.getByRole("textbox", { name: "Address" }) as HTMLInputElement,
    "http://127.0.0.1:8000/v1",
  );
  await view.user.type(form.getByRole("textbox", { name: "Model" }), "toy");
  await view.user.retype(form.getByRole("textbox", { name: "At most" }) as HTMLInputElement, "0");
  await view.user.click(form.getByRole("button", { name: "Plan" }));
  expect(form.getByText("Enter 1 or more.")).toBeTruthy();
  await view.user.retype(form.getByRole("textbox", { name: "At most" }) as HTMLInputElement, "1k");
  await view.user.type(form.getByRole("textbox", { name: "Price of 1M tokens in" }), "0.15");
  await view.user.click(form.getByRole("checkbox", { name: /^Then judge/ }));
  const key = form.getByLabelText("Or type the key") as HTMLInputElement;
  expect(key.type).toBe("password");
  await view.user.type(key, "secret-key");
  await view.user.click(form.getByRole("button", { name: "Plan" }));
  const plan = await form.findByRole("group", { name: "Plan" });
  expect(plan.textContent).toContain(
    "100 features, 500 requests, about 214,300 tokens in and 11,000 out; cost about 0.039. 3 skipped",
  );
  const asked = { base_url: "http://127.0.0.1:8000/v1", model: "toy", key_env: null, limit: 1000, price: [0.15, 0] };
  expect(sent(view.model, "plan_labels")).toMatchObject([{ asked: { ...asked, index: null, score: true } }]);
  expect(JSON.stringify(sent(view.model, "plan_labels"))).not.toContain("secret-key");
  await view.user.click(form.getByRole("button", { name: "Start labelling" }));
  await waitFor(() => expect(sent(view.model, "start_labels")).toMatchObject([{ asked, key: "secret-key" }]));
  await waitFor(() => expect(view.page.queryByRole("form", { name: "Label with a model" })).toBeNull());
});

it("plans again when something was changed, and says what is wrong at its field", async () => {
  const [view, page] = await shown();
  await view.user.click(page.getByRole("button", { name: "More feature actions" }));
  await view.user.click(page.getByRole("menuitem", { name: "Label it with a model" }));
  const form = within(view.page.getByRole("form", { name: "Label with a model" }));
  await view.user.click(form.getByRole("button", { name: "Plan" }));
  await form.findByRole("button", { name: "Start labelling" });
  expect(sent(view.model, "plan_labels")).toMatchObject([{ asked: { index: 7451 } }]);
  await view.user.type(form.getByRole("textbox", { name: "Model" }), "t");
  const refused = { what: "1 field needs attention.", hint: null, fields: { model_name: "No model to ask is named." } };
  view.model.options.failures = { plan_labels: refused };
  await view.user.click(form.getByRole("button", { name: "Plan" }));
  await waitFor(() => expect(form.getByRole("textbox", { name: "Model" }).getAttribute("aria-invalid")).toBe("true"));
  expect(form.getByText("No model to ask is named.")).toBeTruthy();
});

it("explains which labels count, and why there is nothing to ask", async () => {
  const [view] = await shown();
  const form = await opened(view);
  expect(form.getByText(/^Labels of the offline heuristic do not count/)).toBeTruthy();
  const empty = { features: 0, requests: 0, skipped: 0, tokens_in: 0, tokens_out: 0, cost: null, prompt: "" };
  view.model.options.says = { plan_labels: empty };
  await view.user.click(form.getByRole("button", { name: "Plan" }));
  const plan = await form.findByRole("group", { name: "Plan" });
  expect(plan.textContent).toContain("Nothing to ask: the features of the list have a label, or never fire.");
  await view.user.click(form.getByRole("button", { name: "Start labelling" }));
  expect(sent(view.model, "start_labels")).toEqual([]);
});

it("shows how far the job is, cancels it, and says how it ended", async () => {
  const [view] = await shown(viewer({ labelling: LABEL_JOB }));
  const row = within(view.page.getByRole("group", { name: "Labels by gpt-4o-mini" }));
  expect(row.getByRole("progressbar").getAttribute("aria-valuenow")).toBe("37");
  for (const words of ["37 of 100 features", "labelling, 0.0143 spent", "ETA 45 s"])
    expect(row.getByText(words)).toBeTruthy();
  await view.user.click(row.getByRole("button", { name: "Cancel" }));
  await waitFor(() => expect(sent(view.model, "cancel_labels")).toMatchObject([{ job_id: LABEL_JOB.id }]));
  const note = {
    what: "The server does not accept the typed key.",
    where: "api.openai.com",
    hint: "Check the key.",
    kind: "error",
  };
  view.model.setState({ labelling: { ...LABEL_JOB, status: "failed", note } });
  await waitFor(() => expect(view.page.getByRole("alert").textContent).toContain("does not accept the typed key"));
  view.model.setState({ labelling: { ...LABEL_JOB, status: "completed", said: "100 labelled; cost 0.04." } });
  await view.user.click(await view.page.findByRole("button", { name: "Dismiss" }));
  expect(view.page.queryByText("100 labelled; cost 0.04.")).toBeNull();
});
