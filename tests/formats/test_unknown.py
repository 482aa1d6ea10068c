"""Nothing in a file is silently left out: a tensor or a setting that no reader uses is refused by name. Settings that
only describe an SAE are not, nor what stands in tables for descriptions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from saewidgets.errors import FormatError
from saewidgets.formats import describe, load_sae, unused
from tests.formats.samples import SAMPLES, rand

FREE = {"metadata", "extra_metadata", "buffer", "data", "history", "config", "optimizer_state_dict",
        "scheduler_state_dict"}  # fmt: skip
CONFIGURATIONS = (".json", ".yaml")


def files(root: Path, *suffixes: str) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.suffix in suffixes]


def tables(data: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every table in `data` whose settings decide something."""
    yield path, data
    for key, value in data.items():
        if isinstance(value, dict) and key not in FREE:
            yield from tables(value, (*path, key))


def assert_refused(path: Path, file: Path, name: str) -> None:
    with pytest.raises(FormatError) as caught:
        load_sae(path)
    assert str(file) in str(caught.value.where)
    assert name in str(caught.value)


@pytest.mark.parametrize("format", SAMPLES)
def test_an_unknown_tensor_is_refused(format: str, tmp_path: Path) -> None:
    path = SAMPLES[format](tmp_path)
    load_sae(path)
    [file] = files(tmp_path, ".safetensors", ".npz", ".pt", ".pth")
    if file.suffix == ".safetensors":
        with safe_open(file, "pt") as opened:
            about = opened.metadata()
        save_file(load_file(file) | {"model.gain" if format == "mistudio" else "gain": rand(3)}, file, about)
    elif file.suffix == ".npz":
        np.savez(file, **np.load(file), gain=np.ones(3, np.float32))
    else:
        state = torch.load(file)
        torch.save(state | {"gain": rand(3)}, file)
        if "model_state_dict" in state:
            assert_refused(path, file, "gain")
            state["model_state_dict"]["gain"] = rand(3)
            torch.save(state, file)
    assert_refused(path, file, "gain")


@pytest.mark.parametrize("format", SAMPLES)
def test_an_unknown_setting_is_refused(format: str, tmp_path: Path) -> None:
    path = SAMPLES[format](tmp_path)
    for file in files(tmp_path, *CONFIGURATIONS):
        read, dump = (json.loads, json.dumps) if file.suffix == ".json" else (yaml.safe_load, yaml.safe_dump)
        text = file.read_text()
        for where, _ in tables(read(text)):
            for value, refused in ((2.0, True), ({"a": 1}, True), (None, False)):
                data = read(text)
                inner = data
                for key in where:
                    inner = inner[key]
                inner["output_gain"] = value
                file.write_text(dump(data))
                if refused:
                    assert_refused(path, file, ".".join((*where, "output_gain")))
                else:
                    describe(path)
        file.write_text(text)
    for file in files(tmp_path, ".pt", ".pth"):
        state = torch.load(file)
        for _, table in tables(state):
            table["output_gain"] = 2.0
            torch.save(state, file)
            assert_refused(path, file, "output_gain")
            del table["output_gain"]


TRAINED = {  # settings that published files have, by the format whose sample gets them
    "saelens": ["device", "l1_coefficient", "hook_name", "finetuning_scaling_factor"],
    "saelens_legacy": ["hook_point_layer", "use_ghost_grads", "mse_loss_normalization", "neuronpedia_id", "unique_id"],
    "dictionary_learning": ["trainer.lr", "trainer.seed", "trainer.wandb_name", "trainer.auxk_alpha", "buffer.n_ctxs"],
    "llama_scope": ["l1_coefficient", "top_k", "init_decoder_norm", "sparsity_include_decoder_norm"],
    "llamascopium": ["use_triton_kernel", "jumprelu_threshold_window"],
    "connor_rob": ["seed", "resample_scheme", "sched_type", "enc_dtype"],
    "temporal": ["optimizer", "hydra", "sae.gamma_reg", "llm.tokenizer_hf_name"],
    "circuit_tracer": ["scan", "transcoders"], "sparsify": ["normalize_decoder", "multi_topk"],
    "gemma_scope_2": ["width", "l0", "type"], "mistudio_community": ["mistudio_checkpoint_step", "l1_coefficient"],
}


@pytest.mark.parametrize(("format", "names"), TRAINED.items())
def test_settings_of_a_training_do_no_harm(format: str, names: list[str], tmp_path: Path) -> None:
    path = SAMPLES[format](tmp_path)
    first = describe(path)
    [file] = files(tmp_path, *CONFIGURATIONS)
    read, dump = (json.loads, json.dumps) if file.suffix == ".json" else (yaml.safe_load, yaml.safe_dump)
    data = read(file.read_text())
    for name in names:
        *above, last = name.split(".")
        inner = data
        for key in above:
            inner = inner[key]
        inner[last] = "of the training"
    file.write_text(dump(data))
    assert describe(path).settings == first.settings
    load_sae(path)


def test_lists_hold_no_setting_that_a_reader_uses() -> None:
    maths = {"apply_b_dec_to_input", "normalize_activations", "reshape_activations", "architecture"}
    for name, listed in vars(unused).items():
        assert not (isinstance(listed, frozenset) and listed & maths), name
