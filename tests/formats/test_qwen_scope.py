"""Qwen Scope: pickled files whose repository's name says k."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saewidgets.errors import FormatError
from saewidgets.formats import describe, detect_format, load_sae
from tests.formats.weights import Array, assert_computes, draw, inputs, largest, relu, torched

REPO = "models--Qwen--SAE-Res-Qwen3-1.7B-Base-W1K-L0_50/snapshots/0123"


def write(folder: Path, w: dict[str, Array], name: str = "layer7.sae.pt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"].T, "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    torch.save(torched(arrays), folder / name)
    return folder / name


def test_an_sae(tmp_path: Path) -> None:
    w, x = draw(d_sae=1024), inputs()
    path = write(tmp_path / REPO, w)
    assert detect_format(path) == detect_format(path.parent) == "qwen_scope"
    f = largest(relu(x.astype(np.float64) @ w["W_enc"] + w["b_enc"]), 50)
    for where in (path, path.parent):
        sae = load_sae(where)
        assert_computes(sae, x, f, f @ w["W_dec"] + w["b_dec"])
    assert sae.metadata["model_name"] == "Qwen/Qwen3-1.7B-Base"
    assert sae.metadata["hook_name"] == "blocks.7.hook_resid_post"
    found = describe(path)
    assert (found.architecture, found.d_in, found.d_sae, found.settings["k"]) == ("topk", 12, 1024, 50)


def test_of_many_files_one_is_named(tmp_path: Path) -> None:
    for layer in (0, 1):
        write(tmp_path / REPO, draw(layer, d_sae=1024), f"layer{layer}.sae.pt")
    with pytest.raises(FormatError, match=r"2 SAEs: layer0\.sae\.pt, layer1\.sae\.pt"):
        load_sae(tmp_path / REPO)
    sae = load_sae(tmp_path / REPO / "layer1.sae.pt")
    assert torch.equal(sae.b_dec, torch.from_numpy(draw(1, d_sae=1024)["b_dec"]))


def test_without_the_repositorys_name_k_is_not_known(tmp_path: Path) -> None:
    path = write(tmp_path / "sae", draw(d_sae=1024))
    assert "repository's name" in describe(path).notes[0]
    with pytest.raises(FormatError, match="How many latents are active"):
        load_sae(path)


def test_the_width_is_checked_against_the_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="name says 1,024"):
        load_sae(write(tmp_path / REPO, draw(d_sae=40)))
