import { describe, expect, it } from "vitest";
import { CARDS, card, LAYERS } from "../../demo/runs";
import {
  able,
  deleteQuestion,
  exportFolder,
  losesTokens,
  outcomeWords,
  stopQuestion,
  whyNot,
} from "../../src/training-panel/bulk-state";
import {
  forwardWords,
  groupBadge,
  groupMeta,
  listCards,
  memberWord,
  templateWords,
  tiledBy,
} from "../../src/training-panel/groups";
import { type ListCard, matches, originWords, shownCards } from "../../src/training-panel/state";

describe("groups", () => {
  const cards = [...CARDS.slice(0, 2), ...LAYERS];

  it("stand in the list as one card, in the order of the layers", () => {
    const [, , group] = listCards(cards);
    expect(listCards(cards)).toHaveLength(3);
    expect(group?.members?.map((one) => one.hook_name)).toEqual([4, 6, 8].map((n) => `blocks.${n}.hook_resid_post`));
    expect(group?.checkpoint_count).toBe(9);
    expect(group?.name).toBe("gpt2-l4-6-8-batchtopk");
  });
  it("stand where those of their runs stand that go on", () => {
    const note = { what: "Loss became NaN.", where: null, hint: null, kind: "nan" };
    const [a, b, c] = LAYERS.map((one) => ({ ...one, status: "running" }));
    const nan = { ...(a as (typeof CARDS)[0]), status: "failed", note, tiles: { ...card().tiles, loss: "NaN" } };
    const [group] = listCards([nan, b, c] as never);
    expect(group?.status).toBe("running");
    expect(group?.note).toMatchObject({ what: "Loss became NaN.", where: "gpt2-l8-batchtopk-k48" });
    expect(tiledBy(group?.members ?? []).map((one) => one.tiles.loss)).toEqual([0.1874, 0.2362]); // of those that go on
    const all = listCards([a, b, c].map((one) => ({ ...one, note: { ...note, what: "The kernel ended." } })) as never);
    expect(all[0]?.note).toMatchObject({ what: "The kernel ended.", where: null });
  });
  it("that are spread over jobs are one card, as far as all of them together", () => {
    const [a, b, c] = LAYERS.map((one) => ({ ...one, status: "running", fraction: 0.2, tokens_done: 200, place: [] }));
    const spread = [
      a,
      { ...b, job_id: "2", device: "cuda:1", fraction: 0.6, tokens_done: 600 },
      { ...c, job_id: "3", fraction: 1, tokens_done: 1000, status: "completed" },
    ];
    const [group, ...none] = listCards(spread as never);
    expect(none).toEqual([]);
    expect(group).toMatchObject({ fraction: 0.6, tokens_done: 600, status: "running" });
    expect(group?.device).toBe("cuda:1, cuda:0");
    expect(groupBadge(group?.members ?? [])).toBe("3 layers, 3 jobs");
    expect(forwardWords("running", 3, false, 3)).toBe("one LM forward for each of 3 jobs");
    const waits = { ...b, job_id: "2", status: "queued", tiles: { ...card().tiles, loss: null } };
    expect(tiledBy([a, waits] as never)).toEqual([a]);
  });
  it("that were stopped say how far the last of their runs came", () => {
    const [a, b] = LAYERS.map((one) => ({ ...one, status: "stopped" }) as (typeof CARDS)[0]);
    const list = listCards([
      { ...a, tokens_done: 200_000 },
      { ...b, tokens_done: 500_000 },
    ] as never);
    expect(list[0]?.tokens_done).toBe(500_000);
    expect(
      listCards([
        { ...a, tokens_done: 500_000 },
        { ...b, tokens_done: 200_000 },
      ] as never)[0]?.tokens_done,
    ).toBe(500_000);
  });
  it("say which group they repeat", () => {
    const again = LAYERS.map((one) => ({
      ...one,
      id: `${one.id}-2`,
      name: `${one.name}-2`,
      group_id: "group_2",
      group_name: "gpt2-l4-6-8-batchtopk-2",
      retry_of: one.name,
    }));
    const [second, first] = listCards([...again, ...LAYERS]);
    expect(originWords(second as never)).toBe("retry of gpt2-l4-6-8-batchtopk");
    expect(originWords(first as never)).toBeNull();
    // those runs may be deleted by now
    expect(originWords(listCards(again)[0] as never)).toBe("retry of gpt2-l4-batchtopk-k48");
  });
  it("of one run are that run", () => {
    expect(listCards([card({ group_id: "g" })])[0]?.members).toBeUndefined();
  });
  it("stand where the best of their runs stands, sorted by a number", () => {
    const [group, alone] = listCards([...LAYERS, card({ tiles: { ...card().tiles, fvu: 0.1 } })]) as ListCard[];
    expect(shownCards([alone, group] as ListCard[], "all", "", "fvu")).toEqual([group, alone]); // from 0.091 to 0.129
  });
  it("say what they differ in", () => {
    expect(groupBadge(LAYERS)).toBe("3 layers, one job");
    expect(groupMeta(LAYERS)).toEqual(["gpt2", "3 hooks", "BatchTopK k 48", "d_sae 16,384 each"]);
    const heads = [0, 3].map((head) => card({ hook_name: `blocks.6.attn.hook_z.${head}` }));
    expect(groupBadge(heads)).toBe("2 heads, one job");
    expect([groupMeta(heads)[1], memberWord(heads[1] as never, heads)]).toEqual(["2 heads", "head 3"]);
    const sites = ["hook_mlp_out", "hook_resid_post"].map((site) => card({ hook_name: `blocks.6.${site}` }));
    expect(groupBadge(sites)).toBe("2 hooks, one job");
    const sweep = [card({ name: "k16", architecture: "TopK k 16" }), card({ name: "k32", d_sae: 8192 })];
    expect(groupBadge(sweep)).toBe("2 runs, one job");
    expect(groupMeta(sweep)).toEqual([
      "gpt2",
      "blocks.6.hook_resid_post",
      "2 settings of the autoencoder",
      "several widths",
    ]);
    expect(LAYERS.map((one) => memberWord(one, LAYERS))).toEqual(["layer 8", "layer 4", "layer 6"]);
    expect(memberWord(sweep[0] as never, sweep)).toBe("k16");
  });
  it.each([
    ["blocks.4.attn.hook_z.0", "blocks.4.attn.hook_z.1", "heads"],
    ["blocks.4.hook_resid_post", "blocks.6.hook_resid_post", "layers"],
    ["blocks.4.attn.hook_z.0", "blocks.6.attn.hook_z.1", "layers and heads"],
    ["blocks.4.hook_resid_post", "blocks.4.hook_mlp_out", "hook names"],
    ["transformer.h.4", "transformer.h.6", "hook names"],
  ])("tell what of %s and %s a template leaves out: %s", (a, b, what) => {
    const [kept, other] = [card({ hook_name: a }), card({ hook_name: b })];
    const text = `A template keeps one hook name: ${a}. Enter the other ${what} again where you use it.`;
    expect(templateWords(kept, [kept, other])).toBe(text);
  });
  it("are found by any of their runs", () => {
    const list = listCards(cards);
    expect(shownCards(list, "all", "blocks.8", "newest")).toHaveLength(1);
    expect(matches(list[2] as never, "blocks.5")).toBe(false);
  });
});

