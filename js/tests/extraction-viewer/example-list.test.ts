import { waitFor, within } from "@testing-library/preact";
import { describe, expect, it, vi } from "vitest";
import { EXT, viewer } from "../../demo/viewer";
import { EMPTY_VIEWER } from "../../src/lib/wire";
import { ready, type Shown, selected, sent, show, shown } from "./harness";

const rows = ({ page }: Shown) => [
  ...(page.getByRole("list", { name: "Top activations" }) as HTMLElement).querySelectorAll<HTMLElement>("li.ex"),
];
const card = ({ page }: Shown) => page.queryByRole("tooltip");
const hover = (element: Element | null | undefined) =>
  element?.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));

describe("examples", () => {
  it("come in groups, each with its share", async () => {
    const [view, page] = await shown();
    expect(rows(view)).toHaveLength(5);
    expect(within(page.getByRole("list", { name: "Interval 12.5 – 16.7" })).getAllByRole("listitem")).toHaveLength(3);
    expect(page.getByText("8.1 % of firings, 0.019 % of tokens")).toBeTruthy();
    expect(page.getByText("5 of 2,380")).toBeTruthy();
    expect(page.getByRole("img", { name: /Shading: log scale from 0 to 41.7/ }).querySelectorAll("i")).toHaveLength(8);
  });

  it("are a concordance: the strongest token begins the right half, its space is outside the shade", async () => {
    const [view] = await shown();
    const [first] = rows(view);
    const right = first?.querySelector(".kr");
    expect(right?.firstElementChild?.textContent).toBe("ship");
    expect(right?.querySelector(".pk")?.className).toBe("a8 pk");
    expect(first?.querySelector(".kl")?.textContent?.endsWith("largest ")).toBe(true);
    // shaded over the whole list: the weakest interval is pale
    const weak = view.page.getByRole("list", { name: /Interval 0.4/ }).querySelector(".pk");
    expect(weak?.className).toBe("a3 pk");
    const near = rows(view)[1]?.querySelector(".kl .a5");
    expect(near?.textContent).toBe("Pequod");
    expect(near?.parentElement?.textContent).toBe(" Pequod");
  });

  it("show more or less around it", async () => {
    const [view, page] = await shown();
    const length = () => rows(view)[0]?.querySelectorAll("[data-t]").length ?? 0;
    const snippet = length();
    await view.user.click(page.getByRole("radio", { name: "Short" }));
    await waitFor(() => expect(length()).toBe(11));
    expect(snippet).toBeGreaterThan(11);
    await waitFor(() => expect(sent(view.model, "show_view").at(-1)?.view.context).toBe("short"));
    expect(sent(view.model, "expand_example")).toEqual([]);
  });

  it("wrap in Full and ask for whole contexts, one after another", async () => {
    const [view, page] = await shown(viewer(), { delays: { expand_example: 20 } });
    const { IntersectionObserver: seen } = globalThis;
    vi.stubGlobal("IntersectionObserver", undefined); // as where nobody tells what is in sight
    await view.user.click(page.getByRole("radio", { name: "Full" }));
    await waitFor(() => expect(sent(view.model, "expand_example").length).toBe(1));
    expect(rows(view)[0]?.querySelector(".k")).toBeNull();
    await waitFor(() => expect(sent(view.model, "expand_example").length).toBe(10));
    await waitFor(() => expect(rows(view)[4]?.textContent).toContain("already on the free list"));
    const [{ position = 0, index = 0 } = {}] = sent(view.model, "expand_example");
    expect([position, index]).toEqual([40_254, 7451]);
    vi.stubGlobal("IntersectionObserver", seen);
    vi.unstubAllGlobals();
  });

  it("open one by one by a click or Enter", async () => {
    const [view] = await shown();
    await view.user.click(rows(view)[2] as HTMLElement);
    await waitFor(() => expect(rows(view)[2]?.textContent).toContain("already on the free list"));
    expect(sent(view.model, "expand_example")).toHaveLength(1);
    expect(rows(view)[1]?.querySelector(".k")).toBeTruthy();
    await view.user.click(rows(view)[2] as HTMLElement);
    expect(rows(view)[2]?.querySelector(".k")).toBeTruthy();
    rows(view)[0]?.focus();
    await view.user.keyboard("{Enter}");
    await waitFor(() => expect(rows(view)[0]?.textContent).toContain("already on the free list"));
  });

  it("say at the example when its context cannot be read", async () => {
    const [view] = await shown(viewer(), { failures: { expand_example: { what: "The model is gone." } } });
    await view.user.click(rows(view)[0] as HTMLElement);
    await waitFor(() => expect(rows(view)[0]?.textContent).toContain("The model is gone."));
    expect(rows(view)[0]?.textContent).toContain("The sailors said");
    view.model.options.failures = {};
    await view.user.click(within(rows(view)[0] as HTMLElement).getByRole("button", { name: "Try again" }));
    await waitFor(() => expect(rows(view)[0]?.textContent).toContain("already on the free list"));
  });

  it("show line breaks when asked to", async () => {
    const [view, page] = await shown();
    expect(rows(view)[2]?.textContent).not.toContain("↵");
    await view.user.click(page.getByRole("checkbox", { name: "Line breaks" }));
    await waitFor(() => expect(rows(view)[2]?.textContent).toContain("↵"));
  });

  it("are copied as they are, one or all", async () => {
    const [view, page] = await shown();
    const write = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
    await view.user.click(page.getByRole("button", { name: "Copy examples" }));
    expect(write.mock.calls[0]?.[0].split("\n")).toHaveLength(5);
    await view.user.click(within(rows(view)[2] as HTMLElement).getByRole("button", { name: "Copy example" }));
    expect(write.mock.calls[1]?.[0]).toContain("hailed her captain.\nHe did");
    // the click on the button is no click on the row
    expect(rows(view)[2]?.querySelector(".k")).toBeTruthy();
  });
});

