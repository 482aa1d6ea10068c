"""Words for what configurations call in their own way."""

import pytest

from saewidgets.formats import formats
from saewidgets.render.labels import FORMATS, WRITTEN_FORMATS, architecture_label, name_of, sae_label, site_label


def test_every_format_has_a_name_for_readers() -> None:
    assert {one.name for one in formats()} == FORMATS.keys()
    assert {one.name for one in formats() if one.save is not None} == set(WRITTEN_FORMATS)


@pytest.mark.parametrize(
    ("hook_name", "words"),
    [
        ("blocks.12.hook_resid_post", "residual"),
        ("blocks.0.hook_mlp_out", "MLP output"),
        ("blocks.3.attn.hook_z", "attention heads"),
        ("blocks.3.attn.hook_z.5", "attention head 5"),
        ("blocks.3.ln2.hook_normalized", "normalised residual before the MLP"),
        ("hook_embed", "embedding"),
        ("model.layers.3", "model.layers.3"),
        ("blocks.3", "blocks.3"),
        ("", ""),
        (None, ""),
    ],
)
def test_sites(hook_name: str | None, words: str) -> None:
    assert site_label(hook_name) == words


def test_architectures() -> None:
    assert architecture_label({"architecture": "batchtopk", "k": 48}) == "BatchTopK k 48"
    assert architecture_label({"architecture": "jumprelu", "l0_coefficient": 1.5e-3}) == "JumpReLU λ 1.5e-3"
    assert architecture_label({"architecture": "standard", "l1_coefficient": 5}) == "Standard L1 5"
    assert sae_label("topk", k=32) == "TopK, k 32"
    assert sae_label("jumprelu", l0=82.0) == "JumpReLU, L0 82"
    assert sae_label("my_new_one") == "My new one"
    assert name_of({}, "") == ""
