import { waitFor, within } from "@testing-library/preact";
import { describe, expect, it } from "vitest";
import { HOSTILE } from "../../demo/fake";
import { DISK, download, GATED, GEMMA, listing, MEMORY, PYTHIA, preview, row } from "../../demo/hub";
import { warningsOf } from "../../src/download/preview";
import { look, looked, refusing, sent, show } from "./harness";

const SAE = (path: string) => ({ repo_id: PYTHIA, revision: `9ac1b27${"0".repeat(33)}`, path });

describe("any repository", () => {
  it("is empty at first, with ways to begin", async () => {
    const { page, user, hub } = show();
    const region = within(page.getByRole("region", { name: "Download from Hugging Face" }));
    expect(region.getByText("Nothing chosen yet")).toBeTruthy();
    expect(region.getByRole("tab", { name: "Known repositories 6" })).toBeTruthy();
    await user.click(region.getByRole("button", { name: "Known repositories" }));
    await waitFor(() => expect(document.activeElement).toBe(region.getByRole("tab", { selected: true })));
    expect(await region.findByRole("list", { name: "Known repositories" })).toBeTruthy();
    expect(sent(hub, "hub_list")).toEqual([]);
  });

  it("has a line above its header where it stands below another widget", () => {
    const whole = show();
    const head = ({ el }: typeof whole) => el.querySelector(".hd")?.classList.contains("in");
    expect(head(whole)).toBe(false);
    whole.close();
    expect(head(show({ embedded: true }))).toBe(true);
  });

  it("shows what is there, and previews what is chosen", async () => {
    const { page, user, hub } = await looked(`${PYTHIA}@main`);
    expect(page.getByText("4 SAEs found")).toBeTruthy();
    expect(page.getByText("sparsify format")).toBeTruthy();
    const table = within(page.getByRole("table", { name: "Variants" }));
    expect(table.getAllByRole("row")).toHaveLength(5);
    await user.click(table.getByRole("checkbox", { name: "Choose layers.6" }));
    await waitFor(() => expect(page.getByText("TopK k 32, d_sae 65,536 × d_in 1,024")).toBeTruthy());
    expect(sent(hub, "hub_preview")[0]).toMatchObject({ sae: SAE("layers.6"), device: "cuda:0" });
    expect(page.getByText("fits cuda:0 (6.1 GB free)")).toBeTruthy();
    expect(page.getByText("not cached; 41 GB of disk free")).toBeTruthy();
    await user.click(page.getByRole("button", { name: "Show configuration" }));
    expect(page.getByRole("region", { name: "Configuration" }).textContent).toContain('"expansion_factor": 64');
    await user.click(table.getByRole("checkbox", { name: "Choose layers.12" }));
    expect(page.getByText("2 SAEs chosen")).toBeTruthy();
    await user.click(page.getByRole("button", { name: "Download 2 SAEs" }));
    expect(sent(hub, "hub_download")[0]).toMatchObject({ saes: [SAE("layers.6"), SAE("layers.12")] });
    await waitFor(() => expect(page.getByText("Choose the SAEs to download")).toBeTruthy());
  });

  it("asks what the files leave open, and says it with the download", async () => {
    const { page, user, hub } = await looked(`${PYTHIA}@main`, { previews: () => "apply_b_dec_to_input is missing." });
    await user.click(page.getByRole("checkbox", { name: "Choose layers.6" }));
    const choice = await page.findByRole("combobox", { name: "Subtract b_dec from the input" });
    await user.selectOptions(choice, "Yes");
    await user.click(page.getByRole("button", { name: "Download" }));
    expect(sent(hub, "hub_download")[0]).toMatchObject({ saes: [SAE("layers.6")], apply_b_dec_to_input: true });
  });

  it("answers Enter, and chooses the one SAE that was named", async () => {
    const shown = show({}, { listings: { "a/b/layers.6": listing({ path: "layers.6" }) } });
    const { page, user } = shown;
    await user.type(page.getByRole("textbox", { name: "Repository" }), "a/b/layers.6{Enter}");
    await waitFor(() => expect(page.getByText("1 SAE chosen")).toBeTruthy());
    expect((page.getByRole("checkbox", { name: "Choose layers.6" }) as HTMLInputElement).checked).toBe(true);
  });

  it("looks at once where it starts with a repository", async () => {
    const { page, hub } = show({ repository: PYTHIA });
    await waitFor(() => expect(page.getByRole("table", { name: "Variants" })).toBeTruthy());
    expect(sent(hub, "hub_list")[0]).toMatchObject({ text: PYTHIA, again: false });
  });

  it("filters, and offers a way back", async () => {
    const shown = show();
    await look(shown, PYTHIA);
    const { page, user } = shown;
    await user.type(page.getByRole("searchbox", { name: "Search variants" }), "mlp");
    expect(page.getAllByRole("checkbox").map((box) => box.getAttribute("aria-label"))).toEqual([
      "Choose all shown",
      "Choose layers.18.mlp",
    ]);
    await user.type(page.getByRole("searchbox", { name: "Search variants" }), " no such thing");
    expect(page.getByText("No SAE matches")).toBeTruthy();
    await user.click(page.getByRole("button", { name: "Clear filters" }));
    expect(page.getAllByRole("checkbox")).toHaveLength(5);
  });

  it("empties the search at Esc, and leaves at the next one", async () => {
    const { page, user } = await looked(PYTHIA);
    const search = page.getByRole("searchbox", { name: "Search variants" }) as HTMLInputElement;
    await user.type(search, "mlp");
    expect(page.getAllByRole("checkbox")).toHaveLength(2);
    await user.keyboard("{Escape}");
    expect(search.value).toBe("");
    expect(page.getAllByRole("checkbox")).toHaveLength(5);
    expect(document.activeElement).toBe(search);
    await user.keyboard("{Escape}");
    expect(document.activeElement).toBe(document.body);
  });

  it("goes to the repository at /, and to the search once there is one", async () => {
    const shown = show();
    const { page, user } = shown;
    const box = page.getByRole("textbox", { name: "Repository" }) as HTMLInputElement;
    page.getByRole("tab", { name: "Any repository" }).focus();
    await user.keyboard("/");
    expect(document.activeElement).toBe(box);
    await user.keyboard("a/b");
    expect(box.value).toBe("a/b"); // typed there, it is a letter
    await look(shown, PYTHIA);
    await user.keyboard("/");
    expect(document.activeElement).toBe(page.getByRole("searchbox", { name: "Search variants" }));
  });

  it("says that no repository is named, where one is typed", async () => {
    const { page, user, hub } = show();
    await user.click(page.getByRole("button", { name: "Preview" }));
    const box = page.getByRole("textbox", { name: "Repository" });
    expect(box.getAttribute("aria-invalid")).toBe("true");
    expect(page.getByRole("alert").textContent).toContain("No repository is named.");
    expect(document.activeElement).toBe(box);
    expect(sent(hub, "hub_list")).toEqual([]);
    await user.keyboard("a");
    expect(page.queryByRole("alert")).toBeNull();
  });

  it("marks what was downloaded meanwhile, and previews it anew", async () => {
    const card = download({ revision: `9ac1b27${"0".repeat(33)}` });
    const { page, user, hub } = await looked(PYTHIA, {}, { downloads: [card] });
    const line = () => within(page.getByRole("checkbox", { name: "Choose layers.6" }).closest("tr") as HTMLElement);
    await user.click(line().getByRole("checkbox"));
    await waitFor(() => expect(sent(hub, "hub_preview")).toHaveLength(1));
    hub.setState({ downloads: [{ ...card, status: "paused" }] }); // a part of it is there
    await waitFor(() => expect(sent(hub, "hub_preview")).toHaveLength(2));
    expect(line().queryByText("cached")).toBeNull();
    hub.setState({ downloads: [{ ...card, status: "completed" }] });
    await waitFor(() => expect(line().getByText("cached")).toBeTruthy());
    expect((line().getByRole("checkbox") as HTMLInputElement).checked).toBe(true);
    await waitFor(() => expect(sent(hub, "hub_preview")[2]).toMatchObject({ sae: SAE("layers.6"), again: false }));
  });

  it("shows a width as a guess until the files tell it", async () => {
    const rows = [row({ path: "width_16k", width: "16k", d_sae: 16_384 }), row({ path: "b" })];
    const { page, user } = await looked("a/b", { listings: { "a/b": listing({ rows }) } });
    expect(page.getByText("about 16k").getAttribute("title")).toBe("from the folder's name");
    await user.click(page.getByRole("checkbox", { name: "Choose width_16k" }));
    await waitFor(() => expect(page.getByText("65,536")).toBeTruthy()); // as the preview has it
    expect(page.queryByText("about 16k")).toBeNull();
  });

  it("says where a width comes from, and whether a gate is known", async () => {
    const rows = [row({ path: "width_16k", width: "16k", d_sae: 16_384 })];
    const unknown = { architecture: "TopK", d_in: null, d_sae: 16_384, d_out: null, gated_model: null };
    const { page } = await looked("a/b", { listings: { "a/b": listing({ rows }) }, previews: () => unknown });
    await waitFor(() => expect(page.getByText("TopK, d_sae about 16k, from the folder's name")).toBeTruthy());
    expect(page.getByText("(not known whether it is gated)")).toBeTruthy();
    expect(page.getAllByText("about 16k")).toHaveLength(1);
  });

  it("is busy while it looks, in the table too no row claims to be selected", async () => {
    const shown = show({}, { delays: { hub_list: 60 } });
    const { page, user } = shown;
    await user.type(page.getByRole("textbox", { name: "Repository" }), `${PYTHIA}{Enter}`);
    await waitFor(() => expect(page.getByRole("tabpanel").getAttribute("aria-busy")).toBe("true"));
    await waitFor(() => expect(page.getByText("4 SAEs found")).toBeTruthy());
    await waitFor(() => expect(page.getByRole("tabpanel").getAttribute("aria-busy")).toBe("false"));
    await user.click(page.getByRole("checkbox", { name: "Choose layers.6" }));
    expect(page.getByRole("table").querySelector("[aria-selected]")).toBeNull();
  });

  it("draws only a part of a long table", async () => {
    const rows = Array.from({ length: 14_000 }, (_, i) => row({ path: `layer_${i}` }));
    const shown = show({}, { listings: { "big/one": listing({ rows }) } });
    await look(shown, "big/one");
    const table = shown.page.getByRole("table", { name: "Variants" });
    expect(table.getAttribute("aria-rowcount")).toBe("14001");
    expect(table.querySelectorAll("input").length).toBeLessThan(100);
    expect((within(table).getByRole("checkbox", { name: "Choose all shown" }) as HTMLInputElement).disabled).toBe(true);
  });

  it("shows names from the hub as text", async () => {
    const hostile = listing({ rows: [row({ path: HOSTILE, site: HOSTILE, format: HOSTILE })] });
    const { page, el, user } = await looked(
      PYTHIA,
      { listings: { [PYTHIA]: hostile }, previews: () => ({ config: { [HOSTILE]: HOSTILE }, model: HOSTILE }) },
      { account: HOSTILE, downloads: [] },
    );
    await waitFor(() => expect(page.getByRole("button", { name: "Show configuration" })).toBeTruthy());
    await waitFor(() => expect(page.getByText("fits cuda:0 (6.1 GB free)")).toBeTruthy());
    await user.click(page.getByRole("button", { name: "Show configuration" }));
    expect(el.querySelector("img")).toBeNull();
    expect(page.getByRole("checkbox", { name: `Choose ${HOSTILE}` })).toBeTruthy();
    expect(page.getByRole("region", { name: "Configuration" }).textContent).toContain(HOSTILE);
  });

  it("says what went wrong, with what to try instead", async () => {
    const listings = {
      "openai-community/gpt2": refusing("No SAE found in openai-community/gpt2.", { suggestions: [PYTHIA] }),
      "slow/hub": "The hub did not answer in time.",
    };
    const { page, user, hub } = await looked("slow/hub", { listings });
    expect(page.getByRole("alert").textContent).toContain("The hub did not answer in time.");
    await user.click(page.getByRole("button", { name: "Check again" }));
    await waitFor(() => expect(sent(hub, "hub_list")[1]).toMatchObject({ text: "slow/hub", again: true }));
    await waitFor(() => expect(page.getByRole("alert")).toBeTruthy());
    const box = page.getByRole("textbox", { name: "Repository" });
    await user.retype(box, "openai-community/gpt2{Enter}");
    await waitFor(() => expect(page.getByText("No SAE found in openai-community/gpt2.")).toBeTruthy());
    await user.click(page.getByRole("button", { name: PYTHIA }));
    await waitFor(() => expect(page.getByText("4 SAEs found")).toBeTruthy());
    expect((page.getByRole("textbox", { name: "Repository" }) as HTMLInputElement).value).toBe(PYTHIA);
  });

  it("offers near names where a repository is not there, to try again, and to put the note away", async () => {
    const near = { kind: "repository_not_found", suggestions: [PYTHIA, "lab/pythia"] };
    const listings = { "a/pythia": refusing("Repository not found: a/pythia.", near) };
    const { page, user, hub } = await looked("a/pythia", { listings });
    expect(page.getByRole("alert").textContent).toContain(`Nearest names: ${PYTHIA}, lab/pythia.`);
    await user.click(page.getByRole("button", { name: "Try again" }));
    await waitFor(() => expect(sent(hub, "hub_list")[1]).toMatchObject({ text: "a/pythia", again: true }));
    await user.click(await page.findByRole("button", { name: "Dismiss" }));
    expect(page.queryByRole("alert")).toBeNull();
    expect(page.getByRole("heading", { name: "Nothing chosen yet" })).toBeTruthy();
  });

  it("takes back how many were found when the next repository cannot be listed", async () => {
    const listings = { "lab/gated": refusing("lab/gated is gated.", { kind: "gated_repository" }) };
    const { page, user } = await looked(PYTHIA, { listings });
    await waitFor(() => expect(page.getByText("4 SAEs found")).toBeTruthy());
    const box = page.getByRole("textbox", { name: "Repository" });
    await user.retype(box, "lab/gated{Enter}");
    await waitFor(() => expect(page.getByText("lab/gated is gated.")).toBeTruthy());
    expect(page.queryByText(/SAEs? found/)).toBeNull();
  });

  it("says when a listing is of the cache alone, as a note beside the rows", async () => {
    const what = "Offline mode is switched on: this is what the cache of this machine has.";
    const problem = { kind: "cached", what, hint: "The repository may hold more.", suggestions: [] };
    const { page } = await looked("a/a", {
      listings: { "a/a": listing({ rows: [row({ path: "here" })], problems: [problem] }) },
    });
    const note = (await page.findByText(what)).closest(".note");
    expect(note?.classList.contains("err")).toBe(false);
    expect(page.getByText("1 SAE found")).toBeTruthy();
    expect(page.queryByRole("button", { name: "Check again" })).toBeNull();
  });

  it("shows the newest answer only", async () => {
    const shown = show(
      {},
      { delays: { hub_list: 60, hub_preview: 60 }, listings: { "a/a": listing({ rows: [row({ path: "old" })] }) } },
    );
    const { page, user } = shown;
    await user.type(page.getByRole("textbox", { name: "Repository" }), "a/a{Enter}");
    await waitFor(() => expect(page.getByText("Looking into a/a…")).toBeTruthy());
    await user.retype(page.getByRole("textbox", { name: "Repository" }), `${PYTHIA}{Enter}`);
    await waitFor(() => expect(page.getByText("4 SAEs found")).toBeTruthy());
    expect(page.queryByText("old")).toBeNull();
  });
});

