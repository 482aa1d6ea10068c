/** The real bundle entry on a fake model with a hub behind it. */
import { waitFor, within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { afterEach } from "vitest";
import { FakeHub, type HubOptions, hubState } from "../../demo/hub";
import widget from "../../src/index";
import type { HubState } from "../../src/lib/wire";

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0)) close();
  document.body.innerHTML = "";
});

export function show(state: Partial<HubState> = {}, options: HubOptions = {}) {
  const el = document.createElement("div");
  document.body.append(el);
  const hub = new FakeHub(hubState(state), options);
  const close = widget.render({ model: hub as never, el });
  open.push(close);
  return { el, hub, close, page: within(document.body), user: userEvent.setup() };
}

export type Shown = ReturnType<typeof show>;

/** The commands of one kind that the page has sent. */
export const sent = (hub: FakeHub, kind: string) => hub.sent.filter((command) => command.kind === kind);

/** Types a repository and presses Preview; returns when something is there. */
export async function look({ page, user }: Shown, text: string): Promise<void> {
  const box = page.getByRole("textbox", { name: "Repository" });
  await user.clear(box);
  await user.type(box, text);
  await user.click(page.getByRole("button", { name: "Preview" }));
  await waitFor(() => {
    if (!page.queryByRole("table", { name: "Variants" }) && !page.queryByRole("alert")) throw new Error("nothing yet");
  });
}

export const cardOf = ({ page }: Pick<Shown, "page">, name: string) =>
  within(page.getByRole("listitem", { name }) as HTMLElement);
