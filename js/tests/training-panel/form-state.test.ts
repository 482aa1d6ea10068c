import { describe, expect, it } from "vitest";
import { CHECK, FORM } from "../../demo/runs";
import type { FormField } from "../../src/lib/wire";
import * as form from "../../src/training-panel/form-state";

const start = () => form.initialValues(FORM);
const fields = (values: form.Values) => form.visibleFields(FORM, values);

describe("values", () => {
  it("start from the given defaults, numbers with separators, the seed without", () => {
    const values = form.initialValues({ ...FORM, defaults: { ...FORM.defaults, seed: 12_345 } });
    expect(values).toMatchObject({
      model: "gpt2",
      "sae.d_sae": "16,384",
      tokens: "10,000,000",
      "optimizer.lr": "3e-4",
      seed: "12345",
      "sae.aux_k": "",
      "activations.prepend_bos": true,
      layer: "6",
      site: "hook_resid_post",
    });
  });
  it("put separators into a number that was typed, and leave what is none", () => {
    const tokens = FORM.fields.find((field) => field.name === "tokens") as FormField;
    expect([
      form.tidy(tokens, "2000000"),
      form.tidy(tokens, "2M"),
      form.tidy(tokens, "many"),
      form.tidy(tokens, " "),
    ]).toEqual(["2,000,000", "2,000,000", "many", " "]);
  });
});

describe("what a form suggests", () => {
  const of = (before: form.Values, model: string) =>
    form.followModel(FORM, before, form.change(before, "model", model));
  it("follows the model until somebody types something else", () => {
    const demo = of(start(), "demo");
    expect([demo["sae.d_sae"], demo.tokens, demo["optimizer.lr"]]).toEqual(["4,096", "2,600,000", "3e-4"]);
    const typed = of(form.change(start(), "tokens", "5,000,000"), "demo");
    expect([typed["sae.d_sae"], typed.tokens]).toEqual(["4,096", "5,000,000"]);
    const back = of(form.change(demo, "sae.d_sae", "1,024"), "gpt2");
    expect([back.model, back["sae.d_sae"], back.tokens]).toEqual(["gpt2", "1,024", "10,000,000"]);
  });
});

describe("layer, site and hook name", () => {
  it("follow each other", () => {
    const layer = form.change(start(), "layer", "3");
    expect(layer.hook_name).toBe("blocks.3.hook_resid_post");
    const site = form.change(layer, "site", "hook_mlp_out");
    expect(site.hook_name).toBe("blocks.3.hook_mlp_out");
    const hook = form.change(site, "hook_name", "blocks.11.hook_attn_out");
    expect(hook).toMatchObject({ layer: "11", site: "hook_attn_out" });
  });
  it("know heads and inputs of MLPs, and no other place", () => {
    for (const value of Object.keys(form.SITES)) {
      expect(form.splitHook(form.composeHook("3", value))).toEqual({ layer: "3", site: value, head: "" });
    }
    expect(form.splitHook("blocks.3.attn.hook_q")).toBeNull();
  });
  it("know single heads, of one layer and of several", () => {
    const site = form.change(form.change(start(), "layer", "3"), "site", "attn.hook_z");
    const head = form.change(site, "head", "5");
    expect([site.hook_name, head.hook_name]).toEqual(["blocks.3.attn.hook_z", "blocks.3.attn.hook_z.5"]);
    const several = form.change(form.change(head, "head", "0-1"), "layer", "3, 4");
    expect(several.hook_name).toBe(
      "blocks.3.attn.hook_z.0, blocks.3.attn.hook_z.1, blocks.4.attn.hook_z.0, blocks.4.attn.hook_z.1",
    );
    expect(form.splitHook(String(several.hook_name))).toEqual({ layer: "3, 4", site: "attn.hook_z", head: "0, 1" });
    expect(form.change(several, "hook_name", "blocks.7.attn.hook_z.11")).toMatchObject({ layer: "7", head: "11" });
    expect(form.change(head, "hook_name", "blocks.7.attn.hook_z")).toMatchObject({ layer: "7", head: "" });
    // Another site has none; back at the heads it is the same one.
    const other = form.change(head, "site", "hook_mlp_out");
    expect(other.hook_name).toBe("blocks.3.hook_mlp_out");
    expect(form.change(other, "site", "attn.hook_z").hook_name).toBe("blocks.3.attn.hook_z.5");
    for (const name of [
      "blocks.3.mlp.hook_in.5",
      "blocks.3.attn.hook_z.",
      "blocks.3.attn.hook_z.0, blocks.4.attn.hook_z",
    ])
      expect(form.splitHook(name)).toBeNull();
  });
  it("say which head cannot be read or is not there, beside it", () => {
    const values = form.change(form.change(start(), "site", "attn.hook_z"), "head", "first");
    expect(form.toConfig(fields(values), values).errors.head).toContain("Enter the number of a head");
    const many = form.change(values, "head", "12");
    expect(form.toConfig(fields(many), many).errors).toEqual({});
    const wrong = { hook_name: "Head 12 does not exist." };
    expect(form.placeHookError(wrong, many, 12)).toEqual({ head: "Head 12 does not exist." });
    expect(form.placeHookError(wrong, form.change(many, "head", "11"), 12)).toEqual({
      layer: "Head 12 does not exist.",
    });
  });
  it("leave layer and site alone while the hook name is none", () => {
    expect(form.change(start(), "hook_name", "blocks.")).toMatchObject({ layer: "6", site: "hook_resid_post" });
  });
});

