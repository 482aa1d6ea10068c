"""Gemma Scope 2: configuration or path, SAEs and transcoders with a linear path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from saewidgets.errors import FormatError
from saewidgets.formats import describe, detect_format, load_sae
from tests.formats.weights import Array, assert_computes, draw, inputs, jump, torched, write_json

CONFIG = {
    "architecture": "jump_relu", "model_name": "gemma-v3-1b-pt", "hf_hook_point_in": "model.layers.12.output",
    "width": 40, "l0": 20, "affine_connection": False, "type": "sae",
}
TRANSCODER = CONFIG | {
    "hf_hook_point_in": "model.layers.12.pre_feedforward_layernorm.output",
    "hf_hook_point_out": "model.layers.12.post_feedforward_layernorm.output", "affine_connection": True,
}


def write(folder: Path, arrays: dict[str, Array], config: dict[str, Any] | None) -> Path:
    folder.mkdir(parents=True)
    save_file(torched({name.lower(): array for name, array in arrays.items()}), folder / "params.safetensors")
    if config is not None:
        write_json(folder / "config.json", config)
    return folder


def reference(w: dict[str, Array], x: Array) -> tuple[Array, Array]:
    x = x.astype(np.float64)
    f = jump(x @ w["W_enc"] + w["b_enc"], w["threshold"])
    y = f @ w["W_dec"] + w["b_dec"]
    return f, y + x @ w["affine_skip_connection"] if "affine_skip_connection" in w else y


def skip(d_in: int, d_out: int) -> Array:
    return draw(5, d_in=d_in, d_sae=d_out)["W_enc"]


def test_an_sae_with_its_configuration(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    folder = write(tmp_path / "sae", w, CONFIG)
    assert detect_format(folder) == "gemma_scope_2"
    sae = load_sae(folder)
    assert_computes(sae, x, *reference(w, x))
    assert sae.metadata["model_name"] == "google/gemma-3-1b-pt"
    assert sae.metadata["hook_name"] == "blocks.12.hook_resid_post"
    assert sae.metadata["hf_hook_name"] == "model.layers.12.output"
    found = describe(folder)
    assert (found.architecture, found.d_in, found.d_sae, found.dtype) == ("jumprelu", 12, 40, "float32")
    assert found.config["l0"] == 20


def test_an_sae_without_configuration_is_known_by_its_path(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    folder = write(tmp_path / "gemma-scope-2-270m-pt/attn_out_all/layer_5_width_16k_l0_small", w, None)
    sae = load_sae(folder)
    assert_computes(sae, x, *reference(w, x))
    assert sae.metadata["hook_name"] == "blocks.5.attn.hook_z"
    assert sae.metadata["model_name"] == "google/gemma-3-270m"


def test_a_transcoder_with_a_linear_path(tmp_path: Path) -> None:
    w, x = draw(d_out=7) | {"affine_skip_connection": skip(12, 7)}, inputs()
    sae = load_sae(write(tmp_path / "sae", w, TRANSCODER))
    assert sae.cfg.architecture == "jumprelu_skip_transcoder"
    assert sae.d_out == 7
    assert_computes(sae, x, *reference(w, x))
    assert sae.metadata["hook_name"] == "blocks.12.mlp.hook_in"
    assert sae.metadata["hook_name_out"] == "blocks.12.hook_mlp_out"


def test_a_square_linear_path_is_transposed(tmp_path: Path) -> None:
    """The file has [d_in, d_out]; where both are the same, a shape cannot tell."""
    w, x = draw() | {"affine_skip_connection": skip(12, 12)}, inputs()
    assert_computes(load_sae(write(tmp_path / "sae", w, TRANSCODER)), x, *reference(w, x))


def test_a_transcoder_without_a_linear_path(tmp_path: Path) -> None:
    w, x = draw(d_out=7), inputs()
    sae = load_sae(write(tmp_path / "transcoder/layer_3_width_16k_l0_big", w, None))
    assert sae.cfg.architecture == "jumprelu_transcoder"
    assert_computes(sae, x, *reference(w, x))


@pytest.mark.parametrize(
    ("arrays", "config", "message"),
    [
        ({"w_dec": np.zeros((40, 3, 12), np.float32)}, TRANSCODER, "cross-layer"),
        ({"w_dec": np.zeros((40, 7), np.float32), "b_dec": np.zeros(7, np.float32)}, CONFIG, "only transcoders"),
    ],
)
def test_what_disagrees_is_refused(
    tmp_path: Path, arrays: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    lower = {name.lower(): array for name, array in draw().items()}
    with pytest.raises(FormatError, match=message):
        load_sae(write(tmp_path / "sae", lower | arrays, config))
