"""Hook names beside the four of the residual stream. (What they are in each architecture: `test_families`.)"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saewidgets.lm import capture, forward, hook_points, resolve_hook, spliced
from tests.lm.models import FAMILIES, WIDTH, build, family, token_ids

NAMES = ("attn.hook_z", "ln2.hook_normalized", "mlp.hook_in")


def captured(model: Any, *names: str) -> list[Tensor]:
    found = capture(model, list(names), token_ids())
    return [found[name] for name in names]


@pytest.mark.parametrize("name", FAMILIES)
def test_embeddings_are_those_of_the_table_and_gemmas_are_scaled(name: str) -> None:
    model = family(name)
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


@pytest.mark.parametrize("name", FAMILIES)
def test_splicing_the_activation_itself_changes_nothing_and_zeros_do(name: str) -> None:
    model, ids = family(name), token_ids()
    expected = forward(model, ids).logits
    every = hook_points(model, published=True)
    for hook in ("hook_embed", *(f"blocks.1.{part}" for part in NAMES if f"blocks.1.{part}" in every)):
        with spliced(model, hook, lambda x: x.clone()):
            torch.testing.assert_close(forward(model, ids).logits, expected)
        with spliced(model, hook, torch.zeros_like):
            assert not torch.allclose(forward(model, ids).logits, expected, atol=1e-3), hook


def test_a_width_of_heads_other_than_the_models_is_known() -> None:
    point = resolve_hook(build("gemma2", head_dim=16), "blocks.0.attn.hook_z")
    assert (point.width, point.heads) == (64, 4)
    assert point.as_heads(torch.zeros(2, 3, 64)).shape == (2, 3, 4, 16)