describe("the configuration", () => {
  it("is nested, with numbers as numbers and empty optional fields as null", () => {
    const values = { ...start(), "sae.d_sae": "16_384", "optimizer.lr": "1e-3", tokens: "2M" };
    const { config, errors } = form.toConfig(fields(values), values);
    expect(errors).toEqual({});
    expect(config).toMatchObject({
      model: "gpt2",
      hook_name: "blocks.6.hook_resid_post",
      tokens: 2_000_000,
      name: null,
      sae: { architecture: "topk", d_sae: 16_384, k: 32, aux_k: null },
      optimizer: { lr: 1e-3, grad_clip: 1 },
      activations: { prepend_bos: true },
    });
  });
  it("holds only the fields of its architecture", () => {
    const values = form.change(start(), form.ARCHITECTURE, "jumprelu");
    const { sae } = form.toConfig(fields(values), values).config as { sae: object };
    expect(Object.keys(sae)).toEqual(["architecture", "d_sae", "l0_coefficient", "bandwidth"]);
  });
  it("names the fields that cannot be read", () => {
    const values = {
      ...start(),
      tokens: "many",
      "sae.k": "",
      "optimizer.lr": "fast",
      layer: "x",
      hook_name: "blocks.x.y",
    };
    expect(form.toConfig(fields(values), values).errors).toEqual({
      layer: "Enter the number of a layer, or several: 4, 6, 8 or 0-3.",
      tokens: "“many” is not a whole number. Enter one of at least 1; 10,000,000 is usual.",
      "sae.k": "Active latents (k) is missing.",
      "optimizer.lr": "“fast” is not a number. Enter one from 0 to 1, or leave it empty; 3e-4 is usual.",
    });
  });
});

describe("errors", () => {
  const all = fields(start());
  it("lead to the first bad field in reading order", () => {
    expect(form.firstBad(all, { tokens: "", "sae.k": "", "optimizer.grad_clip": "" })).toBe("sae.k");
    expect(form.firstBad(all, { layer: "", model: "" })).toBe("model");
    expect(form.firstBad(all, {})).toBeNull();
  });
  it("that belong to no field are said apart", () => {
    expect(form.looseErrors(all, { "": "Two settings clash.", "sae.l0_coefficient": "gone", tokens: "x" })).toEqual([
      "Two settings clash.",
      "sae.l0_coefficient: gone",
    ]);
  });
  it("name fields by their labels", () => {
    expect([form.labelOf(all, "sae.k"), form.labelOf(all, "layer"), form.labelOf(all, "odd")]).toEqual([
      "Active latents (k)",
      "Layer",
      "odd",
    ]);
  });
});

