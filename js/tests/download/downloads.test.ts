import { waitFor, within } from "@testing-library/preact";
import { expect, it } from "vitest";
import { HOSTILE } from "../../demo/fake";
import { DOWNLOADS, download } from "../../demo/hub";
import { cardOf, sent, show } from "./harness";

const NAMES = DOWNLOADS.map((card) => card.name);
const buttons = (scope: ReturnType<typeof cardOf>) =>
  scope.queryAllByRole("button").map((button) => button.textContent);

it("lists downloads by name, with what can be done", () => {
  const view = show({ downloads: DOWNLOADS, can_open: true });
  const list = within(view.page.getByRole("list", { name: "Downloads" }));
  expect(list.getAllByRole("listitem").map((item) => item.getAttribute("aria-label"))).toEqual(NAMES);
  const bar = list.getByRole("progressbar", { name: `Download of ${NAMES[0]}` });
  expect(bar.getAttribute("aria-valuenow")).toBe("67");
  expect(list.getAllByRole("progressbar")).toHaveLength(3);
  expect(buttons(cardOf(view, NAMES[0] as string))).toEqual(["Pause", "Cancel"]);
  expect(buttons(cardOf(view, NAMES[1] as string))).toEqual(["Resume", "Cancel"]);
  expect(buttons(cardOf(view, NAMES[2] as string))).toEqual(["Open in SAE browser", "Clear"]);
  expect(buttons(cardOf(view, NAMES[3] as string))).toEqual(["Retry", "Cancel"]);
  expect(cardOf(view, NAMES[3] as string).getByRole("alert").textContent).toContain("Retry goes on from there.");
});

it("sends what is pressed and says that it is under way", async () => {
  const view = show({ downloads: DOWNLOADS });
  const { hub, user } = view;
  const [first, second, , failed] = NAMES as [string, string, string, string];
  await user.click(cardOf(view, first).getByRole("button", { name: "Pause" }));
  expect(sent(hub, "hub_action")[0]).toMatchObject({ action: "pause", job_ids: [DOWNLOADS[0]?.id] });
  await waitFor(() => expect(cardOf(view, first).getByRole("button", { name: "Resume" })).toBeTruthy());
  await user.click(cardOf(view, second).getByRole("button", { name: "Cancel" }));
  await waitFor(() => expect(cardOf(view, second).getByText("Cancelled")).toBeTruthy());
  await user.click(cardOf(view, failed).getByRole("button", { name: "Retry" }));
  expect(sent(hub, "hub_action").map((command) => "action" in command && command.action)).toEqual([
    "pause",
    "cancel",
    "retry",
  ]);
});

it("clears what has ended, one or all", async () => {
  const view = show({ downloads: DOWNLOADS });
  const { page, hub, user } = view;
  await user.click(page.getByRole("button", { name: "Clear finished" }));
  expect(sent(hub, "hub_action")[0]).toMatchObject({ action: "clear", job_ids: [DOWNLOADS[2]?.id] });
  await waitFor(() => expect(page.getAllByRole("listitem")).toHaveLength(3));
  // the button went with what it cleared: on to the first download
  await waitFor(() =>
    expect(document.activeElement).toBe(cardOf(view, NAMES[0] as string).getByText("Pause").parentElement),
  );
  expect(page.queryByRole("button", { name: "Clear finished" })).toBeNull();
});

it("goes on to the next download when one is cleared, then to the one before", async () => {
  const cards = [1, 2, 3].map((i) => download({ path: `layers.${i}`, status: "cancelled" }));
  const view = show({ downloads: cards });
  const clear = (i: number) => cardOf(view, cards[i]?.name as string).getByRole("button", { name: "Clear" });
  const retry = (i: number) => cardOf(view, cards[i]?.name as string).getByRole("button", { name: "Retry" });
  await view.user.click(clear(1));
  await waitFor(() => expect(document.activeElement).toBe(retry(2)));
  await view.user.click(clear(2));
  await waitFor(() => expect(document.activeElement).toBe(retry(0)));
});

it("counts the seconds until it tries again", async () => {
  const { page, hub } = show({ downloads: [download({ phase: "retrying", rate: null, attempt: 1, wait_seconds: 3 })] });
  expect(page.getByText("trying again in 3 s (retry 1)")).toBeTruthy();
  await waitFor(() => expect(page.getByText("trying again in 2 s (retry 1)")).toBeTruthy(), { timeout: 2500 });
  hub.setState({ downloads: [download({ phase: "retrying", rate: null, attempt: 1, wait_seconds: 0 })] });
  await waitFor(() => expect(page.getByText("trying again now (retry 1)")).toBeTruthy());
});

it("marks what is under way", async () => {
  const view = show({ downloads: [download({ status: "pausing" }), download({ path: "layers.7" })] });
  const acts = (path: string) => cardOf(view, download({ path }).name).getByText("Cancel").closest(".acts");
  expect(acts("layers.6")?.getAttribute("aria-busy")).toBe("true");
  expect(acts("layers.7")?.getAttribute("aria-busy")).toBe("false");
});

it("opens a finished one only where somebody shows it", async () => {
  const view = show({ downloads: DOWNLOADS, can_open: true });
  await view.user.click(view.page.getByRole("button", { name: "Open in SAE browser" }));
  expect(sent(view.hub, "hub_open")[0]).toMatchObject({ sae_id: "sae_12" });
  view.hub.setState({ can_open: false });
  await waitFor(() => expect(view.page.queryByRole("button", { name: "Open in SAE browser" })).toBeNull());
});

it("follows what Python pushes, and says changes to screen readers", async () => {
  const { page, hub } = show({ downloads: [download()] });
  hub.setState({ downloads: [download({ status: "completed", bytes_done: 537e6, fraction: 1, sae_id: "sae_1" })] });
  await waitFor(() => expect(page.getByText("in your library")).toBeTruthy());
  await waitFor(() => expect(page.getByText(/layers\.6: Completed/)).toBeTruthy());
});

it("shows names and errors as text", () => {
  const note = { what: HOSTILE, where: null, hint: HOSTILE, kind: "error" };
  const { el } = show({ downloads: [download({ path: HOSTILE, status: "failed", note })] });
  expect(el.querySelector("img")).toBeNull();
  expect(el.textContent).toContain(HOSTILE);
});

it("says that the kernel is busy when nothing is acknowledged", async () => {
  const view = show({ downloads: [download()] }, { silent: true });
  await view.user.click(view.page.getByRole("button", { name: "Pause" }));
  await waitFor(() => expect(view.page.getByText(/Pause is queued and takes effect/)).toBeTruthy());
});
