"""Gemma Scope: npz files whose path says what they are, and the same kept as safetensors; Gemma Scope 2: configuration
or path, SAEs and transcoders with a linear path."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saewidgets.errors import FormatError
from saewidgets.formats import describe, detect_format, load_sae, save_sae
from saewidgets.formats.gemma_scope import read_path
from saewidgets.sae import inference_sae
from tests.formats.weights import Array, assert_close, assert_computes, draw, inputs, jump, torched, write_json

RES = "models--google--gemma-scope-2b-pt-res/snapshots/0123/layer_12/width_16k/average_l0_82"
WIDTH = 16_384


def write(folder: Path, arrays: dict[str, Array]) -> Path:
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **arrays)  # type: ignore[arg-type]
    return folder


def reference(w: dict[str, Array], x: Array) -> tuple[Array, Array]:
    """DeepMind's own JumpReLU: nothing subtracted, nothing normalised."""
    x = x.astype(np.float64)
    f = jump(x @ w["W_enc"] + w["b_enc"], w["threshold"])
    return f, f @ w["W_dec"] + w["b_dec"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / RES, draw(d_in=4, d_sae=WIDTH))


def test_an_sae_of_the_residual_stream(folder: Path) -> None:
    w, x = draw(d_in=4, d_sae=WIDTH), inputs(d_in=4)
    assert detect_format(folder) == "gemma_scope"
    sae = load_sae(folder)
    assert_computes(sae, x, *reference(w, x))
    assert sae.cfg.architecture == "jumprelu"
    assert not sae.cfg.apply_b_dec_to_input
    assert sae.metadata["model_name"] == "google/gemma-2-2b"
    assert sae.metadata["hook_name"] == "blocks.12.hook_resid_post"
    assert sae.metadata["average_l0"] == 82
    found = describe(folder)
    assert (found.architecture, found.d_in, found.d_sae, found.d_out, found.dtype) == (
        "jumprelu", 4, WIDTH, 4, "float32",
    )
    assert found.size_bytes == (folder / "params.npz").stat().st_size
    assert found.notes == ()


def test_lower_case_names_are_read_too(tmp_path: Path) -> None:
    w, x = draw(d_sae=64), inputs()
    folder = write(tmp_path / "sae", {name.lower(): array for name, array in w.items()})
    assert_computes(load_sae(folder), x, *reference(w, x))


@pytest.mark.parametrize(
    ("repo", "layer", "hook", "architecture"),
    [
        ("gemma-scope-9b-it-mlp", "layer_3", "blocks.3.hook_mlp_out", "jumprelu"),
        ("gemma-scope-27b-pt-att", "layer_0", "blocks.0.attn.hook_z", "jumprelu"),
        ("gemma-scope-2b-pt-transcoders", "layer_7", "blocks.7.ln2.hook_normalized", "jumprelu_transcoder"),
    ],
)
def test_the_path_tells_model_and_site(tmp_path: Path, repo: str, layer: str, hook: str, architecture: str) -> None:
    w, x = draw(d_in=4, d_sae=4096), inputs(d_in=4)
    sae = load_sae(write(tmp_path / repo / layer / "width_4k" / "average_l0_9", w))
    assert sae.metadata["hook_name"] == hook
    assert sae.cfg.architecture == architecture
    assert sae.metadata["model_name"].startswith("google/gemma-2-")
    assert_computes(sae, x, *reference(w, x))
    if architecture != "jumprelu":
        assert sae.metadata["hook_name_out"] == "blocks.7.hook_mlp_out"


def test_an_attention_sae_takes_heads(tmp_path: Path) -> None:
    w, x = draw(d_sae=4096), inputs()
    sae = load_sae(write(tmp_path / "gemma-scope-2b-pt-att/layer_1/width_4k/average_l0_9", w))
    f, y = reference(w, x)
    heads = torch.from_numpy(x).view(-1, 3, 4)
    assert_close(sae.encode(heads).numpy(), f, 1e-5)
    assert_close(sae(heads).numpy(), y.reshape(-1, 3, 4), 1e-5)


def test_an_sae_of_embeddings_takes_raw_embeddings(tmp_path: Path) -> None:
    """Trained on embeddings times √d: SAELens divides W_enc and multiplies W_dec by it."""
    w, x = draw(d_in=9, d_sae=4096), inputs(d_in=9)
    folder = write(tmp_path / "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6", w)
    sae = load_sae(folder)
    scaled = {**w, "W_enc": w["W_enc"] / 3, "W_dec": w["W_dec"] * 3}
    assert_computes(sae, x, *reference(scaled, x))
    assert sae.metadata["hook_name"] == "hook_embed"
    assert "√d_in" in sae.metadata["notes"][0]


