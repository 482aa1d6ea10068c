"""OpenAI's autoencoders: layer norm implied by TopK, both matrices the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from saewidgets.formats import describe, detect_format, load_sae
from tests.formats.weights import Array, assert_computes, draw, inputs, largest, relu, torched

FOLDER = "gpt2-small/resid_post_mlp_v5_32k/autoencoders"
TOPK = {"activation": "TopK", "activation_state_dict": {"k": 5, "postact_fn": "ReLU"}}
RELU: dict[str, Any] = {"activation": "ReLU", "activation_state_dict": {}}


def write(path: Path, w: dict[str, Array], plain: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Any] = torched({
        "pre_bias": w["b_dec"], "encoder.weight": w["W_enc"].T, "latent_bias": w["b_enc"],
        "decoder.weight": w["W_dec"].T, "latents_activation_frequency": w["threshold"],
    })
    tensors["stats_last_nonzero"] = torch.zeros(len(w["b_enc"]), dtype=torch.long)
    torch.save(tensors | plain, path)
    return path


def reference(w: dict[str, Array], x: Array, k: int | None) -> tuple[Array, Array]:
    """Autoencoder.forward of sparse_autoencoder: TopK ones normalise, unbiased std."""
    x = x.astype(np.float64)
    mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
    inner = (x - mean) / (std + 1e-5) if k else x
    p = (inner - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    f = largest(relu(p), k) if k else relu(p)
    y = f @ w["W_dec"] + w["b_dec"]
    return f, y * std + mean if k else y


def test_a_topk_autoencoder(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    path = write(tmp_path / FOLDER / "6.pt", w, TOPK)
    assert detect_format(path) == "openai"
    sae = load_sae(path)
    assert_computes(sae, x, *reference(w, x, 5))
    assert sae.cfg.normalize_activations == "layer_norm"
    assert (sae.metadata["model_name"], sae.metadata["hook_name"]) == ("gpt2", "blocks.6.hook_resid_post")
    found = describe(path)
    assert (found.architecture, found.d_in, found.d_sae, found.settings["k"]) == ("topk", 12, 40, 5)
    assert found.config["activation"] == "TopK"


def test_a_relu_autoencoder_does_not_normalise(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    sae = load_sae(write(tmp_path / "gpt2-small/mlp_post_act/autoencoders/0.pt", w, RELU))
    assert_computes(sae, x, *reference(w, x, None))
    assert sae.metadata["hook_name"] == "blocks.0.mlp.hook_post"


def test_another_name_is_recognised_by_its_contents(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.pt", draw(), TOPK)
    assert detect_format(path) == "openai"
    assert load_sae(path).metadata["hook_name"] is None