describe("the card of a token", () => {
  it("follows the pointer, marks the histogram, and goes", async () => {
    const [view] = await shown();
    hover(rows(view)[0]?.querySelector(".pk"));
    await waitFor(() => expect(card(view)).toBeTruthy());
    expect(card(view)?.textContent).toContain("·ship41.7activation");
    expect(card(view)?.textContent).toContain("118 of 256, context 157, doc 40");
    expect(view.el.querySelector(".cur")?.textContent).toBe("41.7");
    hover(view.el.querySelector("h3"));
    await waitFor(() => expect(card(view)).toBeNull());
    expect(view.el.querySelector(".cur")).toBeNull();
  });

  it("says what the feature does to the loss, once somebody stays", async () => {
    const [view] = await shown();
    hover(rows(view)[0]?.querySelector(".pk"));
    await waitFor(() => expect(card(view)?.textContent).toContain("Loss effect…"));
    expect(sent(view.model, "read_loss_effect")).toEqual([]);
    await waitFor(() => expect(card(view)?.textContent).toContain("Loss effect−0.184 nats (helps)"));
    const { position } = sent(view.model, "read_loss_effect")[0] ?? {};
    expect(position).toBe(40_254); // the stream position of the example
    hover(view.el.querySelector("h3"));
    await waitFor(() => expect(card(view)).toBeNull());
    hover(rows(view)[0]?.querySelector(".pk"));
    await waitFor(() => expect(card(view)?.textContent).toContain("−0.184 nats"));
    hover(rows(view)[0]?.querySelector('[data-t="0"]'));
    await waitFor(() => expect(card(view)?.textContent).toContain("none, it is silent here"));
    expect(sent(view.model, "read_loss_effect")).toHaveLength(1); // known, or nothing to ask
  });
  it("says why the loss effect is not known", async () => {
    const problem = { what: "No token follows this one.", where: null, hint: null, kind: "error" };
    const [view] = await shown(undefined, { says: { read_loss_effect: { effect: null, problem } } });
    hover(rows(view)[0]?.querySelector(".pk"));
    await waitFor(() => expect(card(view)?.textContent).toContain("not known: No token follows this one."));
  });
  it("follows the focus, which the arrows move from token to token", async () => {
    const [view] = await shown();
    await waitFor(() => expect(selected(view)).toBe("7451"));
    const lists = view.page.getAllByRole("list").filter((list) => list.querySelector("li.ex"));
    for (const list of lists) expect(list.querySelectorAll('li.ex[tabindex="0"]')).toHaveLength(1);
    rows(view)[0]?.focus();
    await view.user.keyboard("{ArrowDown}");
    expect(document.activeElement).toBe(rows(view)[1]);
    expect(rows(view)[1]?.tabIndex).toBe(0);
    await view.user.keyboard("{ArrowRight}");
    expect(document.activeElement?.textContent).toBe("ship");
    await waitFor(() => expect(card(view)?.textContent).toContain("40.2"));
    expect(document.activeElement?.getAttribute("aria-describedby")).toBe(card(view)?.id);
    await view.user.keyboard("{ArrowRight}");
    await waitFor(() => expect(card(view)?.textContent).toContain("·of"));
    await view.user.keyboard("{ArrowLeft}{ArrowLeft}");
    await waitFor(() => expect(card(view)?.textContent).toContain("·a0.0"));
    // the arrows were used: the feature is still the same
    expect(view.page.getByRole("region", { name: "Feature 7451" })).toBeTruthy();
    await view.user.keyboard("{End}");
    expect(document.activeElement).toBe(rows(view)[4]);
  });

  it("is pinned by Enter and let go by Esc", async () => {
    const [view] = await shown();
    rows(view)[0]?.focus();
    await view.user.keyboard("{ArrowRight}{Enter}");
    await waitFor(() => expect(card(view)?.textContent).toContain("Pinned"));
    hover(rows(view)[1]?.querySelector(".pk"));
    expect(card(view)?.textContent).toContain("41.7");
    await view.user.keyboard("{Escape}");
    await waitFor(() => expect(card(view)).toBeNull());
    expect(rows(view)[0]?.querySelector(".k")).toBeTruthy();
  });

  it("goes when another feature is shown", async () => {
    const [view, page] = await shown();
    await waitFor(() => expect(selected(view)).toBe("7451"));
    rows(view)[0]?.focus();
    await view.user.keyboard("{ArrowRight}{Enter}");
    await waitFor(() => expect(card(view)).toBeTruthy());
    await view.user.click(page.getByRole("button", { name: "Next feature" }));
    await waitFor(() => expect(card(view)).toBeNull());
  });
});

