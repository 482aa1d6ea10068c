"""SAELens' files of every architecture and age against what sae-lens itself makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from saewidgets.errors import FormatError
from saewidgets.formats import convert, describe, detect_format, load_sae, read_log_density, save_sae
from saewidgets.sae import InferenceJumpReLU, inference_sae
from tests.formats.weights import assert_computes, draw, edit, inputs, largest, relu, torched

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def names(folder: str) -> list[str]:
    return sorted(path.name for path in (GOLDEN / folder).iterdir() if path.is_dir())


@pytest.mark.parametrize("name", names("saelens_checkpoints"))
def test_checkpoints_say_what_was_done(name: str) -> None:
    folder = GOLDEN / "saelens_checkpoints" / name
    about = describe(folder)
    folded = any("folded into the weights" in note for note in about.notes)
    assert folded == ("scaled" in name or "whitened" in name)
    assert about.hook_name == "blocks.3.hook_resid_post"
    assert about.architecture == {"batchtopk": "jumprelu", "matryoshka": "jumprelu"}.get(
        name.split("_")[0], load_sae(folder).cfg.architecture
    )


# --- traps -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "saelens_legacy" / "standard", tmp_path / "legacy"))


@pytest.fixture
def scaled(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "saelens_checkpoints" / "standard_scaled", tmp_path / "scaled"))


def test_metadata_of_older_files_comes_along(legacy: Path) -> None:
    metadata = load_sae(legacy).metadata
    assert metadata["model_name"] == "gpt2-small"
    assert metadata["neuronpedia_id"] == "gpt2-small/2-res-jb"
    assert "device" not in metadata
    about = describe(legacy)
    assert (about.model, about.hook_name, about.dtype) == ("gpt2-small", "blocks.2.hook_resid_pre", "float32")


def test_metadata_that_sae_lens_forgets_is_kept(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "saelens_legacy" / "nested_without_version", tmp_path / "sae"))
    edit(folder / "cfg.json", hook_name=...)
    assert load_sae(folder).metadata["hook_name"] == "blocks.9.hook_mlp_out"
    assert any("no version" in note for note in describe(folder).notes)


def test_a_fine_tuned_factor_is_folded_into_the_decoder(legacy: Path) -> None:
    path = legacy / "sae_weights.safetensors"
    x = load_file(legacy / "expected.safetensors")["x"]
    plain = load_sae(legacy)
    factor = torch.linspace(0.5, 2, plain.d_sae)
    save_file(load_file(path) | {"scaling_factor": factor}, path)
    with pytest.raises(FormatError, match=r"scaling_factor.*finetuning_scaling_factor is not set"):
        load_sae(legacy)
    edit(legacy / "cfg.json", finetuning_scaling_factor=True)
    sae = load_sae(legacy)
    assert torch.equal(sae.encode(x), plain.encode(x))
    assert torch.allclose(sae(x), plain.decode(plain.encode(x) * factor), atol=1e-6)
    assert any("fine-tuned" in note for note in sae.metadata["notes"])


def test_an_average_scale_that_may_be_missing_is_said(scaled: Path) -> None:
    (scaled / "activation_scaler.json").unlink()
    assert any("average scale" in note for note in describe(scaled).notes)
    assert any("average scale" in note for note in load_sae(scaled).metadata["notes"])


def test_whitening_without_its_matrices_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "saelens_checkpoints" / "topk_whitened", tmp_path / "sae"))
    (folder / "activation_whitening.safetensors").unlink()
    for look in (describe, load_sae):
        with pytest.raises(FormatError, match=r"normalize_activations.*whitened.*activation_whitening\.safetensors"):
            look(folder)


def test_a_scale_that_contradicts_the_configuration_is_refused(scaled: Path) -> None:
    edit(scaled / "cfg.json", normalize_activations="none")
    with pytest.raises(FormatError, match=r"activation_scaler\.json: scaling_factor"):
        load_sae(scaled)


@pytest.mark.parametrize("factor", [0, -1.0, 1e300, "1", True])
def test_a_scale_that_makes_no_sense_is_refused(scaled: Path, factor: Any) -> None:
    edit(scaled / "activation_scaler.json", scaling_factor=factor)
    with pytest.raises(FormatError, match=r"activation_scaler\.json: scaling_factor"):
        load_sae(scaled)


def test_tensors_of_several_dtypes_get_the_configured_one() -> None:
    folder = GOLDEN / "saelens_checkpoints" / "jumprelu_bfloat16"
    assert load_file(folder / "sae_weights.safetensors")["threshold"].dtype == torch.float32
    sae = load_sae(folder)
    assert isinstance(sae, InferenceJumpReLU)
    assert sae.threshold.dtype == sae.W_enc.dtype == torch.bfloat16
    assert load_sae(folder, dtype=torch.float32).threshold.dtype == torch.float32
    assert describe(folder).dtype == "bfloat16"


def test_a_logarithm_of_a_zero_threshold(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "saelens_checkpoints" / "jumprelu_log_threshold", tmp_path / "sae"))
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    tensors["log_threshold"][0] = float("-inf")
    save_file(tensors, path)
    assert float(load_sae(folder).threshold[0]) == 0.0  # type: ignore[arg-type]
    tensors["log_threshold"][0] = 1000.0
    save_file(tensors, path)
    with pytest.raises(FormatError, match="threshold: It contains NaN or infinity"):
        load_sae(folder)


def test_heads_are_read_side_by_side_or_apart() -> None:
    folder = GOLDEN / "saelens_legacy" / "hook_z"
    sae = load_sae(folder)
    x = load_file(folder / "expected.safetensors")["x"]
    assert describe(folder).settings["reshape_activations"] == "hook_z"
    assert torch.allclose(sae(x).flatten(-2), sae(x.flatten(-2)))


@pytest.mark.parametrize("reshape", ["none", "hook_z"])
def test_one_head_is_part_of_the_hook_name_here_and_beside_it_in_the_file(tmp_path: Path, reshape: str) -> None:
    """Files before version 6 also say hook_z of a single head, which has no dimension of heads."""
    folder = Path(shutil.copytree(GOLDEN / "saelens_legacy" / "hook_z", tmp_path / "sae"))
    edit(folder / "cfg.json", hook_head_index=3, reshape_activations=reshape)
    sae = load_sae(folder)
    assert describe(folder).hook_name == sae.metadata["hook_name"] == "blocks.2.attn.hook_z.3"
    assert sae.cfg.reshape_activations == "none"
    sae.metadata["hook_name_out"] = "blocks.4.attn.hook_z.0"
    written = save_sae(sae, tmp_path / "again")
    assert detect_format(written) == "saelens"
    found = json.loads((written / "cfg.json").read_text())["metadata"]
    assert [found[key] for key in ("hook_name", "hook_head_index", "hook_name_out", "hook_head_index_out")] == [
        "blocks.2.attn.hook_z", 3, "blocks.4.attn.hook_z", 0,
    ]  # fmt: skip
    assert load_sae(written).metadata["hook_name"] == "blocks.2.attn.hook_z.3"
    assert load_sae(written).metadata["hook_name_out"] == "blocks.4.attn.hook_z.0"


# --- decoder norms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.5, 9e-6, 0.0], ids=["any norms", "nearly one", "one"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_latents_compete_by_their_norm_in_the_decoder(dtype: torch.dtype, spread: float, tmp_path: Path) -> None:
    drawn = torched(draw())
    del drawn["threshold"]
    rows = drawn["W_dec"] / drawn["W_dec"].norm(dim=1, keepdim=True)
    drawn["W_dec"] = rows * (1 + spread * torch.linspace(-1, 1, len(rows)))[:, None]
    stored = {name: tensor.to(dtype) for name, tensor in drawn.items()}
    folder = save_sae(inference_sae("topk", 12, stored, k=5), tmp_path / "sae")
    edit(folder / "cfg.json", rescale_acts_by_decoder_norm=True)
    w, x = {name: tensor.double().numpy() for name, tensor in stored.items()}, inputs()
    norms = np.linalg.norm(w["W_dec"], axis=1)
    f = largest(relu(((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * norms), 5)
    sae = load_sae(folder, dtype=torch.float32)
    assert_computes(sae, x, f, f / norms @ w["W_dec"] + w["b_dec"], 1e-5)
    for name, tensor in load_sae(folder).inference_tensors().items():
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor.float(), sae.inference_tensors()[name], rtol=2**-8, atol=1e-7)


# --- density ---------------------------------------------------------------------------------------------------------


def test_density_is_read_and_converted(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "saelens_checkpoints" / "standard_plain", tmp_path / "sae"))
    stored = load_file(folder / "sparsity.safetensors")["sparsity"]
    found = read_log_density(folder)
    assert found is not None
    assert torch.allclose(found, stored.clamp(-10, 0))
    again = read_log_density(convert(folder, tmp_path / "again"))
    assert again is not None
    assert torch.equal(found, again)
    stored[:3] = torch.tensor([float("nan"), float("-inf"), 5.0])
    save_file({"sparsity": stored}, folder / "sparsity.safetensors")
    assert read_log_density(folder)[:3].tolist() == [-10, -10, 0]  # type: ignore[index]
    save_file({"density": stored}, folder / "sparsity.safetensors")
    with pytest.raises(FormatError, match="sparsity"):
        read_log_density(folder)
    (folder / "sparsity.safetensors").unlink()
    assert read_log_density(folder) is None


# --- what cannot be written ------------------------------------------------------------------------------------------


def test_an_older_format_is_only_read(tmp_path: Path, legacy: Path) -> None:
    with pytest.raises(FormatError, match="'saelens_legacy' is only read"):
        convert(legacy, tmp_path / "new", "saelens_legacy")
