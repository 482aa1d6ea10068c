/** The real bundle entry on a fake model with a hub behind it. */
import { waitFor } from "@testing-library/preact";
import { FakeHub, type HubOptions, hubState } from "../../demo/hub";
import type { HubState } from "../../src/lib/wire";
import { mount } from "../harness";

export function show(state: Partial<HubState> = {}, options: HubOptions = {}) {
  const shown = mount(new FakeHub(hubState(state), options));
  return { ...shown, hub: shown.model };
}

export type Shown = ReturnType<typeof show>;

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

export { cardOf, sent } from "../harness";