def test_a_file_alone_says_what_is_missing(tmp_path: Path) -> None:
    found = describe(write(tmp_path / "x", draw(d_sae=64)))
    assert (found.model, found.hook_name) == (None, None)
    assert "neither model nor layer" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"other": np.zeros(2, np.float32)}, "unexpected tensors: other"),
        ({"scaling_factor": np.full(WIDTH, 2, np.float32)}, "scaling factor"),
        ({"w_enc": np.zeros((4, WIDTH), np.float32)}, "There are two"),
    ],
)
def test_what_disagrees_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        load_sae(write(tmp_path / RES, draw(d_in=4, d_sae=WIDTH) | change))


def test_a_scaling_factor_of_ones_is_dropped(tmp_path: Path) -> None:
    w, x = draw(d_sae=64), inputs()
    sae = load_sae(write(tmp_path / "sae", w | {"scaling_factor": np.ones(64, np.float32)}))
    assert_computes(sae, x, *reference(w, x))


def test_a_file_in_another_widths_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="says width 16k"):
        load_sae(write(tmp_path / RES, draw(d_in=4, d_sae=64)))


# --- written ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["any", "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6"])
def test_what_is_written_reads_the_same(tmp_path: Path, path: str) -> None:
    w, x = draw(d_in=9, d_sae=4096), torch.from_numpy(inputs(d_in=9))
    sae = inference_sae("jumprelu", 9, torched(w), apply_b_dec_to_input=False)
    again = load_sae(save_sae(sae, tmp_path / path, "gemma_scope"))
    assert torch.allclose(again(x), sae(x), atol=1e-5)
    if path == "any":
        assert torch.equal(again.W_enc, sae.W_enc)
        with np.load(tmp_path / path / "params.npz", allow_pickle=False) as file:
            assert {name: file[name].shape for name in file} == {name: array.shape for name, array in w.items()}


# --- kept as safetensors ---------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "google/gemma-scope-2b-pt-res/layer_12/width_4k/average_l0_82"
    write_json(folder / "cfg.json", {"d_in": 4, "d_sae": 4096, "dtype": "float32"})
    save_file(torched(draw(d_in=4, d_sae=4096)), folder / "sae_weights.safetensors")
    return folder


def test_the_drawn_layout_is_gemma_scope_too(kept: Path) -> None:
    w, x = draw(d_in=4, d_sae=4096), inputs(d_in=4)
    assert detect_format(kept) == "gemma_scope"
    sae = load_sae(kept)
    assert_computes(sae, x, *reference(w, x))  # SAELens would subtract b_dec, since cfg.json does not say
    assert sae.metadata["hook_name"] == "blocks.12.hook_resid_post"
    assert describe(kept).size_bytes == sum(path.stat().st_size for path in kept.iterdir())


def test_elsewhere_the_same_files_are_not_gemma_scope(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path / "plain")
    assert detect_format(tmp_path / "plain") == "saelens_legacy"


def test_a_configuration_of_saelens_is_left_to_saelens(kept: Path) -> None:
    metadata = {"sae_lens_version": "6.54.12"}
    write_json(kept / "cfg.json", {"architecture": "jumprelu", "d_in": 4, "d_sae": 4096, "metadata": metadata})
    assert detect_format(kept) == "saelens"


def test_shapes_are_checked_against_the_configuration(kept: Path) -> None:
    write_json(kept / "cfg.json", {"d_in": 5, "d_sae": 4096})
    with pytest.raises(FormatError, match=r"W_enc.*expected \[5, 4096\]"):
        load_sae(kept)


def test_paths() -> None:
    path = read_path("google/gemma-scope-9b-it-res@main/layer_20/width_131k/average_l0_13")
    assert (path.model, path.layer, path.d_sae, path.l0) == ("google/gemma-2-9b-it", 20, 131_072, 13)
    assert path.hook_name == "blocks.20.hook_resid_post"
    assert read_path("/embedding/layer_1/width_1m/average_l0_5").d_sae == 1_048_576
    assert not read_path("/data/embedding/models/a/b/c/d/e").embedding
    assert read_path("layer_x/width_16z/average_l0_").d_sae is None


# --- Gemma Scope 2 ---------------------------------------------------------------------------------------------------


