/** The five numbers of a card: a dash says why there is no number. */
import { expect, it } from "vitest";
import { card, fullState, LAYERS } from "../../demo/runs";
import type { Card } from "../../src/lib/wire";
import { cardOf, show } from "./harness";

const tile = (changes: Partial<Card>) => {
  const one = card({ name: "a", dead_window_tokens: 1_000_000, ...changes });
  const view = show({ ...fullState(), cards: [one], total: 1 });
  return cardOf(view, "a").getByText("Dead").closest(".tile") as HTMLElement;
};
it("a loss that is not finite is said in the words of the specification", () => {
  const failed = tile({ status: "failed", tiles: { ...card().tiles, loss: "NaN", fvu: null } });
  const loss = [...(failed.parentElement?.querySelectorAll("dd") ?? [])].map((one) => one.textContent);
  expect(loss.slice(0, 3)).toEqual(["NaN", "32.0", "–"]);
});

it("what the five numbers mean opens with a key, not only under a mouse", async () => {
  const view = show({ ...fullState(), cards: [card({ name: "a" })], total: 1 });
  cardOf(view, "a").getByRole("button", { name: "Help: metrics of a" }).focus();
  await view.user.keyboard("{Enter}");
  expect(cardOf(view, "a").getByText("fraction of variance unexplained")).toBeTruthy();
  await view.user.keyboard("{Escape}");
  expect(cardOf(view, "a").queryByText("fraction of variance unexplained")).toBeNull();
});

it("a group shows the lowest and the highest of its runs, and one number where they agree", () => {
  const view = show({ ...fullState(), cards: LAYERS, total: 3 });
  const group = cardOf(view, "gpt2-l4-6-8-batchtopk");
  const shown = [...(group.getByText("FVU").closest("dl")?.querySelectorAll("dd") ?? [])].map((one) => one.textContent);
  expect(shown).toEqual(["0.1874–0.2994", "48.1", "0.091–0.129", "0.951–0.968", "1.2\u00a0%–2.7\u00a0%"]);
  expect(group.getByText("tiles: lowest to highest of 3")).toBeTruthy();
});

const tiles = (dead: number | null) => ({ ...card().tiles, dead });

it("dead latents have no share before a whole window has passed, and say so", () => {
  const early = tile({ tokens_done: 200_000, tiles: tiles(null) });
  expect(early.querySelector("dd")?.textContent).toBe("– not known before 1,000,000 tokens");
  expect(early.title).toBe("not known before 1,000,000 tokens: latents that did not fire in the last 1,000,000 tokens");
});

it("dead latents have a share afterwards, with its window", () => {
  const late = tile({ tokens_done: 2_000_000, tiles: tiles(0) });
  expect(late.querySelector("dd")?.textContent).toBe("0.0 %");
  expect(late.title).toBe("0.0 %: latents that did not fire in the last 1,000,000 tokens");
});

it("of a run that ended before the window the share that never fired stands there, by that name", () => {
  const one = card({
    name: "a",
    tokens_done: 200_000,
    status: "completed",
    tiles: { ...tiles(null), val_dead: 0.324 },
  });
  const view = cardOf(show({ ...fullState(), cards: [one], total: 1 }), "a");
  const found = view.getByText("Never fired").closest(".tile") as HTMLElement;
  expect(found.querySelector("dd")?.textContent).toBe("32.4 %");
  expect(found.title).toBe("32.4 %: in training");
  expect(view.queryByText("Dead")).toBeNull();
});
