/** A widget's real bundle entry on a fake model, as a front end would render it; setup.ts takes it away after the test. */
import { within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import widget from "../src/index";

export const open: (() => void)[] = [];

export function mount<M>(model: M) {
  const el = document.createElement("div");
  document.body.append(el);
  const close = widget.render({ model: model as never, el });
  open.push(close);
  const user = userEvent.setup();
  /** Types in the place of what a box has. */
  const retype = (box: Element, text: string) => user.clear(box).then(() => user.type(box, text));
  return { el, model, close, page: within(document.body), user: { ...user, retype } };
}

interface Page {
  page: ReturnType<typeof within>;
}

export const cardOf = ({ page }: Page, name: string) => within(page.getByRole("listitem", { name }) as HTMLElement);

type Kinds = { sent: readonly { kind: string; id: string }[] };
type OfKind<M extends Kinds, K> = Extract<M["sent"][number], { kind: K }>;

/** The commands of one kind that the page has sent. */
export const sent = <M extends Kinds, K extends M["sent"][number]["kind"]>(model: M, kind: K) =>
  model.sent.filter((command) => command.kind === kind) as unknown as (OfKind<M, K> & { id: string })[];

/** The headings on the page that skip a level, as axe's rule `heading-order` has it. */
export function skipping(): string[] {
  const level = (heading: Element | undefined) => Number(heading?.tagName[1] ?? 1);
  const all = [...document.querySelectorAll("h2, h3, h4")];
  return all.filter((heading, i) => level(heading) > level(all[i - 1]) + 1).map(({ outerHTML }) => outerHTML);
}
