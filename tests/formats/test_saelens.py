"""SAELens' format: what is written has its shape, files of every age are read as sae-lens means them, bad ones are
refused. What sae-lens itself computed is in test_goldens.py."""

import json
import math
import os
import shutil
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from saewidgets.errors import FormatError, StorageError
from saewidgets.formats import convert, describe, detect_format, load_sae, read_log_density, save_sae
from saewidgets.sae import SAE, InferenceJumpReLU, StandardSAE, create_sae, inference_sae
from tests.formats.weights import assert_computes, draw, edit, inputs, largest, relu, torched

EXPORTS = Path(__file__).resolve().parents[1] / "golden" / "exports"  # tools/check_export_saelens.py
EXPORTED_SAES = sorted(path.parent.name for path in EXPORTS.glob("*/trained.json"))
EXPORTED_LOADED = sorted(path.name for path in EXPORTS.glob("loaded_*"))


def small(name: str = "standard", **settings: Any) -> SAE:
    return create_sae(name, 8, d_sae=24, **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_sae(small(), tmp_path / "sae")


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPORTED_SAES)
def test_written_files_match_those_sae_lens_opened(name: str, tmp_path: Path) -> None:
    """The trained tensors of a golden export give its files once more, and compute what sae-lens got from those."""
    kept = EXPORTS / name
    settings = json.loads((kept / "trained.json").read_text())
    config = json.loads((kept / "cfg.json").read_text())
    sae = create_sae(settings.pop("architecture"), config["d_in"], **settings)
    sae.load_state_dict(load_file(kept / "trained.safetensors"))
    sae.fold_scales(1.7, 0.6 if sae.is_transcoder else 1.7)
    sae.metadata = {key: config["metadata"][key] for key in ("model_name", "hook_name", "context_size", "prepend_bos")}
    sae.metadata |= {"dataset_path": "demo", "l0": None}
    written = save_sae(sae, tmp_path / "sae", "saelens")
    assert json.loads((written / "cfg.json").read_text()) == config
    found, opened = load_file(written / "sae_weights.safetensors"), load_file(kept / "sae_weights.safetensors")
    assert found.keys() == opened.keys()
    for key, tensor in opened.items():
        assert torch.allclose(found[key], tensor, rtol=1e-6, atol=1e-7), key
    expected = load_file(kept / "expected.safetensors")
    for ours in (load_sae(written), sae.eval()):
        f = ours.encode(expected["x"])
        assert torch.allclose(f, expected["f"], rtol=1e-5, atol=1e-5)
        assert torch.allclose(ours(expected["x"]), expected["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EXPORTED_LOADED)
def test_saes_from_elsewhere_are_written_as_sae_lens_opened_them(name: str, tmp_path: Path) -> None:
    kept = EXPORTS / name
    written = save_sae(load_sae(kept), tmp_path / "sae")
    assert json.loads((written / "cfg.json").read_text()) == json.loads((kept / "cfg.json").read_text())
    found, opened = load_file(written / "sae_weights.safetensors"), load_file(kept / "sae_weights.safetensors")
    assert found.keys() == opened.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in opened.items())


def test_metadata_is_strict_json(tmp_path: Path) -> None:
    sae = small()
    sae.metadata = {
        "model_name": "gpt2", "hook_name": "blocks.1.hook_mlp_out", "context_size": 64, "prepend_bos": True,
        "dataset_path": Path("some/text"), "l0": float("nan"), "seqpos_slice": (None,), "loss": float("inf"),
        "sae_lens_version": "1.0",
    }
    text = (save_sae(sae, tmp_path / "sae") / "cfg.json").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    metadata = json.loads(text, parse_constant=refuse)["metadata"]
    assert metadata["l0"] is None
    assert metadata["loss"] is None
    assert metadata["seqpos_slice"] == [None]
    assert metadata["dataset_path"] == str(Path("some/text"))
    assert metadata["prepend_bos"] is True
    assert metadata["sae_lens_version"].startswith("6.")


def test_foreign_settings_of_training_do_not_stop_a_load(folder: Path) -> None:
    data = json.loads((folder / "cfg.json").read_text())
    data["metadata"]["training_architecture_details"] = {"l1_coefficient": "many", "lp_norm": 1.0}
    edit(folder / "cfg.json", metadata=data["metadata"])
    assert isinstance(load_sae(folder), StandardSAE)


def test_settings_of_training_do_not_change_the_maths(folder: Path) -> None:
    data = json.loads((folder / "cfg.json").read_text())
    data["metadata"]["training_architecture_details"] |= {
        "normalize_activations": "layer_norm", "reshape_activations": "hook_z", "apply_b_dec_to_input": False,
        "d_sae": 3, "l1_coefficient": 7.0,
    }
    edit(folder / "cfg.json", metadata=data["metadata"])
    cfg = load_sae(folder).cfg
    assert cfg == small(l1_coefficient=7.0).cfg


# --- whole or not at all ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left on device (os error 28)")]
)
def test_a_failure_keeps_the_old_files(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr("saewidgets.formats.io.save_file", full)
    with pytest.raises(StorageError, match="No space left on device"):
        save_sae(small("topk", k=2), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_foreign_folders_and_files_are_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.png").write_bytes(b"meow")
    with pytest.raises(StorageError, match=r"cat\.png"):
        save_sae(small(), folder)
    (tmp_path / "file").write_text("text")
    with pytest.raises(StorageError, match="not a folder"):
        save_sae(small(), tmp_path / "file")
    assert (folder / "cat.png").read_bytes() == b"meow"


# --- bad files -------------------------------------------------------------------------------------------------------


def test_more_than_the_memory_of_the_machine_is_not_taken(folder: Path) -> None:
    """Two terabytes of zeros that take no space on the disk, in files that agree with each other."""
    edit(folder / "cfg.json", d_in=2**18, d_sae=2**20)
    shapes = {"W_enc": [2**18, 2**20], "b_enc": [2**20], "W_dec": [2**20, 2**18], "b_dec": [2**18]}
    entries, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    path = folder / "sae_weights.safetensors"
    header = json.dumps(entries).encode()
    raw = struct.pack("<Q", len(header)) + header
    path.write_bytes(raw)
    os.truncate(path, len(raw) + end)
    assert describe(folder).d_sae == 2**20
    start = time.perf_counter()
    with pytest.raises(FormatError, match=r"W_enc.*1,100 GB.*this machine"):
        load_sae(folder)
    assert time.perf_counter() - start < 10


def test_errors_list_the_files_of_a_folder_without_an_sae(tmp_path: Path) -> None:
    for name in ("a.pt", "config.json"):
        (tmp_path / name).touch()
    with pytest.raises(FormatError, match=r"a\.pt, config\.json"):
        detect_format(tmp_path)
    with pytest.raises(FormatError, match="single file"):
        load_sae(tmp_path / "a.pt")


GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def names(folder: str) -> list[str]:
    return sorted(path.name for path in (GOLDEN / folder).iterdir() if path.is_dir())


@pytest.mark.parametrize("name", names("saelens_checkpoints"))
def test_checkpoints_note_the_folded_scale(name: str) -> None:
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


def test_notes_mention_an_average_scale_that_may_be_missing(scaled: Path) -> None:
    (scaled / "activation_scaler.json").unlink()
    assert any("average scale" in note for note in describe(scaled).notes)
    assert any("average scale" in note for note in load_sae(scaled).metadata["notes"])


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("cfg.json", {"normalize_activations": "none"}),
        *(("activation_scaler.json", {"scaling_factor": factor}) for factor in (0, -1.0, 1e300, "1", True)),
    ],
)
def test_a_scale_that_contradicts_or_makes_no_sense_is_refused(
    scaled: Path, file: str, change: dict[str, Any]
) -> None:
    edit(scaled / file, **change)
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
    with pytest.raises(FormatError, match="'saelens_legacy' can only be read"):
        convert(legacy, tmp_path / "new", "saelens_legacy")
