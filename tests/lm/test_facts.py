"""Sizes of a model without its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from saewidgets.errors import FormatError, NotFoundError
from saewidgets.lm import facts, load_model, model_facts
from tests.lm.models import CONFIGS, build


def test_a_local_folder_is_counted_from_its_files(tiny_model_folder: Path) -> None:
    found = model_facts(str(tiny_model_folder))
    lm = load_model(str(tiny_model_folder))
    assert (found.n_layers, found.d_model, found.context, found.vocab_size) == (2, 32, 64, 300)
    assert found.architecture == "gpt2"
    assert found.parameters == sum(p.numel() for p in lm.model.parameters())
    assert found.weight_bytes == (tiny_model_folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt"])
def test_a_configuration_alone_gives_the_same_count(name: str) -> None:
    kind, settings = CONFIGS[name]
    model = build(name)
    assert facts._from_config(kind(**settings)) == sum(p.numel() for p in model.parameters())


def test_a_missing_folder() -> None:
    with pytest.raises(NotFoundError, match="no such folder"):
        model_facts("./none")


def test_an_unknown_model_offline() -> None:
    with pytest.raises(NotFoundError, match="cannot be reached"):
        model_facts("someone/some-model")


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, (20).to_bytes(8, "little") + b"[1, 2]" + b" " * 40, b"\x05\0\0\0\0\0\0\0{{{{{}"]
)
def test_a_damaged_weight_file(tiny_model_folder: Path, tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(FormatError, match="not a safetensors file") as caught:
        model_facts(str(folder))
    assert caught.value.where == str(folder / "model.safetensors")


def test_a_damaged_configuration(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    (folder / "config.json").write_text("{ not json")
    with pytest.raises((FormatError, NotFoundError)) as caught:
        model_facts(str(folder))
    assert caught.value.where == str(folder)
