"""Names, classes and configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from saewidgets.config.sae import StandardConfig, TopKConfig, TranscoderConfig
from saewidgets.errors import ConfigError
from saewidgets.sae import StandardSAE, TopKSAE, architectures, build_sae, create_sae
from saewidgets.sae.registry import lookup


def test_create_by_name() -> None:
    sae = create_sae("topk", d_in=16, d_sae=64, k=3)
    assert isinstance(sae, TopKSAE)
    assert sae.cfg == TopKConfig(d_sae=64, k=3)
    assert (sae.d_in, sae.d_sae) == (16, 64)


def test_build_from_a_configuration() -> None:
    assert isinstance(build_sae(StandardConfig(d_sae=32), 8), StandardSAE)


def test_the_width_of_the_reconstruction() -> None:
    for sae in (
        build_sae(TranscoderConfig(d_sae=32), 8, d_out=5), build_sae(TranscoderConfig(d_sae=32, d_out=5), 8),
        create_sae("skip_transcoder", 8, d_sae=32, d_out=5),
    ):  # fmt: skip
        assert (sae.d_out, sae.cfg.d_out, sae.is_transcoder) == (5, 5, True)
        assert sae.W_dec.shape == (32, 5)
    assert create_sae("transcoder", 8, d_sae=32).d_out == 8
    assert build_sae(StandardConfig(d_sae=32), 8, d_out=8).d_out == 8
    with pytest.raises(ConfigError, match="standard SAE reconstructs its input") as error:
        build_sae(StandardConfig(d_sae=32), 8, d_out=5)
    assert error.value.where == "d_out"
    with pytest.raises(ConfigError, match="5 here and 6 in the configuration"):
        build_sae(TranscoderConfig(d_sae=32, d_out=6), 8, d_out=5)
    with pytest.raises(ConfigError, match="d_out is 0"):
        build_sae(TranscoderConfig(d_sae=32), 8, d_out=0)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'tokp'.*standard, topk, batchtopk, matryoshka, jumprelu"):
        create_sae("tokp", 8)


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="no such setting") as error:
        create_sae("topk", 8, d_sae=32, top_k=3)
    assert error.value.where == "top_k"


DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", architectures())
def test_every_architecture_has_a_page_that_names_its_parameters(name: str) -> None:
    page = (DOCS / "architectures" / f"{name}.md").read_text()
    shared = {"architecture", "d_sae", "decoder_init_norm", "apply_b_dec_to_input", "normalize_activations",
              "reshape_activations"}  # fmt: skip
    for setting in set(lookup(name)[1].model_fields) - shared:
        assert f"| `{setting}`" in page or f", `{setting}` |" in page, setting
    assert all(word in page for word in ("**When.**", "**Source.**", f"Code: `sae/{name}.py`"))
    for listing in (DOCS / "architectures" / "index.md", DOCS / "sae.md"):
        assert f"{name}.md)" in listing.read_text()
