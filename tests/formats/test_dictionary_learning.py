"""dictionary_learning: hook names and traps of what the package saved; what is written, and what its loader computed
with that. The classes themselves are in test_goldens.py."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from saewidgets.errors import FormatError
from saewidgets.formats import convert, describe, load_sae, save_sae, validate
from saewidgets.formats.archives import read_pickled
from saewidgets.formats.tensors import read_tensors
from saewidgets.sae import SAE, inference_sae
from tests.formats.weights import D_IN, assert_computes, draw, torched


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "dictionary_learning" / "topk", tmp_path / "trainer_0"))


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    data = json.loads(path.read_text())
    data["trainer"] |= changes
    path.write_text(json.dumps(data))


def test_notes_name_the_corrections() -> None:
    assert "norm one" in load_sae(GOLDEN / "dictionary_learning" / "standard").metadata["notes"][0]
    assert "has not ended" in load_sae(GOLDEN / "dictionary_learning" / "backup").metadata["notes"][0]


@pytest.mark.parametrize(
    ("submodule", "hook"),
    [
        (None, "blocks.3.hook_resid_post"), ("mlp_out_layer_3", "blocks.3.hook_mlp_out"),
        ("attention_out_layer_3", "blocks.3.hook_attn_out"), ("gpt_neox.layers.3.mlp.act", None),
        ("blocks.7.hook_resid_pre", "blocks.7.hook_resid_pre"), ("blocks.7.hook\n", None),
    ],
)
def test_hook_names(folder: Path, submodule: str | None, hook: str | None) -> None:
    edit(folder, submodule_name=submodule)
    found = describe(folder)
    assert (found.model, found.hook_name) == ("EleutherAI/pythia-70m-deduped", hook)
    assert bool(found.notes) == (hook is None)


def test_early_topk_files_have_neither_k_nor_threshold(folder: Path) -> None:
    state = torch.load(folder / "ae.pt", weights_only=True)
    torch.save({key: value for key, value in state.items() if key not in ("k", "threshold")}, folder / "ae.pt")
    expected = load_file(folder / "expected.safetensors")
    assert_computes(load_sae(folder), *(expected[key].numpy() for key in ("x", "f", "y")))
    edit(folder, dict_class="BatchTopKSAE")
    with pytest.raises(FormatError, match="threshold: The tensor is missing"):
        load_sae(folder)


@pytest.mark.parametrize("factor", ["two", -1.0, float("nan")])
def test_a_senseless_factor_of_a_backup_is_refused(tmp_path: Path, factor: Any) -> None:
    folder = Path(shutil.copytree(GOLDEN / "dictionary_learning" / "backup", tmp_path / "sae"))
    content = torch.load(folder / "ae.pt", weights_only=True)
    torch.save(content | {"norm_factor": factor}, folder / "ae.pt")
    with pytest.raises(FormatError, match="norm_factor"):
        load_sae(folder)


GOLDEN = Path(__file__).resolve().parents[1] / "golden"
EXPORTS = GOLDEN / "dictionary_learning_exports"  # tools/check_export_dictionary_learning.py
CLASSES = {
    "standard": "AutoEncoder", "standard_raw_input": "AutoEncoderNew", "standard_long_rows": "AutoEncoderNew",
    "gated": "GatedAutoEncoder", "gated_raw_input": "GatedAutoEncoder",
    "topk": "AutoEncoderTopK", "topk_raw_input": "AutoEncoderTopK",
    "batchtopk": "BatchTopKSAE", "batchtopk_raw_input": "JumpReluAutoEncoder", "matryoshka": "BatchTopKSAE",
    "jumprelu": "JumpReluAutoEncoder", "jumprelu_centred": "JumpReluAutoEncoder",
    "jumprelu_raw_input": "JumpReluAutoEncoder",
}


def trainer(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text())["trainer"])


def made(architecture: str, **settings: Any) -> SAE:
    w = draw(3)
    tensors = torched(w)
    if architecture == "gated":
        tensors |= {"b_gate": tensors.pop("b_enc"), "b_mag": tensors["b_dec"].new_full((40,), 0.2)}
        tensors["r_mag"] = tensors["threshold"].clone()
    if architecture != "jumprelu":
        del tensors["threshold"]
    return inference_sae(architecture, D_IN, tensors, **settings)


# What the package opened. `test_goldens.py` has what it computed with these.
def test_no_golden_export_is_left_out() -> None:
    assert {path.name for path in EXPORTS.iterdir() if path.is_dir()} == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_the_same_files_are_written_again(name: str, tmp_path: Path) -> None:
    written = convert(EXPORTS / name, tmp_path / "sae", "dictionary_learning")
    before, after = (read_pickled(folder / "ae.pt") for folder in (EXPORTS / name, written))
    assert {k: (v.dtype, v.shape) for k, v in before.header().tensors.items()} == {
        k: (v.dtype, v.shape) for k, v in after.header().tensors.items()
    }
    old = read_tensors(EXPORTS / name / "ae.pt", before.header())
    new = read_tensors(written / "ae.pt", after.header())
    for key, tensor in old.items():
        assert torch.equal(tensor, new[key]), key
    kept, found = (json.loads((folder / "config.json").read_text()) for folder in (EXPORTS / name, written))
    assert found.pop("metadata")["converted_from"] == "dictionary_learning"
    kept.pop("metadata", None)
    assert found == kept
    assert found["trainer"]["dict_class"] == CLASSES[name]
    assert validate(written) == []


# What a class lacks moves into a bias. `test_written.py` has that the function stays.
def test_what_needs_no_sum_keeps_its_short_format(tmp_path: Path) -> None:
    sae = made("topk", k=4).to(torch.bfloat16)
    folder = save_sae(sae, tmp_path / "sae", "dictionary_learning")
    state = torch.load(folder / "ae.pt", weights_only=True)
    assert {state[name].dtype for name in ("encoder.weight", "encoder.bias", "b_dec")} == {torch.bfloat16}
    assert load_sae(folder).W_dec.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["encoder.bias", "decoder.bias"])
def test_a_longer_tensor_among_shorter_ones_is_not_rounded(name: str, tmp_path: Path) -> None:
    folder = save_sae(made("standard", apply_b_dec_to_input=False), tmp_path / "sae", "dictionary_learning")
    state = torch.load(folder / "ae.pt", weights_only=True)
    torch.save({key: t if key == name else t.to(torch.bfloat16) for key, t in state.items()}, folder / "ae.pt")
    again, ours = load_sae(folder), {"encoder.bias": "b_enc", "decoder.bias": "b_dec"}[name]
    assert describe(folder).dtype == "float32"
    assert torch.equal(again.get_parameter(ours), state[name])
    assert torch.equal(again.W_dec, state["decoder.weight"].T.to(torch.bfloat16).float())


@pytest.mark.parametrize(("threshold", "dtype"), [(0.3, torch.float32), (0.25, torch.bfloat16), (-1.0, torch.bfloat16)])
def test_a_longer_threshold_is_not_rounded(threshold: float, dtype: torch.dtype, tmp_path: Path) -> None:
    sae = made("jumprelu").to(torch.bfloat16)
    sae.get_buffer("threshold").fill_(0.5)
    sae.metadata = {"training_architecture": "batchtopk", "training_architecture_details": {"k": 3}}
    folder = save_sae(sae, tmp_path / "sae", "dictionary_learning")
    state = torch.load(folder / "ae.pt", weights_only=True)
    torch.save(state | {"threshold": torch.tensor(threshold)}, folder / "ae.pt")
    found = load_sae(folder).get_buffer("threshold")
    assert (found.dtype, set(found.tolist())) == (dtype, {max(float(np.float32(threshold)), 0.0)})


def test_decoder_rows_are_scaled_without_rounding(tmp_path: Path) -> None:
    sae = made("standard", apply_b_dec_to_input=False).to(torch.bfloat16)
    folder = save_sae(sae, tmp_path / "sae", "dictionary_learning")
    config = json.loads((folder / "config.json").read_text())
    config["trainer"]["dict_class"] = "AutoEncoder"  # of which the package scales the rows, in float32
    (folder / "config.json").write_text(json.dumps(config))
    state = torch.load(folder / "ae.pt", weights_only=True)
    state["bias"] = state.pop("decoder.bias")
    torch.save(state, folder / "ae.pt")
    norms = sae.W_dec.double().norm(dim=1)
    again = load_sae(folder)
    assert torch.allclose(again.W_dec.double(), sae.W_dec.double() / norms[:, None], rtol=1e-6, atol=0)
    assert torch.allclose(again.W_enc.double(), sae.W_enc.double() * norms, rtol=1e-6, atol=0)


def test_views_are_saved_without_their_base(tmp_path: Path) -> None:
    folder = save_sae(made("topk", k=4), tmp_path / "sae", "dictionary_learning")
    state = torch.load(folder / "ae.pt", weights_only=True)
    for name, tensor in state.items():
        assert tensor.is_contiguous()
        assert tensor.untyped_storage().nbytes() == tensor.nbytes, name
    assert (state["k"].dtype, int(state["k"]), float(state["threshold"])) == (torch.int32, 4, -1.0)


@pytest.mark.parametrize("k", [None, "5", -1, 2.5, float("nan"), True, 1 << 40])
def test_without_a_sensible_k_it_is_a_plain_jumprelu(k: Any, tmp_path: Path) -> None:
    sae = made("jumprelu")
    sae.get_buffer("threshold").fill_(0.3)
    sae.metadata = {"training_architecture": "batchtopk", "training_architecture_details": {"k": k}}
    assert trainer(save_sae(sae, tmp_path / "a", "dictionary_learning"))["dict_class"] == "JumpReluAutoEncoder"
    sae.metadata["training_architecture_details"] = {"k": 5.0}
    assert trainer(save_sae(sae, tmp_path / "b", "dictionary_learning"))["dict_class"] == "BatchTopKSAE"


@pytest.mark.parametrize(
    ("hook", "layer", "name"),
    [
        ("blocks.3.hook_mlp_out", 3, "mlp_out_layer_3"), ("blocks.3.hook_resid_pre", 3, "blocks.3.hook_resid_pre"),
        ("blocks.11.hook_attn_out", 11, "attention_out_layer_11"), ("hook_embed", None, "hook_embed"),
        (None, None, None), (7, None, None),
    ],
)
def test_the_place_in_the_model_comes_back(hook: Any, layer: int | None, name: str | None, tmp_path: Path) -> None:
    sae = made("standard")
    sae.metadata = {"hook_name": hook}
    folder = save_sae(sae, tmp_path / "sae", "dictionary_learning")
    assert (trainer(folder)["layer"], trainer(folder)["submodule_name"]) == (layer, name)
    assert load_sae(folder).metadata["hook_name"] == (hook if isinstance(hook, str) else None)


