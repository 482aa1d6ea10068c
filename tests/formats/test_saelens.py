"""SAELens' format: what the real package wrote reads right, what we write has its shape, bad files are refused."""

from __future__ import annotations

import json
import math
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from saewidgets.errors import FormatError, NotFoundError, StorageError
from saewidgets.formats import describe, detect_format, load_sae, save_sae
from saewidgets.formats.saelens import FILES
from saewidgets.sae import SAE, InferenceJumpReLU, StandardSAE, TopKSAE, create_sae
from tests.formats.weights import edit

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "saelens"
EXPORTS = Path(__file__).resolve().parents[1] / "golden" / "exports"  # tools/check_export_saelens.py
EXPORTED_SAES = sorted(path.parent.name for path in EXPORTS.glob("*/trained.json"))
EXPORTED_LOADED = sorted(path.name for path in EXPORTS.glob("loaded_*"))


def small(name: str = "standard", **settings: Any) -> SAE:
    return create_sae(name, 8, d_sae=24, **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_sae(small(), tmp_path / "sae")


def test_thresholds_of_zero_stay_exactly_zero() -> None:
    sae = load_sae(GOLDEN / "jumprelu")
    assert isinstance(sae, InferenceJumpReLU)
    assert torch.equal(sae.threshold, load_file(GOLDEN / "jumprelu" / "sae_weights.safetensors")["threshold"])
    assert (sae.threshold[:4] == 0).all()


def test_metadata_comes_along() -> None:
    assert load_sae(GOLDEN / "topk").metadata["hook_name"] == "blocks.3.hook_resid_post"


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPORTED_SAES)
def test_what_is_written_is_what_sae_lens_opened(name: str, tmp_path: Path) -> None:
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


def test_settings_of_training_come_back(tmp_path: Path) -> None:
    sae = small("jumprelu", l0_coefficient=3.5, bandwidth=0.2)
    assert load_sae(save_sae(sae, tmp_path / "sae")).cfg == sae.cfg


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = save_sae(small().to(dtype), tmp_path / "sae")
    assert load_sae(folder).W_enc.dtype == dtype
    assert load_sae(folder, dtype=torch.float32).W_enc.dtype == torch.float32


def test_a_path_to_either_file_means_the_folder(folder: Path) -> None:
    x = torch.randn(3, 8)
    for name in FILES:
        assert torch.equal(load_sae(folder / name)(x), load_sae(folder)(x))


def test_k_comes_from_the_file(tmp_path: Path) -> None:
    sae = load_sae(save_sae(small("topk", k=3), tmp_path / "sae"))
    assert isinstance(sae, TopKSAE)
    assert sae.cfg.k == 3


# --- whole or not at all ---------------------------------------------------------------------------------------------


def test_saving_again_replaces_and_leaves_nothing_else(folder: Path) -> None:
    other = small("topk", k=2)
    save_sae(other, folder)
    assert isinstance(load_sae(folder), TopKSAE)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left on device (os error 28)")]
)
def test_a_failure_keeps_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
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


def test_what_is_no_sae_is_listed(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        detect_format(tmp_path / "nothing")
    with pytest.raises(FormatError, match="holds nothing"):
        detect_format(tmp_path)
    for name in ("a.pt", "config.json"):
        (tmp_path / name).touch()
    with pytest.raises(FormatError, match=r"a\.pt, config\.json"):
        detect_format(tmp_path)
    with pytest.raises(FormatError, match="single file"):
        load_sae(tmp_path / "a.pt")