describe("warnings", () => {
  it("name the three steps to a gated model, with buttons for them", async () => {
    const hint = `${GATED.hint} Sign in, accept the licence on https://hub.example/google/gemma-2-2b with that account.`;
    const { page, user, hub } = await looked(
      PYTHIA,
      { previews: () => ({ warnings: [{ ...GATED, hint }] }) },
      { account: "ada" },
    );
    await user.click(page.getByRole("checkbox", { name: "Choose layers.6" }));
    await waitFor(() => expect(page.getByRole("alert")).toBeTruthy());
    const alert = within(page.getByRole("alert"));
    expect(alert.getByText("Sign in: done, as ada.")).toBeTruthy();
    expect(alert.getByRole("link", { name: "the model page" }).getAttribute("href")).toBe(
      "https://hub.example/google/gemma-2-2b",
    );
    expect(page.getByRole("alert").textContent).not.toContain("Sign in, accept");
    await user.click(alert.getByRole("button", { name: "Check again" }));
    expect(sent(hub, "hub_preview")[1]).toMatchObject({ again: true });
    await waitFor(() => expect(page.getByRole("button", { name: "Download SAE only" })).toBeTruthy());
    await user.click(page.getByRole("button", { name: "Download SAE only" }));
    expect(sent(hub, "hub_download")[0]).toMatchObject({ saes: [SAE("layers.6")] });
  });

  it("offer another device where memory does not suffice", async () => {
    const { page, user, hub } = await looked(PYTHIA, {
      previews: (_, device) => ({ warnings: device === "cpu" ? [] : [MEMORY] }),
    });
    await user.click(page.getByRole("checkbox", { name: "Choose layers.6" }));
    await waitFor(() => expect(page.getByRole("button", { name: "Download anyway" })).toBeTruthy());
    await user.selectOptions(page.getByRole("combobox", { name: "Load on" }), "CPU, float32");
    await waitFor(() => expect(page.queryByText("Not enough memory on cuda:0.")).toBeNull());
    expect(sent(hub, "hub_preview").at(-1)).toMatchObject({ device: "cpu" });
    expect(page.getByText("fits the CPU (24.8 GB free)")).toBeTruthy();
  });

  it("weigh the disk against all that are chosen", () => {
    const rows = [row(), row({ path: "layers.12" }), row({ path: "layers.18", cached: true })];
    const one = preview(SAE("layers.6"), { disk_free_bytes: 600e6 });
    expect(warningsOf(one, rows.slice(0, 1))).toEqual([]);
    expect(warningsOf(one, rows)[0]).toMatchObject({
      kind: "disk",
      hint: "The downloads need 1.1 GB and 600 MB is free. Free some space, or choose fewer.",
    });
    expect(warningsOf({ ...one, warnings: [DISK] }, rows)).toHaveLength(1);
  });

  it("never make a link of anything but a web address", async () => {
    const hint = "See javascript:alert(1) and <a href=x>, or https://hub.example/page.";
    const { page, user } = await looked(PYTHIA, {
      previews: () => ({ warnings: [{ kind: "note", what: "Odd.", hint }] }),
    });
    await user.click(page.getByRole("checkbox", { name: "Choose layers.6" }));
    await waitFor(() => expect(page.getByText("Odd.")).toBeTruthy());
    const links = page.getAllByRole("link").map((link) => link.getAttribute("href"));
    expect(links).toEqual(["https://hub.example/page"]);
  });
});

