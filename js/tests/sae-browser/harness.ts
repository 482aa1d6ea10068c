/** The browser's part of the real bundle on a fake library, as a front end would render it. */
import { within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { afterEach } from "vitest";
import { FakeLibrary, type LibraryOptions, SAES } from "../../demo/library";
import type { SaeBrowserState, SaeCard } from "../../src/lib/wire";
import widget from "../../src/library";

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0)) close();
  document.body.innerHTML = "";
});

export function show(
  cards: readonly SaeCard[] = SAES,
  options: LibraryOptions = {},
  changes: Partial<SaeBrowserState> = {},
) {
  const el = document.createElement("div");
  document.body.append(el);
  const model = new FakeLibrary(cards, options, changes);
  const close = widget.render({ model: model as never, el });
  open.push(close);
  return { el, model, close, page: within(document.body), user: userEvent.setup() };
}

export type Shown = ReturnType<typeof show>;

export const cardOf = ({ page }: Pick<Shown, "page">, name: string) =>
  within(page.getByRole("listitem", { name }) as HTMLElement);

export const names = ({ page }: Pick<Shown, "page">): (string | null)[] =>
  within(page.getByRole("list", { name: "SAEs" }))
    .getAllByRole("listitem")
    .filter((item) => item.classList.contains("card"))
    .map((item) => item.getAttribute("aria-label"));

export const buttons = (scope: Pick<ReturnType<typeof cardOf>, "getAllByRole">) =>
  scope.getAllByRole("button").map((button) => button.getAttribute("aria-label") ?? button.textContent);

/** The commands of one kind that the page has sent. */
export const sent = (model: FakeLibrary, kind: string) => model.sent.filter((command) => command.kind === kind);

/** Opens the details of a card. */
export async function openDetails(view: Shown, name: string) {
  const card = cardOf(view, name);
  await view.user.click(card.getByRole("button", { name: "Details" }));
  return card;
}
