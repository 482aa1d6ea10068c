"""dictionary_learning: every class the package saves, as its own `load_dictionary` computes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from saewidgets.errors import FormatError
from saewidgets.formats import describe, load_sae
from tests.formats.weights import assert_computes

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "dictionary_learning"
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "topk", tmp_path / "trainer_0"))


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    data = json.loads(path.read_text())
    data["trainer"] |= changes
    path.write_text(json.dumps(data))


def test_what_is_known_without_weights(folder: Path) -> None:
    found = describe(folder)
    assert (found.architecture, found.d_in, found.d_sae, found.dtype, found.settings["k"]) == (
        "topk", 16, 48, "float32", 5,
    )
    assert (found.model, found.hook_name) == ("EleutherAI/pythia-70m-deduped", "blocks.3.hook_resid_post")
    assert found.config["buffer"]["ctx_len"] == 128


def test_notes_say_what_was_done() -> None:
    assert "norm one" in load_sae(GOLDEN / "standard").metadata["notes"][0]
    assert "has not ended" in load_sae(GOLDEN / "backup").metadata["notes"][0]


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
    assert found.hook_name == hook
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
    folder = Path(shutil.copytree(GOLDEN / "backup", tmp_path / "sae"))
    content = torch.load(folder / "ae.pt", weights_only=True)
    torch.save(content | {"norm_factor": factor}, folder / "ae.pt")
    with pytest.raises(FormatError, match="norm_factor"):
        load_sae(folder)
