"""sparsify: what the package wrote reads right, what is written has its shape, what it cannot express is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from saewidgets.formats import describe, load_sae, save_sae
from saewidgets.formats.adapters import hook_of_module
from tests.formats.weights import assert_computes, draw, inputs, torched, write_json

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "sparsify"
SAES = sorted(path.parent.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("cfg.json"))
CONFIG = {"activation": "topk", "expansion_factor": 32, "num_latents": 40, "k": 5, "d_in": 12, "transcode": False}


def write(folder: Path, config: dict[str, Any], **more: torch.Tensor) -> Path:
    write_json(folder / "cfg.json", config)
    w = torched(draw())
    tensors = {"encoder.weight": w["W_enc"].T.contiguous(), "encoder.bias": w["b_enc"], "W_dec": w["W_dec"],
               "b_dec": w["b_dec"]}
    save_file(tensors | more, folder / "sae.safetensors")
    return folder


@pytest.mark.parametrize("name", SAES)
def test_written_files_match_those_of_sparsify(name: str, tmp_path: Path) -> None:
    """The tensors bit for bit, and the settings that decide anything."""
    folder = save_sae(load_sae(GOLDEN / name), tmp_path / "sae", "sparsify")
    ours, theirs = (load_file(path / "sae.safetensors") for path in (folder, GOLDEN / name))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    written, original = (json.loads((path / "cfg.json").read_text()) for path in (folder, GOLDEN / name))
    assert written.keys() == original.keys() | {"metadata"}
    assert written["metadata"]["hook_name"] == load_sae(GOLDEN / name).metadata["hook_name"]
    original["num_latents"] = original["num_latents"] or original["expansion_factor"] * original["d_in"]
    for key in ("activation", "num_latents", "k", "skip_connection", "transcode", "d_in"):
        assert written[key] == original[key]


def test_old_signed_files_keep_signs(tmp_path: Path) -> None:
    folder = write(tmp_path / "layers.3", {"d_in": 12, "num_latents": 40, "k": 5, "signed": True})
    sae, w, x = load_sae(folder), torched(draw()), torch.from_numpy(inputs())
    assert sae.cfg.architecture == "abstopk"
    p = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    kept = p.abs().topk(5).indices
    f = torch.zeros_like(p).scatter(1, kept, p.gather(1, kept))
    assert (f < 0).any()
    assert_computes(sae, x.numpy(), f.numpy(), (f @ w["W_dec"] + w["b_dec"]).numpy())


def test_a_folder_of_another_name_says_so(tmp_path: Path) -> None:
    found = describe(write(tmp_path / "sae", CONFIG))
    assert found.hook_name is None
    assert "name of the module" in found.notes[0]


@pytest.mark.parametrize(
    ("module", "hook"),
    [
        ("layers.10", "blocks.10.hook_resid_post"), ("model.layers.0.self_attn", "blocks.0.hook_attn_out"),
        ("h.3.attn", "blocks.3.hook_attn_out"), ("layers.5.mlp", "blocks.5.hook_mlp_out"),
        ("embed_tokens", "hook_embed"), ("layers.5.mlp.gate", None), ("norm", None),
    ],
)
def test_modules_and_hooks(module: str, hook: str | None) -> None:
    assert hook_of_module(module) == hook


def test_a_seed_is_not_a_module(tmp_path: Path) -> None:
    assert describe(write(tmp_path / "layers.3" / "seed1", CONFIG)).hook_name == "blocks.3.hook_resid_post"


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("topk/layers.3", {"model_name": "lab/model", "hook_name": "blocks.7.hook_mlp_out"}),
        (
            "skip_transcoder/layers.4.mlp",
            {
                "model_name": "lab/m", "hook_name": "blocks.4.ln2.hook_normalized",
                "hook_name_out": "blocks.5.hook_mlp_out",
            },
        ),
        ("groupmax/layers.1.mlp", {"model_name": "lab/m"}),
    ],
)
@pytest.mark.parametrize("folder", ["anywhere", "layers.2"])
def test_where_it_was_trained_comes_back(tmp_path: Path, name: str, metadata: dict[str, str], folder: str) -> None:
    sae = load_sae(GOLDEN / name)
    sae.metadata = metadata
    again = load_sae(save_sae(sae, tmp_path / folder, "sparsify"))
    found = {key: again.metadata.get(key) for key in ("model_name", "hook_name", "hook_name_out")}
    found = {key: value for key, value in found.items() if value is not None}
    if "hook_name" not in metadata and folder == "layers.2":  # then the folder's name says
        assert found.pop("hook_name") == "blocks.2.hook_resid_post"
    assert found == metadata
    assert describe(tmp_path / folder).model == metadata["model_name"]
