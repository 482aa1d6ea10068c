import { waitFor, within } from "@testing-library/preact";
import { expect, it } from "vitest";
import { GEMMA, listing, row } from "../../demo/hub";
import { skipping } from "../harness";
import { type Shown, sent, show } from "./harness";

async function open(options = {}): Promise<Shown> {
  const shown = show({}, options);
  await shown.user.click(shown.page.getByRole("tab", { name: "Gemma Scope" }));
  await waitFor(() => expect(shown.page.getByRole("radiogroup", { name: "Layer" })).toBeTruthy());
  return shown;
}

const radio = ({ page }: Shown, group: string, name: RegExp) =>
  within(page.getByRole("radiogroup", { name: group })).getByRole("radio", { name });

it("shows the first release at once and others on request", async () => {
  const { page, user, hub } = await open();
  expect(sent(hub, "hub_list")[0]).toMatchObject({ release: "google/gemma-2-2b", text: "" });
  expect(page.getByText("SAEs; 831 match")).toBeTruthy();
  expect(skipping()).toEqual([]);
  await user.selectOptions(page.getByRole("combobox", { name: "Release" }), "Gemma 2 9B, instruction-tuned");
  await waitFor(() => expect(sent(hub, "hub_list")[1]).toMatchObject({ release: "google/gemma-2-9b-it" }));
});

it("narrows by site, layer and width to the canonical SAE, previews and downloads it", async () => {
  const shown = await open();
  const { page, user, hub } = shown;
  await user.click(radio(shown, "Site", /^Residual/));
  await user.click(page.getByRole("radio", { name: "Layer 12, 35 SAEs" }));
  await user.click(radio(shown, "Width", /^16k/));
  expect((radio(shown, "L0", /^82/) as HTMLInputElement).checked).toBe(true);
  expect(page.getByText("SAEs; 1 match")).toBeTruthy();
  await waitFor(() => expect(page.getByText("JumpReLU, d_sae 16,384 × d_in 2,304")).toBeTruthy());
  await user.click(page.getByRole("button", { name: "Download" }));
  expect(sent(hub, "hub_download")[0]).toMatchObject({
    saes: [{ repo_id: GEMMA, path: "layer_12/width_16k/average_l0_82" }],
  });
});

it("says that releases are on their way", async () => {
  const { page, user } = show({}, { silent: true });
  await user.click(page.getByRole("tab", { name: "Gemma Scope" }));
  expect(page.getByText("Loading releases…")).toBeTruthy();
  expect(page.queryByRole("combobox", { name: "Release" })).toBeNull();
});

it("counts one SAE as one", async () => {
  const { page } = await open({ listings: { "google/gemma-2-2b": listing({ rows: [row()] }) } });
  expect(page.getByText("SAE; 1 match")).toBeTruthy();
});

it("keeps a choice that is pressed again; any takes it back", async () => {
  const shown = await open();
  const { page, user } = shown;
  const residual = () => radio(shown, "Site", /^Residual/) as HTMLInputElement;
  await user.click(residual());
  await user.click(residual());
  expect(residual().checked).toBe(true);
  await user.click(page.getByRole("radio", { name: /^Layer 3,/ }));
  await user.click(page.getByRole("radio", { name: /^Layer 3,/ }));
  expect(page.getByRole("radio", { name: /^Layer 3,/ }).getAttribute("aria-checked")).toBe("true");
  await user.click(page.getByRole("button", { name: "Any Site" }));
  expect(residual().checked).toBe(false);
  expect(page.getByRole("radio", { name: /^Layer 3,/ }).getAttribute("aria-checked")).toBe("true");
  await waitFor(() => expect(document.activeElement).toBe(residual()));
});

it("downloads all that match", async () => {
  const shown = await open();
  const { page, user, hub } = shown;
  await user.click(radio(shown, "Site", /^Residual/));
  await user.click(page.getByRole("radio", { name: "Layer 3, 10 SAEs" }));
  await user.click(page.getByRole("button", { name: "Download 10 SAEs" }));
  const [command] = sent(hub, "hub_download");
  expect(command && "saes" in command && command.saes).toHaveLength(10);
});

it("does not offer hundreds with one press", async () => {
  const shown = await open();
  const { page, user, hub } = shown;
  await user.click(radio(shown, "Site", /^Residual/));
  expect(page.getByText("285 SAEs match: narrow them down to 200 or fewer")).toBeTruthy();
  await user.click(page.getByRole("button", { name: "Download" }));
  expect(sent(hub, "hub_download")).toEqual([]);
});

it("goes through layers with the arrow keys, and Clear takes all choices back", async () => {
  const shown = await open();
  const { page, user } = shown;
  const layers = within(page.getByRole("radiogroup", { name: "Layer" }));
  expect(layers.getAllByRole("radio").filter((one) => one.tabIndex === 0)).toHaveLength(1);
  layers.getAllByRole("radio")[0]?.focus();
  await user.keyboard("{ArrowRight}");
  expect(page.getByRole("radio", { name: /^Layer 1,/ }).getAttribute("aria-checked")).toBe("true");
  expect(document.activeElement).toBe(page.getByRole("radio", { name: /^Layer 1,/ }));
  await user.click(page.getByRole("button", { name: "Clear" }));
  expect(layers.getAllByRole("radio").every((one) => one.getAttribute("aria-checked") === "false")).toBe(true);
});
