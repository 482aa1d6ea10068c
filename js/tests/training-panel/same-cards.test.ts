import { act, waitFor } from "@testing-library/preact";
import { expect, it } from "vitest";
import { card, fullState } from "../../demo/runs";
import type { PanelState } from "../../src/lib/wire";
import { parserThatKeeps } from "../../src/training-panel/store";
import { cardOf, show } from "./harness";

const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

it("cards that say the same stay the same objects, others do not", () => {
  const parse = parserThatKeeps();
  const state = fullState();
  const first = parse(copy(state)) as PanelState;
  const changed = copy(state);
  (changed.cards[0] as { step: number }).step = 9;
  changed.cards.splice(3, 1);
  const second = parse(changed) as PanelState;
  expect(second.cards[0]).not.toBe(first.cards[0]);
  expect(second.cards[0]?.step).toBe(9);
  expect(second.cards[1]).toBe(first.cards[1]);
  expect(second.cards[3]).toBe(first.cards[4]);
  expect(parse("nothing like it")).toBeNull();
  // one that went away and came back is read anew
  expect((parse(copy(state)) as PanelState).cards[3]).toEqual(first.cards[3]);
});

it("a list of hundreds draws only what changed", async () => {
  const many = Array.from({ length: 300 }, (_, i) =>
    card({ id: `r${i}`, name: `run-${i}`, status: "completed", created_at: i }),
  );
  const view = show({ ...fullState(), cards: many, total: many.length });
  await waitFor(() => expect(view.page.getByRole("list", { name: "Trainings" }).children.length).toBe(300));
  const changes: string[] = [];
  const watch = new MutationObserver((records) => {
    for (const record of records) {
      const node = record.target instanceof Element ? record.target : record.target.parentElement;
      changes.push(node?.closest("li")?.getAttribute("aria-label") ?? "");
    }
  });
  watch.observe(view.page.getByRole("list", { name: "Trainings" }), {
    subtree: true,
    childList: true,
    characterData: true,
    attributes: true,
  });
  const next = copy(many).map((one, i) => (i === 7 ? { ...one, name: "renamed" } : one));
  await act(() => view.model.setState({ cards: next }));
  await waitFor(() => expect(cardOf(view, "renamed")).toBeTruthy());
  await act(() => view.model.setState({ charts: { ...fullState().charts, training_ids: ["r3"] } }));
  await waitFor(() => expect(view.page.getByRole("listitem", { name: "run-3" }).classList.contains("sel")).toBe(true));
  watch.disconnect();
  expect(new Set(changes)).toEqual(new Set(["renamed", "run-3"]));
});
