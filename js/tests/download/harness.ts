/** The real bundle entry on a fake model with a hub behind it. */
import { waitFor } from "@testing-library/preact";
import { FakeHub, type HubOptions, hubState, listing } from "../../demo/hub";
import type { HubState, Problem } from "../../src/lib/wire";
import { mount } from "../harness";

export function show(state: Partial<HubState> = {}, options: HubOptions = {}) {
  const shown = mount(new FakeHub(hubState(state), options));
  return { ...shown, hub: shown.model };
}

export type Shown = ReturnType<typeof show>;

/** Types a repository and presses Preview; returns when something is there. */
export async function look({ page, user }: Shown, text: string): Promise<void> {
  const box = page.getByRole("textbox", { name: "Repository" });
  await user.retype(box, text);
  await user.click(page.getByRole("button", { name: "Preview" }));
  await waitFor(() => {
    if (!page.queryByRole("table", { name: "Variants" }) && !page.queryByRole("alert")) throw new Error("nothing yet");
  });
}

/** The widget after it looked into a repository. */
export async function looked(text: string, options: HubOptions = {}, state: Partial<HubState> = {}): Promise<Shown> {
  const shown = show(state, options);
  await look(shown, text);
  return shown;
}

/** What the hub lists where it has a problem. */
export const refusing = (what: string, rest: Partial<Problem> = {}) =>
  listing({ rows: [], repositories: [], problems: [{ kind: "no_sae", what, hint: null, suggestions: [], ...rest }] });

export { cardOf, sent } from "../harness";
