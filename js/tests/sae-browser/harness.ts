/** The browser's part of the real bundle on a fake library, as a front end would render it. */
import { within } from "@testing-library/preact";
import type { FakeOptions } from "../../demo/fake";
import { FakeLibrary, SAES } from "../../demo/library";
import type { SaeBrowserState, SaeCard, SaeCommand } from "../../src/lib/wire";
import { cardOf, mount } from "../harness";

export function show(
  cards: readonly SaeCard[] = SAES,
  options: FakeOptions<SaeCommand> = {},
  changes: Partial<SaeBrowserState> = {},
) {
  return mount(new FakeLibrary(cards, options, changes));
}

export type Shown = ReturnType<typeof show>;

export const names = ({ page }: Pick<Shown, "page">): (string | null)[] =>
  within(page.getByRole("list", { name: "SAEs" }))
    .getAllByRole("listitem")
    .filter((item) => item.classList.contains("card"))
    .map((item) => item.getAttribute("aria-label"));

export const buttons = (scope: Pick<ReturnType<typeof cardOf>, "getAllByRole">) =>
  scope.getAllByRole("button").map((button) => button.getAttribute("aria-label") ?? button.textContent);

/** Opens the details of a card. */
export async function openDetails(view: Shown, name: string) {
  const card = cardOf(view, name);
  await view.user.click(card.getByRole("button", { name: "Details" }));
  return card;
}

export { cardOf, sent } from "../harness";