describe("the access token", () => {
  it("goes with one command, leaves the field, and is nowhere else", async () => {
    const shown = show();
    const { page, user, hub, el } = shown;
    const field = page.getByLabelText("Access token") as HTMLInputElement;
    expect(field.type).toBe("password");
    await user.type(field, "hf_secret");
    await look(shown, PYTHIA);
    expect(sent(hub, "hub_token")[0]).toMatchObject({ token: "hf_secret" });
    expect(hub.sent.filter((command) => JSON.stringify(command).includes("hf_secret"))).toHaveLength(1);
    expect(field.value).toBe("");
    expect(el.innerHTML).not.toContain("hf_secret");
    expect(JSON.stringify(hub.state)).not.toContain("hf_secret");
    await user.click(page.getByRole("button", { name: "Forget token" }));
    expect(sent(hub, "hub_token")[1]).toMatchObject({ token: null });
    await waitFor(() => expect(page.queryByRole("button", { name: "Forget token" })).toBeNull());
    await waitFor(() => expect(document.activeElement).toBe(field));
  });

  it("can be forgotten where the hub does not know it", async () => {
    const listings = { [PYTHIA]: refusing("The hub does not know this token.", { kind: "invalid_token" }) };
    const { hub, page, user } = await looked(PYTHIA, { listings }, { has_token: true });
    const alert = within(page.getByRole("alert"));
    await user.click(alert.getByRole("button", { name: "Forget token" }));
    expect(sent(hub, "hub_token")[0]).toMatchObject({ token: null });
    await waitFor(() => expect(alert.getByRole("button", { name: "Check again" })).toBeTruthy());
  });
});

