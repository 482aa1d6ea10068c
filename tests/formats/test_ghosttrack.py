"""GhostTrack's checkpoints: one threshold for all latents, optimiser and history beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saewidgets.formats import describe, detect_format, load_sae
from tests.formats.weights import Array, assert_computes, draw, inputs, jump, torched


def write(path: Path, w: dict[str, Array], threshold: float = 0.1, **more: Any) -> Path:
    state = torched({
        "threshold": np.array(threshold, np.float32), "W_enc.weight": w["W_enc"].T, "W_enc.bias": w["b_enc"],
        "W_dec.weight": w["W_dec"].T, "W_dec.bias": w["b_dec"],
    })
    parameter = torch.nn.Parameter(state["W_enc.bias"].clone())
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    content = {
        "layer_idx": 4, "epoch": 2, "model_state_dict": state, "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "best_loss": 0.25, "history": {"train_loss": [0.5, 0.25], "lr": [1e-3, 9e-4]},
    }
    torch.save(content | more, path)
    return path


def reference(w: dict[str, Array], x: Array, threshold: float) -> tuple[Array, Array]:
    f = jump(x.astype(np.float64) @ w["W_enc"] + w["b_enc"], np.float32(threshold))
    return f, f @ w["W_dec"] + w["b_dec"]


@pytest.mark.parametrize("name", ["sae_layer_4_best.pt", "sae_layer_4_final.pt", "renamed.pt"])
def test_a_checkpoint(tmp_path: Path, name: str) -> None:
    w, x = draw(), inputs()
    path = write(tmp_path / name, w, config={"d_model": 12, "lambda_sparse": 0.01})
    assert detect_format(path) == "ghosttrack"
    sae = load_sae(path)
    assert_computes(sae, x, *reference(w, x, 0.1))
    assert sae.cfg.architecture == "jumprelu"
    assert not sae.cfg.apply_b_dec_to_input
    assert sae.metadata["hook_name"] == "blocks.4.hook_resid_post"
    found = describe(path)
    assert (found.d_in, found.d_sae, found.model) == (12, 40, None)
    assert found.config == {
        "layer_idx": 4, "epoch": 2, "best_loss": 0.25, "config": {"d_model": 12, "lambda_sparse": 0.01},
    }
