"""What is known of an SAE comes back from every format that has a configuration to keep it in."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.errors import FormatError
from saewidgets.formats import convert, describe, load_sae, save_sae
from saewidgets.formats.source import MAX_BYTES, MAX_DEPTH
from saewidgets.sae import SAE, inference_sae

CONFIGS = {
    "saelens": "cfg.json", "dictionary_learning": "config.json", "mistudio": "config.json", "sparsify": "cfg.json",
}
KEEPERS = list(CONFIGS)
KNOWN: dict[str, Any] = {
    "model_name": "google/gemma-2-2b", "hook_name": "blocks.12.hook_resid_post", "hook_head_index": None,
    "dataset_path": "lab/text", "context_size": 512, "prepend_bos": False, "seqpos_slice": [1, -1, 2], "l0": 71.5,
    "neuronpedia_id": "gemma-2-2b/12-own", "release": "own",
    "model_from_pretrained_kwargs": {"center": [1, {"a": None}]},
    "training_architecture": "standard", "training_architecture_details": {"l1_coefficient": 4.0},
    "notes": ["<b>kept</b> as text"], "my key": "été ✓",
}


def made(**metadata: Any) -> SAE:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    tensors = {"W_enc": normal(8, 24), "b_enc": normal(24), "W_dec": normal(24, 8), "b_dec": normal(8)}
    sae = inference_sae("topk", 8, tensors, k=4)
    sae.metadata = metadata
    return sae


@pytest.mark.parametrize("format", KEEPERS)
def test_all_that_is_known_comes_back(format: str, tmp_path: Path) -> None:
    first = save_sae(made(**KNOWN), tmp_path / "first")
    before = load_sae(first).metadata
    assert KNOWN.items() <= before.items()
    there = convert(first, tmp_path / "there", format) if format != "saelens" else first
    back = load_sae(convert(there, tmp_path / "back")).metadata
    assert {key: value for key, value in before.items() if back.get(key, "missing") != value} == {}
    assert back["converted_from"] == "saelens"


@pytest.mark.parametrize("format", KEEPERS)
def test_it_comes_back_however_often(format: str, tmp_path: Path) -> None:
    sae = made(**KNOWN)
    for step in range(3):
        sae = load_sae(save_sae(sae, tmp_path / str(step), format))
        assert {key: value for key, value in KNOWN.items() if sae.metadata.get(key, "missing") != value} == {}
    one, last = (json.loads((tmp_path / step / CONFIGS[format]).read_text()) for step in ("1", "2"))
    assert one == last


@pytest.mark.parametrize("format", ["dictionary_learning", "mistudio", "saelens"])
def test_a_hook_without_a_name_there_comes_back(format: str, tmp_path: Path) -> None:
    folder = save_sae(made(hook_name="model.layers.3.mlp"), tmp_path / "sae", format)
    assert describe(folder).hook_name == load_sae(folder).metadata["hook_name"] == "model.layers.3.mlp"
    assert not [note for note in describe(folder).notes if "reads" in note]


def test_what_the_package_says_wins(tmp_path: Path) -> None:
    folder = save_sae(made(**KNOWN), tmp_path / "sae", "dictionary_learning")
    config = json.loads((folder / "config.json").read_text())
    config["trainer"] |= {"layer": 3, "submodule_name": "mlp_out_layer_3", "lm_name": "other/model"}
    config["buffer"]["ctx_len"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    found = load_sae(folder).metadata
    assert (found["hook_name"], found["model_name"]) == ("blocks.3.hook_mlp_out", "other/model")
    assert found["context_size"] == 64
    assert found["neuronpedia_id"] == KNOWN["neuronpedia_id"]


def test_where_a_training_came_from_comes_back(tmp_path: Path) -> None:
    sae = made()
    tensors = {**sae.inference_tensors(), "threshold": torch.full((24,), 0.5)}
    details = {"k": 4, "group_sizes": [8, 16]}
    sae = inference_sae("jumprelu", 8, tensors)
    sae.metadata = {"training_architecture": "matryoshka_batchtopk", "training_architecture_details": details}
    found = load_sae(save_sae(sae, tmp_path / "sae", "dictionary_learning")).metadata
    assert found["dict_class"] == "BatchTopKSAE"
    assert found["training_architecture"] == "matryoshka_batchtopk"
    assert found["training_architecture_details"] == details


@pytest.mark.parametrize("said", [3, "x", [], None, {"hook_name": 7, "model_name": ["x"], "notes": "x"}])
@pytest.mark.parametrize("format", ["dictionary_learning", "sparsify"])
def test_another_metadata_decides_nothing(format: str, said: Any, tmp_path: Path) -> None:
    folder = save_sae(made(), tmp_path / "sae", format)
    config = json.loads((folder / CONFIGS[format]).read_text())
    (folder / CONFIGS[format]).write_text(json.dumps(config | {"metadata": said}))
    assert (describe(folder).model, describe(folder).hook_name) == (None, None)
    assert torch.equal(load_sae(folder).W_dec, made().W_dec)


def nested() -> Any:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    return value


@pytest.mark.parametrize("value", ["x" * MAX_BYTES, nested()], ids=["long", "deep"])
@pytest.mark.parametrize("format", KEEPERS)
def test_what_could_not_be_read_back_is_not_written(format: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="metadata: "):
        save_sae(made(mine=value), tmp_path / "sae", format)
    assert list(tmp_path.iterdir()) == []
