"""What a model computes before what: as real models do it, and what that forbids."""

from __future__ import annotations

import itertools

import pytest
import torch

from saewidgets.config import TrainingConfig, TranscoderConfig
from saewidgets.config.hook_names import computed_before
from saewidgets.errors import ConfigError
from saewidgets.lm import capture, hook_points
from tests.lm.models import FAMILIES, LAYERS, family

ATTENTION = ("attn.hook_z", "hook_attn_out")


@pytest.mark.parametrize("name", FAMILIES)
def test_models_compute_their_hook_points_in_this_order(name: str) -> None:
    model = family(name)
    names = hook_points(model, published=True)
    wanted = [each for each in names if each.startswith("blocks.")]
    order = list(capture(model, wanted, torch.arange(1, 9)[None], stop_early=False))
    assert {int(each.split(".")[1]) for each in order} == set(range(LAYERS))
    for first, second in itertools.combinations(order, 2):
        assert not computed_before(second, first), (first, second)


def test_of_a_norm_and_attention_nobody_knows_without_the_model() -> None:
    for site in ATTENTION:
        pair = ("blocks.1.ln2.hook_normalized", f"blocks.1.{site}")
        assert not computed_before(*pair)
        assert not computed_before(*reversed(pair))
    assert computed_before("blocks.1.ln2.hook_normalized", "blocks.2.hook_attn_out")


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("blocks.1.hook_resid_post", "blocks.1.hook_mlp_out"),
        ("blocks.1.hook_mlp_out", "blocks.1.mlp.hook_in"),
        ("blocks.2.hook_resid_pre", "blocks.1.hook_resid_post"),
    ],
)
def test_a_transcoder_cannot_reconstruct_what_came_before(read: str, written: str) -> None:
    with pytest.raises(ConfigError, match=rf"computes {written} before {read}\. .*blocks\.\d\.mlp\.hook_in") as caught:
        TrainingConfig(hook_name=read, hook_name_out=written, sae=TranscoderConfig(d_sae=64))
    assert caught.value.where == "hook_name_out"


def test_the_example_for_a_missing_output_is_of_the_layer_that_is_read() -> None:
    with pytest.raises(ConfigError, match=r"blocks\.3\.mlp\.hook_in and blocks\.3\.hook_mlp_out"):
        TrainingConfig(hook_name="blocks.3.hook_resid_pre", sae=TranscoderConfig(d_sae=64))
