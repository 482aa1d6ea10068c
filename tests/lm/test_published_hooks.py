"""Hook names that published SAEs read, against the same activations computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from saewidgets.lm import HookError, capture, forward, hook_points, resolve_hook, spliced
from tests.lm.models import CONFIGS, LAYERS, WIDTH, build, token_ids

BY_HAND = ("gpt2", "llama", "gemma2", "gpt_neox")
NO_NORM_BEFORE_MLP = ("gptj", "olmo2", "phi", "falcon")  # one norm for both sublayers, or norms after them
NAMES = ("attn.hook_z", "ln2.hook_normalized", "mlp.hook_in")


def captured(model: Any, *names: str) -> list[Tensor]:
    found = capture(model, list(names), token_ids())
    return [found[name] for name in names]


def block_of(model: Any, name: str, layer: int) -> Any:
    return {"gpt2": lambda: model.transformer.h, "gpt_neox": lambda: model.gpt_neox.layers}.get(
        name, lambda: model.model.layers
    )()[layer]


@pytest.mark.parametrize("name", CONFIGS)
def test_embeddings_are_those_of_the_table_and_gemmas_are_scaled(name: str) -> None:
    model = build(name)
    expected = model.get_input_embeddings().weight[token_ids()].detach()
    if name.startswith("gemma"):
        expected = expected * torch.tensor(WIDTH**0.5)
    torch.testing.assert_close(captured(model, "hook_embed")[0], expected)
    point = resolve_hook(model, "hook_embed")
    assert (point.width, point.layer) == (WIDTH, 0)


@pytest.mark.parametrize("name", ["gemma", "gemma2"])
def test_embeddings_that_transformers_scales_later_are_read_later(name: str) -> None:
    model = build(name)
    expected = captured(model, "hook_embed")[0]
    del model.model.embed_tokens.embed_scale  # as in transformers 4, whose models scale in their own forward
    point = resolve_hook(model, "hook_embed")
    assert point.kind == "input"
    assert point.module is model.model.layers[0]
    assert expected.shape[-1] == point.width


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", BY_HAND)
def test_hook_z_is_attention_times_values(name: str, layer: int) -> None:
    model = build(name, attn_implementation="eager")
    at = f"blocks.{layer}."
    x, z = captured(model, at + "hook_resid_pre", at + "attn.hook_z")
    with torch.no_grad():
        patterns = model(input_ids=token_ids(), output_attentions=True, use_cache=False).attentions[layer]
        block = block_of(model, name, layer)
        if name == "gpt2":
            values = block.attn.c_attn(block.ln_1(x)).split(WIDTH, -1)[2]
        elif name == "gpt_neox":
            fused = block.attention.query_key_value(block.input_layernorm(x))
            values = fused.unflatten(-1, (4, 3, 8))[..., 2, :].flatten(-2)
        else:
            values = block.self_attn.v_proj(block.input_layernorm(x))
            values = values.unflatten(-1, (2, 8)).repeat_interleave(2, dim=-2).flatten(-2)
        heads = values.unflatten(-1, (4, 8))
        expected = torch.einsum("bhqk,bkhd->bqhd", patterns, heads)
    point = resolve_hook(model, at + "attn.hook_z")
    assert (point.width, point.heads) == (WIDTH, 4)
    assert z.shape == (2, 9, WIDTH)
    torch.testing.assert_close(point.as_heads(z), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", BY_HAND)
def test_what_enters_the_mlp_is_the_normalised_stream(name: str, layer: int) -> None:
    model = build(name)
    block = block_of(model, name, layer)
    with torch.no_grad():  # gains of one would hide whether they are applied
        for norm in (n for key, n in block.named_parameters() if "norm" in key or "ln_2" in key):
            norm.copy_(1 + 0.3 * torch.randn(norm.shape, generator=torch.Generator().manual_seed(3)))
    at = f"blocks.{layer}."
    x, attention, normalised, entering, leaving = captured(
        model, at + "hook_resid_pre", at + "hook_attn_out", at + "ln2.hook_normalized", at + "mlp.hook_in",
        at + "hook_mlp_out",
    )
    middle = x if name == "gpt_neox" else x + attention  # NeoX runs both sublayers side by side
    rms = middle * (middle.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    with torch.no_grad():
        if name == "gpt2":
            expected = F.layer_norm(middle, (WIDTH,), block.ln_2.weight, block.ln_2.bias)
        elif name == "gpt_neox":
            norm = block.post_attention_layernorm
            expected = F.layer_norm(middle, (WIDTH,), norm.weight, norm.bias)
        elif name == "llama":
            expected = rms * block.post_attention_layernorm.weight
        else:
            expected = rms * (1 + block.pre_feedforward_layernorm.weight)
        out = block.mlp(entering)
        if name == "gemma2":
            out = block.post_feedforward_layernorm(out)
    torch.testing.assert_close(normalised, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(entering, normalised)
    torch.testing.assert_close(leaving, out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_has_them(name: str) -> None:
    model = build(name)
    names = hook_points(model, published=True)
    absent = {"ln2.hook_normalized"} if name in NO_NORM_BEFORE_MLP else set()
    for layer in range(LAYERS):
        assert {part for part in NAMES if f"blocks.{layer}.{part}" in names} == set(NAMES) - absent
    assert names[0] == "hook_embed"
    assert set(hook_points(model)) <= set(names)
    found = dict(zip(names, captured(model, *names), strict=True))
    assert all(x.shape == (2, 9, resolve_hook(model, key).width) for key, x in found.items())
    for layer in range(LAYERS):
        at = f"blocks.{layer}."
        if not absent:
            torch.testing.assert_close(found[at + "ln2.hook_normalized"], found[at + "mlp.hook_in"])
        elif name == "olmo2":
            middle = found[at + "hook_resid_pre"] + found[at + "hook_attn_out"]
            torch.testing.assert_close(found[at + "mlp.hook_in"], middle)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_output_projection_turns_hook_z_into_what_attention_puts_out(name: str) -> None:
    model = build(name)
    point = resolve_hook(model, "blocks.1.attn.hook_z")
    out: list[Tensor] = []
    handle = point.module.register_forward_hook(lambda m, a, o: out.append(o.detach()))
    try:
        z = capture(model, [point.name], token_ids(), stop_early=False)[point.name]
    finally:
        handle.remove()
    with torch.no_grad():
        torch.testing.assert_close(point.module(z), out[0])
    assert point.heads == 4


@pytest.mark.parametrize("name", CONFIGS)
def test_splicing_the_activation_itself_changes_nothing_and_zeros_do(name: str) -> None:
    model, ids = build(name), token_ids()
    expected = forward(model, ids).logits
    names = ["hook_embed", *(f"blocks.1.{part}" for part in NAMES if part[0] != "l" or name not in NO_NORM_BEFORE_MLP)]
    for hook in names:
        with spliced(model, hook, lambda x: x.clone()):
            torch.testing.assert_close(forward(model, ids).logits, expected)
        with spliced(model, hook, torch.zeros_like):
            assert not torch.allclose(forward(model, ids).logits, expected, atol=1e-3), hook


def test_later_layers_are_never_computed() -> None:
    model, ran = build("gpt2"), []
    model.transformer.h[1].mlp.register_forward_hook(lambda *_: ran.append("mlp"))
    model.transformer.h[1].attn.register_forward_hook(lambda *_: ran.append("attn"))
    capture(model, ["blocks.1.attn.hook_z"], token_ids())
    assert ran == []
    capture(model, ["blocks.1.mlp.hook_in"], token_ids())
    assert ran == ["attn"]


def test_a_width_of_heads_other_than_the_models_is_known() -> None:
    point = resolve_hook(build("gemma2", head_dim=16), "blocks.0.attn.hook_z")
    assert (point.width, point.heads) == (64, 4)
    assert point.as_heads(torch.zeros(2, 3, 64)).shape == (2, 3, 4, 16)


@pytest.mark.parametrize("name", NO_NORM_BEFORE_MLP)
def test_a_norm_that_the_model_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(HookError, match=r"ln2.hook_normalized is not known for \w+.*mlp.hook_in"):
        resolve_hook(build(name), "blocks.0.ln2.hook_normalized")


def test_opt_with_norms_after_its_sublayers_has_none_before_the_mlp() -> None:
    model = build("opt", do_layer_norm_before=False)
    with pytest.raises(HookError, match="not known for OPTDecoderLayer"):
        resolve_hook(model, "blocks.0.ln2.hook_normalized")


def test_only_hook_z_has_heads() -> None:
    with pytest.raises(HookError, match="no heads"):
        resolve_hook(build("gpt2"), "blocks.0.mlp.hook_in").as_heads(torch.zeros(1, WIDTH))
    with pytest.raises(HookError, match=r"blocks.0.hook_embed' is not a hook name.*hook_embed"):
        resolve_hook(build("gpt2"), "blocks.0.hook_embed")
