"""Hook names: which there are, and what is said about those that are not. (Their values: `test_families`.)"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn

from saewidgets.errors import NotFoundError
from saewidgets.lm import HookError, find_blocks, hook_points, resolve_hook
from tests.lm.models import FAMILIES, LAYERS, WIDTH, build, family


@pytest.mark.parametrize("name", FAMILIES)
def test_every_architecture_lists_four_sites_per_layer(name: str) -> None:
    model = family(name)
    names = hook_points(model)
    assert len(names) == 4 * LAYERS
    assert names[:4] == [f"blocks.0.hook_{s}" for s in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
    assert resolve_hook(model, names[-1]).width == WIDTH


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


def test_layers_that_share_their_weights_are_refused() -> None:
    from transformers import AlbertConfig, AlbertModel

    config = AlbertConfig(
        vocab_size=9, hidden_size=8, embedding_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8
    )
    with pytest.raises(HookError, match="No list of 3 transformer blocks was found in AlbertModel"):
        find_blocks(AlbertModel(config))