SECOND_CONFIG = {
    "architecture": "jump_relu", "model_name": "gemma-v3-1b-pt", "hf_hook_point_in": "model.layers.12.output",
    "width": 40, "l0": 20, "affine_connection": False, "type": "sae",
}
TRANSCODER = SECOND_CONFIG | {
    "hf_hook_point_in": "model.layers.12.pre_feedforward_layernorm.output",
    "hf_hook_point_out": "model.layers.12.post_feedforward_layernorm.output", "affine_connection": True,
}


def second_write(folder: Path, arrays: dict[str, Array], config: dict[str, Any] | None) -> Path:
    folder.mkdir(parents=True)
    save_file(torched({name.lower(): array for name, array in arrays.items()}), folder / "params.safetensors")
    if config is not None:
        write_json(folder / "config.json", config)
    return folder


def second_reference(w: dict[str, Array], x: Array) -> tuple[Array, Array]:
    x = x.astype(np.float64)
    f = jump(x @ w["W_enc"] + w["b_enc"], w["threshold"])
    y = f @ w["W_dec"] + w["b_dec"]
    return f, y + x @ w["affine_skip_connection"] if "affine_skip_connection" in w else y


def skip(d_in: int, d_out: int) -> Array:
    return draw(5, d_in=d_in, d_sae=d_out)["W_enc"]


def test_an_sae_with_its_configuration(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    folder = second_write(tmp_path / "sae", w, SECOND_CONFIG)
    assert detect_format(folder) == "gemma_scope_2"
    sae = load_sae(folder)
    assert_computes(sae, x, *second_reference(w, x))
    assert sae.metadata["model_name"] == "google/gemma-3-1b-pt"
    assert sae.metadata["hook_name"] == "blocks.12.hook_resid_post"
    assert sae.metadata["hf_hook_name"] == "model.layers.12.output"
    found = describe(folder)
    assert (found.architecture, found.d_in, found.d_sae, found.dtype) == ("jumprelu", 12, 40, "float32")
    assert found.config["l0"] == 20


def test_an_sae_without_configuration_is_known_by_its_path(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    folder = second_write(tmp_path / "gemma-scope-2-270m-pt/attn_out_all/layer_5_width_16k_l0_small", w, None)
    sae = load_sae(folder)
    assert_computes(sae, x, *second_reference(w, x))
    assert sae.metadata["hook_name"] == "blocks.5.attn.hook_z"
    assert sae.metadata["model_name"] == "google/gemma-3-270m"


def test_a_transcoder_with_a_linear_path(tmp_path: Path) -> None:
    w, x = draw(d_out=7) | {"affine_skip_connection": skip(12, 7)}, inputs()
    sae = load_sae(second_write(tmp_path / "sae", w, TRANSCODER))
    assert sae.cfg.architecture == "jumprelu_skip_transcoder"
    assert sae.d_out == 7
    assert_computes(sae, x, *second_reference(w, x))
    assert sae.metadata["hook_name"] == "blocks.12.mlp.hook_in"
    assert sae.metadata["hook_name_out"] == "blocks.12.hook_mlp_out"


def test_a_square_linear_path_is_transposed(tmp_path: Path) -> None:
    """The file has [d_in, d_out]; where both are the same, a shape cannot tell."""
    w, x = draw() | {"affine_skip_connection": skip(12, 12)}, inputs()
    assert_computes(load_sae(second_write(tmp_path / "sae", w, TRANSCODER)), x, *second_reference(w, x))


def test_a_transcoder_without_a_linear_path(tmp_path: Path) -> None:
    w, x = draw(d_out=7), inputs()
    sae = load_sae(second_write(tmp_path / "transcoder/layer_3_width_16k_l0_big", w, None))
    assert sae.cfg.architecture == "jumprelu_transcoder"
    assert_computes(sae, x, *second_reference(w, x))


@pytest.mark.parametrize(
    ("arrays", "config", "message"),
    [
        ({"w_dec": np.zeros((40, 3, 12), np.float32)}, TRANSCODER, "cross-layer"),
        ({"w_dec": np.zeros((40, 7), np.float32), "b_dec": np.zeros(7, np.float32)}, SECOND_CONFIG, "only transcoders"),
    ],
)
def test_second_what_disagrees_is_refused(
    tmp_path: Path, arrays: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    lower = {name.lower(): array for name, array in draw().items()}
    with pytest.raises(FormatError, match=message):
        load_sae(second_write(tmp_path / "sae", lower | arrays, config))