describe("own text", () => {
  it("is tested when the typing rests", async () => {
    const [view, page] = await shown();
    await view.user.type(page.getByRole("textbox", { name: "Text to test" }), "The schooner left");
    await waitFor(() => expect(page.getByText("max 9.19, fires on 2 of 7 tokens")).toBeTruthy());
    await waitFor(() => expect(sent(view.model, "test_text").at(-1)).toMatchObject({ text: "The schooner left" }));
    const tested = page.getByRole("group", { name: "Tested text" });
    expect([...tested.querySelectorAll('[class^="a"]')].map((one) => one.textContent)).toEqual(["each", "every"]);
    expect(view.el.querySelector(".cur")?.textContent).toBe("9.19");
    tested.focus();
    await view.user.keyboard("{ArrowRight}");
    await waitFor(() => expect(card(view)?.textContent).toContain("·every9.19"));
    expect(card(view)?.textContent).not.toContain("of 256");
    expect(page.getByText("The token that begins every context is left out.")).toBeTruthy();
  });

  it("is tested at once by the button, again for another feature, and emptied", async () => {
    const [view, page] = await shown();
    await waitFor(() => expect(selected(view)).toBe("7451"));
    await view.user.type(page.getByRole("textbox", { name: "Text to test" }), "a ship");
    await view.user.click(page.getByRole("button", { name: "Test" }));
    await waitFor(() => expect(page.getByText("max 9.19, fires on 2 of 7 tokens")).toBeTruthy());
    await view.user.click(page.getByRole("button", { name: "Next feature" }));
    await waitFor(() => expect(sent(view.model, "test_text").at(-1)).toMatchObject({ index: 7452, text: "a ship" }));
    const next = await ready(view, 7452);
    await view.user.clear(next.getByRole("textbox", { name: "Text to test" }));
    await waitFor(() => expect(next.queryByRole("group", { name: "Tested text" })).toBeNull());
  });

  it("says what failed", async () => {
    const [view, page] = await shown(viewer(), {
      failures: { test_text: { what: "Out of memory.", hint: "Shorten it." } },
    });
    await view.user.type(page.getByRole("textbox", { name: "Text to test" }), "a{Enter}");
    await waitFor(() => expect(page.getByRole("alert").textContent).toContain("Out of memory. Shorten it."));
  });
});

it("restores the choice of context and line breaks", async () => {
  const view = show(
    viewer({ view: { ...EMPTY_VIEWER.view, extraction_id: EXT, feature: 7451, context: "short", line_breaks: true } }),
  );
  const page = await ready(view);
  expect(page.getByRole("radio", { name: "Short" }).getAttribute("aria-checked")).toBe("true");
  expect((page.getByRole("checkbox", { name: "Line breaks" }) as HTMLInputElement).checked).toBe(true);
});