describe("several runs", () => {
  const [running, paused, queued, , completed, failed, interrupted, stopped] = CARDS;
  it("are asked only what each can do", () => {
    const names = (what: "pause" | "resume" | "stop" | "delete") => able(what, CARDS).map((one) => one.status);
    expect(names("pause")).toEqual(["running", "queued"]);
    expect(names("resume")).toEqual(["paused", "interrupted", "stopped"]);
    expect(names("stop")).toEqual(["running", "paused", "queued"]);
    expect(names("delete")).not.toContain("running");
    expect(able("export", CARDS)).toHaveLength(CARDS.length);
    expect(able("pause", [{ ...(running as never as (typeof CARDS)[0]), status: "pausing" }])).toEqual([]);
  });
  it("are asked only what works from here", () => {
    const away = [paused, completed].map((one) => ({ ...one, has_files: false })) as never;
    expect([able("resume", away), able("delete", away)]).toEqual([[], []]);
    expect(able("stop", away)).toHaveLength(1);
    expect(whyNot("delete", away)).toBe("Their files are on another machine");
    expect(whyNot("pause", away)).toBe("None of the selected trainings is running or queued");
    expect(deleteQuestion([stopped] as never, () => {}, away).children).toContain("One that is running or on another");
  });
  it("lose what no checkpoint has", () => {
    expect(losesTokens([running, paused, queued] as never)).toBe(57_344);
    const question = stopQuestion([running, queued] as never, () => {});
    expect(question.title).toBe("Stop 2 trainings?");
    expect(question.children).toBe("57,344 tokens are not in a checkpoint yet.");
    expect(stopQuestion([running] as never, () => {}).title).toBe("Stop gpt2-l6-topk-k32?");
  });
  it("are named, with what goes, before they are deleted", () => {
    const question = deleteQuestion([stopped, completed] as never, () => {}, [running, stopped, completed] as never);
    expect(question.title).toBe("Delete 2 trainings?");
    expect(question.children).toBe(
      "Their 5 checkpoints (1.5 GB) and metrics go too. You can undo this for ten seconds. One that is running stays.",
    );
    expect(question.answers[0]?.label).toBe("Delete trainings");
    expect(deleteQuestion([queued] as never, () => {}).children).toBe("Its metrics go too. This cannot be undone.");
  });
  it("tell what was not done, and why", () => {
    const problem = { what: "It is completed.", where: "a", hint: "Do not.", kind: "error" };
    const done = { done: ["b", "c"], paths: [], problems: [problem, { ...problem, what: "a is gone.", hint: null }] };
    expect(outcomeWords("pause", done)).toEqual({
      title: "2 of 4 trainings could not be paused.",
      lines: ["a: It is completed. Do not.", "a is gone."],
    });
  });
  it("are exported into a folder that can be one", () => {
    expect(exportFolder([failed, interrupted] as never)).toBe("trainings");
    expect(exportFolder([card({ name: "../a b/c" })])).toBe("a-b-c");
    expect(exportFolder([card({ name: "…" })])).toBe("training");
  });
});

it("says what the runs of a job share", () => {
  expect(forwardWords("completed", 3)).toBe("one LM forward fed all three");
  expect(forwardWords("running", 2)).toBe("one LM forward feeds both");
  expect(forwardWords("paused", 12)).toBe("one LM forward for all 12");
  expect(forwardWords("completed", 2, true)).toBe("one reading of the store fed both");
});
