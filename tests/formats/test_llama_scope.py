"""Llama Scope 1 and R1: linear layers, one or many thresholds, and a scale of activations folded in; llamascopium: its
own maths with every activation function, normalisation and decoder-norm setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from saewidgets.errors import FormatError
from saewidgets.formats import describe, detect_format, load_sae
from tests.formats.weights import Array, assert_computes, draw, inputs, jump, largest, relu, torched, write_json

HOOK = "blocks.15.hook_resid_post"
V1 = {
    "d_model": 12, "d_sae": 40, "hook_point_in": HOOK, "hook_point_out": HOOK, "jump_relu_threshold": 0.3,
    "dataset_average_activation_norm": {"in": 1.7, "out": 1.7}, "act_fn": "jumprelu",
}
R1 = {"d_model": 12, "expansion_factor": 4, "hook_point_in": HOOK, "hook_point_out": HOOK}
R1_PATH = "800M-Slimpajama-0-OpenR1-Math-220k/L0R"
R1_SCALE = 53.52995401997436  # what SAELens' registry says of that folder


def linear(w: dict[str, Array], *more: str) -> dict[str, Array]:
    """The same as two torch linear layers."""
    return {
        "encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T,
        "decoder.bias": w["b_dec"],
    }


def write_v1(folder: Path, w: dict[str, Array], config: dict[str, Any]) -> Path:
    write_json(folder / "hyperparams.json", config)
    (folder / "checkpoints").mkdir()
    save_file(torched(linear(w)), folder / "checkpoints" / "final.safetensors")
    return folder


def write_r1(folder: Path, w: dict[str, Array], config: dict[str, Any]) -> Path:
    write_json(folder / "config.json", config)
    tensors = linear(w) | {"log_jumprelu_threshold": np.log(w["threshold"])}
    save_file(torched(tensors), folder / "sae_weights.safetensors")
    return folder


def reference(w: dict[str, Array], x: Array, s: float, threshold: Array | float, s_out: float | None = None) -> Any:
    """The SAE sees s·x, and what it reconstructs is s_out·y."""
    f = jump(s * x.astype(np.float64) @ w["W_enc"] + w["b_enc"], threshold)
    return f, (f @ w["W_dec"] + w["b_dec"]) / (s_out or s)


# --- 1 ---------------------------------------------------------------------------------------------------------------


def test_version_1_as_sae_lens_loads_it(tmp_path: Path) -> None:
    w, x = draw(d_sae=40), inputs()
    folder = write_v1(tmp_path / "sae", w, V1)
    s = np.sqrt(12) / 1.7
    assert detect_format(folder) == detect_format(folder / "checkpoints" / "final.safetensors") == "llama_scope"
    sae = load_sae(folder)
    assert_computes(sae, x, *reference(w, x, s, 0.3 * s))
    assert sae.metadata["model_name"] == "meta-llama/Llama-3.1-8B"
    assert sae.metadata["hook_name"] == HOOK
    assert "scale" in sae.metadata["notes"][0]
    found = describe(folder)
    assert (found.architecture, found.d_in, found.d_sae, found.files[1]) == (
        "jumprelu", 12, 40, "checkpoints/final.safetensors",
    )


def test_a_transcoder_scales_its_output_otherwise(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    config = V1 | {
        "hook_point_in": "blocks.3.ln2.hook_normalized", "hook_point_out": "blocks.3.hook_mlp_out",
        "dataset_average_activation_norm": {"in": 1.7, "out": 0.4},
    }
    sae = load_sae(write_v1(tmp_path / "sae", w, config))
    s, s_out = np.sqrt(12) / 1.7, np.sqrt(12) / 0.4
    assert sae.cfg.architecture == "jumprelu_transcoder"
    assert_computes(sae, x, *reference(w, x, s, 0.3 * s, s_out))
    assert sae.metadata["hook_name_out"] == "blocks.3.hook_mlp_out"


# --- R1 --------------------------------------------------------------------------------------------------------------


def test_r1_takes_its_scale_from_the_table(tmp_path: Path) -> None:
    w, x = draw(d_sae=48), inputs()
    folder = write_r1(tmp_path / R1_PATH, w, R1)
    assert detect_format(folder) == "llama_scope_r1"
    sae = load_sae(folder)
    assert_computes(sae, x, *reference(w, x, R1_SCALE, w["threshold"]))
    assert sae.metadata["model_name"] == "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"


def test_r1_takes_its_scale_from_the_configuration(tmp_path: Path) -> None:
    w, x = draw(d_sae=48), inputs()
    config = R1 | {"dataset_average_activation_norm": {"in": 2.0, "out": 2.0}}
    sae = load_sae(write_r1(tmp_path / "sae", w, config))
    assert_computes(sae, x, *reference(w, x, np.sqrt(12) / 2, w["threshold"]))


def test_r1_compares_by_decoder_norms_where_it_says_so(tmp_path: Path) -> None:
    w, x = draw(d_sae=48), inputs()
    config = R1 | {"norm_activation": "inference", "sparsity_include_decoder_norm": True}
    sae = load_sae(write_r1(tmp_path / "sae", w, config))
    norms = np.linalg.norm(w["W_dec"].astype(np.float64), axis=1)
    assert_computes(sae, x, *reference(w, x, 1.0, w["threshold"] / norms))


def test_r1_without_a_scale_is_described_and_refused(tmp_path: Path) -> None:
    folder = write_r1(tmp_path / "sae", draw(d_sae=48), R1)
    assert "cannot be loaded from here" in describe(folder).notes[0]
    with pytest.raises(FormatError, match="scale of activations"):
        load_sae(folder)


def test_r1_an_overflowing_threshold_is_refused(tmp_path: Path) -> None:
    w = draw(d_sae=48)
    folder = write_r1(tmp_path / R1_PATH, w, R1)
    tensors = linear(w) | {"log_jumprelu_threshold": np.full(48, 1000, np.float32)}
    save_file(torched(tensors), folder / "sae_weights.safetensors")
    with pytest.raises(FormatError, match=r"log_jumprelu_threshold.*infinity"):
        load_sae(folder)


def test_the_table_has_every_published_sae() -> None:
    import saewidgets.formats

    path = Path(saewidgets.formats.__file__).parent / "llama_scope_r1_scales.json"
    scales = json.loads(path.read_text())["scales"]
    assert len(scales) == 3 * 32
    assert scales[R1_PATH] == R1_SCALE
    assert all(0.1 < scale < 100 for scale in scales.values())


# --- llamascopium ----------------------------------------------------------------------------------------------------


SCOPIUM_HOOK = "blocks.15.hook_resid_post"
OUT = "blocks.15.hook_mlp_out"
SCOPIUM_CONFIG = {
    "sae_type": "sae", "d_model": 12, "expansion_factor": 4.0, "use_decoder_bias": True, "act_fn": "jumprelu",
    "norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True, "top_k": 6, "use_glu_encoder": False,
    "hook_point_in": SCOPIUM_HOOK, "hook_point_out": SCOPIUM_HOOK,
}
NORMS = {SCOPIUM_HOOK: 1.7, OUT: 0.4}


def scopium_write(
    folder: Path, w: dict[str, Array], config: dict[str, Any], norms: dict[str, float] | None = None
) -> Path:
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


def scopium_reference(w: dict[str, Array], x: Array, config: dict[str, Any]) -> tuple[Array, Array]:
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
    config = SCOPIUM_CONFIG | {"act_fn": act_fn, "norm_activation": norm, "sparsity_include_decoder_norm": include}
    folder = scopium_write(tmp_path / "sae", w, config)
    assert detect_format(folder) == "llamascopium"
    sae = load_sae(folder)
    assert_computes(sae, x, *scopium_reference(w, x, config))
    assert sae.metadata["hook_name"] == SCOPIUM_HOOK


def test_topk_without_decoder_norms(tmp_path: Path) -> None:
    w, x = draw(d_sae=48), inputs()
    config = SCOPIUM_CONFIG | {"act_fn": "topk", "sparsity_include_decoder_norm": False, "use_decoder_bias": False}
    assert_computes(load_sae(scopium_write(tmp_path / "sae", w, config)), x, *scopium_reference(w, x, config))


def test_topk_with_decoder_norms_reports_what_it_selects_by(tmp_path: Path) -> None:
    w, x = draw(d_sae=48), inputs()
    config = SCOPIUM_CONFIG | {"act_fn": "topk"}
    sae = load_sae(scopium_write(tmp_path / "sae", w, config))
    f, y = scopium_reference(w, x, config)
    assert_computes(sae, x, f * np.linalg.norm(w["W_dec"], axis=1), y)
    assert "times the norm" in sae.metadata["notes"][-1]


@pytest.mark.parametrize(
    ("act_fn", "architecture"),
    [("relu", "transcoder"), ("jumprelu", "jumprelu_transcoder"), ("topk", "topk_transcoder")],
)
def test_transcoders(tmp_path: Path, act_fn: str, architecture: str) -> None:
    w, x = draw(d_sae=48), inputs()
    w["W_dec"] /= np.linalg.norm(w["W_dec"], axis=1, keepdims=True)
    config = SCOPIUM_CONFIG | {"act_fn": act_fn, "hook_point_out": OUT}
    sae = load_sae(scopium_write(tmp_path / "sae", w, config))
    assert sae.cfg.architecture == architecture
    assert sae.is_transcoder
    assert_computes(sae, x, *scopium_reference(w, x, config))
    assert sae.metadata["hook_name_out"] == OUT


@pytest.mark.parametrize("garbage", [0.0, 1e-40, -3.0, 1e30, float("nan")])
def test_a_norm_that_was_never_set_is_refused(tmp_path: Path, garbage: float) -> None:
    """The package writes uninitialised memory where it has no norm."""
    folder = scopium_write(tmp_path / "sae", draw(d_sae=48), SCOPIUM_CONFIG, {SCOPIUM_HOOK: garbage})
    with pytest.raises(FormatError, match="dataset_average_activation_norm"):
        load_sae(folder)


def test_a_norm_that_is_not_needed_may_be_garbage(tmp_path: Path) -> None:
    config = SCOPIUM_CONFIG | {"norm_activation": "inference"}
    load_sae(scopium_write(tmp_path / "sae", draw(d_sae=48), config, {SCOPIUM_HOOK: float("nan")}))