describe("errors of the hook name", () => {
  const hook = { hook_name: "There is no layer 99." };
  it("stand at Layer when Layer and Site made it, once", () => {
    const values = form.change(start(), "layer", "99");
    expect(form.placeHookError(hook, values)).toEqual({ layer: "There is no layer 99." });
    expect(
      form.placeHookError({ ...hook, layer: "Enter the number of a layer, or several: 4, 6, 8 or 0-3." }, values),
    ).toEqual({ layer: "Enter the number of a layer, or several: 4, 6, 8 or 0-3." });
  });
  it("stay where the name was typed", () => {
    const values = form.change(start(), "hook_name", "blocks.6.odd");
    expect(form.placeHookError(hook, values)).toEqual(hook);
    expect(form.placeHookError({ model: "gone" }, values)).toEqual({ model: "gone" });
  });
});

describe("what an edit leaves of a check", () => {
  const hints = { corpus: "2.1M tokens", context_size: "at most 1,024" };
  const places = { layer: "0 to 11; several: 4, 6, 8", hook_name: "d_in 768" };
  const check = { ...CHECK, hints };
  it.each([
    ["name", check],
    ["model", { ...check, estimate: null, name: "", hints: {}, model: null }],
    ["corpus", { ...check, estimate: null, hints: { context_size: "at most 1,024" } }],
    ["sae.k", { ...check, estimate: null, name: "" }],
    ["tokens", { ...check, estimate: null }],
  ])("after %s", (name, left) => expect(form.stillKnown(check, name)).toEqual(left));
  it("after the layer: what is known of the model, but not the width there", () => {
    const left = form.stillKnown({ ...check, hints: places }, "layer");
    expect(left).toMatchObject({ model: { layers: 12, d_in: null }, name: "" });
    expect(left.hints).toEqual({ layer: "0 to 11; several: 4, 6, 8" });
  });
});

describe("choices", () => {
  it("have readable words", () => {
    const field = (name: string) => FORM.fields.find((one) => one.name === name) as FormField;
    expect(
      form
        .optionsOf(field("sae.architecture"), FORM)
        .map(({ label }) => label)
        .slice(0, 3),
    ).toEqual(["Standard", "TopK", "BatchTopK"]);
    expect(form.optionsOf(field("device"), FORM)).toEqual([
      { value: "auto", label: "Automatic (cuda:0)" },
      { value: "cpu", label: "cpu (2 cores)" },
      { value: "cuda:0", label: "cuda:0 (8.0 GB)" },
    ]);
    const second = { ...field("device"), name: "model_device", optional: true };
    expect(form.isChoice(second)).toBe(true);
    expect(form.optionsOf(second, FORM).map(({ value }) => value)).toEqual(["cpu", "cuda:0"]);
  });
  it("stand under their headings", () => {
    const groups = form.byGroup(form.inSection(fields(start()), "advanced"));
    expect(groups.map(([title, list]) => [title, list.map((field) => field.name)])).toEqual([
      ["Optimiser and schedules", ["optimizer.grad_clip", "optimizer.lr_schedule"]],
      ["Activations", ["activations.prepend_bos"]],
    ]);
  });
  it("count changed settings", () => {
    const advanced = form.inSection(fields(start()), "advanced");
    expect(form.changedOf(advanced, start())).toEqual([]);
    const changes = { "optimizer.grad_clip": "2", "optimizer.lr_schedule": "linear" };
    expect(form.changedOf(advanced, { ...start(), ...changes })).toEqual(Object.keys(changes));
  });
  it.each([
    ["", {}, true],
    ["text", { corpus: "demo" }, true],
    ["text", { corpus: "acts_01ARZ3NDEKTSV4RRFFQ69G5FAV" }, false],
    ["sae.p_end", { "sae.p_end": "" }, false],
    ["sae.p_end", { "sae.p_end": "0.2" }, true],
    ["sae.learn_skip", { "sae.learn_skip": false }, false],
    ["sae.sparsity_loss=tanh", { "sae.sparsity_loss": "step" }, false],
    ["sae.sparsity_loss=tanh", { "sae.sparsity_loss": "tanh" }, true],
  ])("have an effect: one that needs %j, beside %j: %j", (needs, values, expected) => {
    expect(form.applies({ ...(FORM.fields[0] as FormField), needs }, values as form.Values)).toBe(expected);
  });
});
