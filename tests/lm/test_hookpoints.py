"""Hook names against what transformers itself reports and against the residual identity."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from saewidgets.errors import NotFoundError
from saewidgets.lm import HookError, capture, find_blocks, hook_points, resolve_hook
from tests.lm.models import CONFIGS, LAYERS, WIDTH, build, token_ids


@pytest.mark.parametrize("name", CONFIGS)
def test_residual_stream_is_what_transformers_reports(name: str) -> None:
    model, ids = build(name), token_ids()
    with torch.no_grad():
        reference = model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(LAYERS)]
    found = capture(model, names, ids)
    for layer in range(LAYERS):
        torch.testing.assert_close(found[names[layer]], reference[layer])
    # transformers' last entry is after the final norm, so the output of each block is compared with the next input.
    for layer in range(LAYERS - 1):
        hook = f"blocks.{layer}.hook_resid_post"
        torch.testing.assert_close(capture(model, [hook], ids)[hook], reference[layer + 1])


@pytest.mark.parametrize("name", CONFIGS)
def test_blocks_add_what_attention_and_mlp_put_out(name: str) -> None:
    model, ids = build(name), token_ids()
    for layer in range(LAYERS):
        at = f"blocks.{layer}.hook_"
        found = capture(model, [at + site for site in ("resid_pre", "attn_out", "mlp_out", "resid_post")], ids)
        total = found[at + "resid_pre"] + found[at + "attn_out"] + found[at + "mlp_out"]
        torch.testing.assert_close(found[at + "resid_post"], total, rtol=1e-4, atol=1e-5)
        assert found[at + "attn_out"].abs().mean() > 1e-3
        assert found[at + "mlp_out"].abs().mean() > 1e-3


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_lists_four_sites_per_layer(name: str) -> None:
    names = hook_points(build(name))
    assert len(names) == 4 * LAYERS
    assert names[:4] == [f"blocks.0.hook_{s}" for s in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
    assert resolve_hook(build(name), names[-1]).width == WIDTH


def test_blocks_of_experts_are_not_taken_for_layers() -> None:
    model = build("mixtral")  # as many experts as layers
    assert [type(block).__name__ for block in find_blocks(model)] == ["MixtralDecoderLayer"] * LAYERS


def test_the_layer_range_is_named() -> None:
    with pytest.raises(HookError, match=r"no layer 7: the model has 3 layers.*from 0 to 2") as caught:
        resolve_hook(build("gpt2"), "blocks.7.hook_resid_post")
    assert isinstance(caught.value, NotFoundError)
    assert caught.value.where == "hook_name"


@pytest.mark.parametrize(
    "name", ["", "transformer.h.1", "blocks.1.hook_z", "blocks.-1.hook_resid_post", "blocks.1.hook_mlp_out\n"]
)
def test_a_malformed_name_lists_the_sites(name: str) -> None:
    with pytest.raises(HookError, match=r"resid_pre, attn_out, mlp_out, resid_post and LAYER from 0 to 2"):
        resolve_hook(build("gpt2"), name)


def test_a_site_the_block_does_not_have_is_refused() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = nn.Linear(2, 2)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(num_hidden_layers=2, hidden_size=2, is_encoder_decoder=False)
            self.layers = nn.ModuleList([Block(), Block()])

    with pytest.raises(
        HookError, match=r"hook_attn_out is not known for Block.*hook_resid_pre, mlp.hook_in, hook_mlp_out, hook_resid"
    ):
        resolve_hook(Model(), "blocks.0.hook_attn_out")


def test_a_model_without_blocks_is_refused() -> None:
    model = nn.Linear(2, 2)
    model.config = SimpleNamespace(num_hidden_layers=2, is_encoder_decoder=False)  # type: ignore[assignment]
    with pytest.raises(HookError, match="No list of 2 transformer blocks was found in Linear"):
        find_blocks(model)


def test_encoder_decoders_are_refused() -> None:
    model = nn.Linear(2, 2)
    model.config = SimpleNamespace(num_hidden_layers=2, is_encoder_decoder=True)  # type: ignore[assignment]
    with pytest.raises(HookError, match="decoder-only"):
        find_blocks(model)