describe("known repositories", () => {
  it("are filtered and browsed", async () => {
    const { page, user, hub } = show();
    await user.click(page.getByRole("tab", { name: "Known repositories 6" }));
    await waitFor(() => expect(page.getAllByRole("listitem")).toHaveLength(6));
    await user.type(page.getByRole("searchbox", { name: "Search known repositories" }), "pythia");
    await user.click(within(page.getByRole("listitem", { name: PYTHIA })).getByRole("button", { name: "Browse" }));
    await waitFor(() => expect(document.activeElement).toBe(page.getByRole("textbox", { name: "Repository" })));
    await waitFor(() => expect(page.getByText("4 SAEs found")).toBeTruthy());
    expect(sent(hub, "hub_list")[0]).toMatchObject({ text: PYTHIA });
  });

  it("of Gemma Scope open by their facets", async () => {
    const { page, user } = show();
    await user.click(page.getByRole("tab", { name: "Known repositories 6" }));
    await waitFor(() => expect(page.getAllByRole("listitem")).toHaveLength(6));
    await user.click(within(page.getByRole("listitem", { name: GEMMA })).getByRole("button", { name: "Browse" }));
    await waitFor(() => expect(page.getByRole("radiogroup", { name: "Layer" })).toBeTruthy());
    await waitFor(() =>
      expect((page.getByRole("radio", { name: /^Residual/ }) as HTMLInputElement).checked).toBe(true),
    );
  });
});
