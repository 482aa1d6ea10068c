"""llamascopium: the source's own maths with every activation function, normalisation and decoder-norm setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from saewidgets.errors import FormatError
from saewidgets.formats import detect_format, load_sae
from tests.formats.weights import Array, assert_computes, draw, inputs, jump, largest, relu, torched, write_json

HOOK = "blocks.15.hook_resid_post"
OUT = "blocks.15.hook_mlp_out"
CONFIG = {
    "sae_type": "sae", "d_model": 12, "expansion_factor": 4.0, "use_decoder_bias": True, "act_fn": "jumprelu",
    "norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True, "top_k": 6, "use_glu_encoder": False,
    "hook_point_in": HOOK, "hook_point_out": HOOK,
}
NORMS = {HOOK: 1.7, OUT: 0.4}


def write(folder: Path, w: dict[str, Array], config: dict[str, Any], norms: dict[str, float] | None = None) -> Path:
    write_json(folder / "config.json", config)
    tensors = {"W_E": w["W_enc"], "b_E": w["b_enc"], "W_D": w["W_dec"]}
    if config["use_decoder_bias"]:
        tensors["b_D"] = w["b_dec"]
    if config["act_fn"] == "jumprelu":
        tensors["activation_function.log_jumprelu_threshold"] = np.log(w["threshold"])
    hooks = {config["hook_point_in"], config["hook_point_out"]}
    for hook in hooks:
        norm = (NORMS if norms is None else norms)[hook]
        tensors[f"dataset_average_activation_norm.{hook}"] = np.array(norm, np.float32)
    save_file(torched(tensors), folder / "sae_weights.safetensors", {"version": "1.0"})
    return folder


def reference(w: dict[str, Array], x: Array, config: dict[str, Any]) -> tuple[Array, Array]:
    """SparseAutoEncoder.encode and decode on normalised activations, denormalised as the package does."""
    x = x.astype(np.float64)
    scale_in: Any = 1.0
    scale_out: Any = 1.0
    if config["norm_activation"] == "dataset-wise":
        scale_in, scale_out = (np.sqrt(12) / NORMS[config[f"hook_point_{end}"]] for end in ("in", "out"))
    elif config["norm_activation"] == "token-wise":
        scale_in = scale_out = np.sqrt(12) / np.linalg.norm(x, axis=1, keepdims=True)
    p = (x * scale_in) @ w["W_enc"] + w["b_enc"]
    norms = np.linalg.norm(w["W_dec"].astype(np.float64), axis=1) if config["sparsity_include_decoder_norm"] else 1.0
    act = {
        "relu": relu, "jumprelu": lambda p: jump(p, w["threshold"]),
        "topk": lambda p: largest(relu(p), config["top_k"]),
    }[config["act_fn"]]
    f = act(p * norms) / norms
    b_dec = w["b_dec"] if config["use_decoder_bias"] else 0
    return f, (f @ w["W_dec"] + b_dec) / scale_out


@pytest.mark.parametrize("act_fn", ["relu", "jumprelu"])
@pytest.mark.parametrize("norm", ["dataset-wise", "token-wise", "inference"])
@pytest.mark.parametrize("include", [True, False])
def test_saes(tmp_path: Path, act_fn: str, norm: str, include: bool) -> None:
    w, x = draw(d_sae=48), inputs()
    config = CONFIG | {"act_fn": act_fn, "norm_activation": norm, "sparsity_include_decoder_norm": include}
    folder = write(tmp_path / "sae", w, config)
    assert detect_format(folder) == "llamascopium"
    sae = load_sae(folder)
    assert_computes(sae, x, *reference(w, x, config))
    assert sae.metadata["hook_name"] == HOOK


def test_topk_without_decoder_norms(tmp_path: Path) -> None:
    w, x = draw(d_sae=48), inputs()
    config = CONFIG | {"act_fn": "topk", "sparsity_include_decoder_norm": False, "use_decoder_bias": False}
    assert_computes(load_sae(write(tmp_path / "sae", w, config)), x, *reference(w, x, config))


def test_topk_with_decoder_norms_reports_what_it_selects_by(tmp_path: Path) -> None:
    w, x = draw(d_sae=48), inputs()
    config = CONFIG | {"act_fn": "topk"}
    sae = load_sae(write(tmp_path / "sae", w, config))
    f, y = reference(w, x, config)
    assert_computes(sae, x, f * np.linalg.norm(w["W_dec"], axis=1), y)
    assert "times the norm" in sae.metadata["notes"][-1]


@pytest.mark.parametrize(
    ("act_fn", "architecture"),
    [("relu", "transcoder"), ("jumprelu", "jumprelu_transcoder"), ("topk", "topk_transcoder")],
)
def test_transcoders(tmp_path: Path, act_fn: str, architecture: str) -> None:
    w, x = draw(d_sae=48), inputs()
    w["W_dec"] /= np.linalg.norm(w["W_dec"], axis=1, keepdims=True)
    config = CONFIG | {"act_fn": act_fn, "hook_point_out": OUT}
    sae = load_sae(write(tmp_path / "sae", w, config))
    assert sae.cfg.architecture == architecture
    assert sae.is_transcoder
    assert_computes(sae, x, *reference(w, x, config))
    assert sae.metadata["hook_name_out"] == OUT


@pytest.mark.parametrize("garbage", [0.0, 1e-40, -3.0, 1e30, float("nan")])
def test_a_norm_that_was_never_set_is_refused(tmp_path: Path, garbage: float) -> None:
    """The package writes uninitialised memory where it has no norm."""
    folder = write(tmp_path / "sae", draw(d_sae=48), CONFIG, {HOOK: garbage})
    with pytest.raises(FormatError, match="dataset_average_activation_norm"):
        load_sae(folder)


def test_a_norm_that_is_not_needed_may_be_garbage(tmp_path: Path) -> None:
    config = CONFIG | {"norm_activation": "inference"}
    load_sae(write(tmp_path / "sae", draw(d_sae=48), config, {HOOK: float("nan")}))
