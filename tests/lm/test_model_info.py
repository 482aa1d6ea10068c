"""Sizes of a model without its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from saewidgets.errors import FormatError, NotFoundError
from saewidgets.lm import hub_probe, load_model, model_facts, model_info
from saewidgets.lm.model_info import StatedSizes, stated_sizes
from tests.lm.models import CONFIGS, LAYERS, build


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
    assert model_info._from_config(kind(**settings)) == sum(p.numel() for p in model.parameters())


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


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_states_its_layers_and_no_other_context(name: str, tmp_path: Path) -> None:
    kind, settings = CONFIGS[name]
    kind(**settings).save_pretrained(tmp_path)
    stated, facts = stated_sizes(str(tmp_path)), model_facts(str(tmp_path))
    assert stated.n_layers == facts.n_layers == LAYERS
    assert stated.context in (facts.context, None)
    assert stated.n_heads == facts.n_heads == 4
    assert stated.d_model == facts.d_model


def test_a_model_that_also_sees(tmp_path: Path) -> None:
    found = {"num_hidden_layers": 99, "text_config": {"num_hidden_layers": 4, "max_position_embeddings": 64}}
    (tmp_path / "config.json").write_text(json.dumps(found))
    assert stated_sizes(str(tmp_path)) == StatedSizes(4, 64)


@pytest.mark.parametrize("content", ["{", "[]", '{"n_layer": "two"}', '{"n_layer": 2, "num_layers": 3}', "[" * 100_000])
def test_what_says_nothing_clear_is_left_to_the_loading(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    assert stated_sizes(str(tmp_path)) == StatedSizes()


def test_a_model_of_the_hub_is_known_once_it_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = hub_probe.try_to_load_from_cache
    monkeypatch.setattr(hub_probe, "try_to_load_from_cache", lambda *a, **k: real(*a, cache_dir=tmp_path, **k))
    assert stated_sizes("someone/some-model") == StatedSizes()
    at = tmp_path / "models--someone--some-model"
    (at / "refs").mkdir(parents=True)
    (at / "refs" / "main").write_text("a" * 40)
    (at / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (at / "snapshots" / ("a" * 40) / "config.json").write_text('{"n_layer": 12, "n_positions": 1024}')
    assert stated_sizes("someone/some-model") == StatedSizes(12, 1024)
    assert stated_sizes("someone/some-model", revision="other") == StatedSizes()
