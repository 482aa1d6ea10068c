"""What miStudio exports: the maths of its models, not what its cfg.json says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from saewidgets.errors import FormatError
from saewidgets.formats import describe, detect_format, load_sae
from tests.formats.weights import Array, assert_computes, draw, inputs, jump, largest, relu, torched, write_json

FIRST, SECOND = {"top_k_sparsity": None}, {"top_k": None}


def config(architecture: str, extra: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The keys its writer writes, with what it always says."""
    return {
        "model_name": "gpt2-small", "hook_point": "blocks.3.hook_resid_post", "hook_point_layer": 3, "d_in": 12,
        "d_sae": 40, "hook_name": "blocks.3.hook_resid_post", "architecture": architecture, "activation_fn_str": "relu",
        "normalize_activations": "constant_norm_rescale", "hook_point_head_index": None, "context_size": 128,
        "apply_b_dec_to_input": False, "finetuning_scaling_factor": False, "dtype": "torch.float32", "device": "cpu",
        "mistudio_training_id": "train_1", "mistudio_checkpoint_step": 100,
        "extra_metadata": {"hf_model_name": "openai-community/gpt2", "warmup_steps": 0} | extra,
    } | more


def write(folder: Path, w: dict[str, Array], data: dict[str, Any], **change: Any) -> Path:
    write_json(folder / "cfg.json", data)
    names = ["W_enc", "b_enc", "W_dec", "b_dec", *(["threshold"] if data["architecture"] == "jumprelu" else [])]
    arrays = {name: w[name] for name in names} | change
    save_file(torched({k: v for k, v in arrays.items() if v is not None}), folder / "sae_weights.safetensors")
    return folder


def normalised(x: Array) -> tuple[Array, Array]:
    """To norm √d, and the factor."""
    c = np.sqrt(x.shape[1]) / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
    return x * c, c


def reference(w: dict[str, Array], x: Array, *, act: Any, centred: bool, bias: float, norm: bool) -> Any:
    x = x.astype(np.float64)
    inner, c = normalised(x) if norm else (x, 1.0)
    f = act((inner - (w["b_dec"] if centred else 0)) @ w["W_enc"] + w["b_enc"])
    return f, (f @ w["W_dec"] + bias * w["b_dec"]) / c


@pytest.mark.parametrize("normalize", ["constant_norm_rescale", "none"])
@pytest.mark.parametrize(
    ("architecture", "extra", "centred", "bias"),
    [
        ("standard", FIRST, False, 2.0),  # two equal output biases, one exported
        ("jumprelu", FIRST, False, 1.0), ("standard", SECOND, True, 1.0), ("standard_saelens", SECOND, True, 1.0),
        ("jumprelu", SECOND, True, 1.0),
    ],
)
def test_generations(
    tmp_path: Path, architecture: str, extra: dict[str, Any], centred: bool, bias: float, normalize: str
) -> None:
    w, x = draw(), inputs()
    folder = write(tmp_path / "sae", w, config(architecture, extra, normalize_activations=normalize))
    assert detect_format(folder) == "mistudio_community"
    act = (lambda p: jump(p, w["threshold"])) if architecture == "jumprelu" else relu
    sae = load_sae(folder)
    assert_computes(sae, x, *reference(w, x, act=act, centred=centred, bias=bias, norm=normalize != "none"))
    assert sae.metadata["model_name"] == "openai-community/gpt2"
    assert f"generation {1 if extra is FIRST else 2}" in sae.metadata["notes"][0]


def test_the_anthropic_kind_always_normalises(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    data = config("standard_anthropic", SECOND, normalize_activations="none")
    expected = reference(w, x, act=relu, centred=True, bias=1.0, norm=True)
    assert_computes(load_sae(write(tmp_path / "sae", w, data)), x, *expected)


def test_a_percentage_of_latents(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    folder = write(tmp_path / "sae", w, config("standard", {"top_k_sparsity": 13.0}, activation_fn_str="topk"))
    sae = load_sae(folder)
    assert sae.cfg.architecture == "topk"
    assert describe(folder).settings["k"] == 5  # int(0.13 · 40)
    expected = reference(w, x, act=lambda p: largest(relu(p), 5), centred=False, bias=2.0, norm=True)
    assert_computes(sae, x, *expected)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("extra", "centred", "bias"), [(FIRST, False, 2.0), (SECOND, True, 1.0)])
def test_a_skip_autoencoder_adds_its_input(
    tmp_path: Path, extra: dict[str, Any], centred: bool, bias: float, norm: bool
) -> None:
    w, x = draw(), inputs()
    kind = "constant_norm_rescale" if norm else "none"
    sae = load_sae(write(tmp_path / "sae", w, config("skip", extra, normalize_activations=kind)))
    f, y = reference(w, x, act=relu, centred=centred, bias=bias, norm=norm)
    assert_computes(sae, x, f, y + x)


def test_a_transcoder_of_the_first_generation(tmp_path: Path) -> None:
    w, x = draw(d_out=7), inputs()
    sae = load_sae(write(tmp_path / "sae", w, config("transcoder", FIRST)))
    assert_computes(sae, x, *reference(w, x, act=relu, centred=False, bias=1.0, norm=False))
    assert sae.d_out == 7


def test_the_folders_name_tells_the_site(tmp_path: Path) -> None:
    folder = write(tmp_path / "layer_3_mlp", draw(), config("standard", SECOND))
    assert describe(folder).hook_name == "blocks.3.hook_mlp_out"
    elsewhere = describe(write(tmp_path / "sae", draw(), config("standard", SECOND)))
    assert elsewhere.hook_name == "blocks.3.hook_resid_post"
    assert "hook_resid_post" in elsewhere.notes[-1]


def test_a_top_k_skip_autoencoder_with_normalised_activations_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "sae", draw(), config("skip", FIRST | {"top_k_sparsity": 10.0}))
    with pytest.raises(FormatError, match="top-k skip autoencoder with normalised"):
        load_sae(folder)
