"""One file, one SAE: Goodfire's, qresearch's, Kissane's and Krzyzanowski's, circuit-tracer's, checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from saewidgets.errors import FormatError
from saewidgets.formats import describe, detect_format, load_sae
from saewidgets.formats.registry import find_all
from saewidgets.formats.source import FolderSource, ListedSource
from tests.formats.weights import Array, assert_close, assert_computes, draw, inputs, relu, torched

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "dictionary_learning"


def rectified(w: dict[str, Array], x: Array) -> tuple[Array, Array]:
    f = relu(x @ w["W_enc"] + w["b_enc"])
    return f, f @ w["W_dec"] + w["b_dec"]


def listed(path: Path) -> ListedSource:
    """`path` as the hub shows it: names and sizes, and no word about what is inside."""

    def read(name: str, start: int, length: int | None) -> bytes:
        raise AssertionError(f"{name} was read")

    return ListedSource(str(path.parent), {path.name: path.stat().st_size}, read)


# --- Goodfire, DeepSeek R1 -------------------------------------------------------------------------------------------


def linear(path: Path, w: dict[str, Array], end: str) -> Path:
    tensors = {
        f"encoder{end}.weight": w["W_enc"].T, f"encoder{end}.bias": w["b_enc"], f"decoder{end}.weight": w["W_dec"].T,
        f"decoder{end}.bias": w["b_dec"],
    }
    torch.save(torched(tensors), path)
    return path


@pytest.mark.parametrize(
    ("name", "end", "format", "model", "layer"),
    [
        ("Llama-3.3-70B-Instruct-SAE-l50.pt", "_linear", "goodfire", "meta-llama/Llama-3.3-70B-Instruct", 50),
        ("Llama-3.1-8B-Instruct-SAE-l19.pth", "_linear", "goodfire", "meta-llama/Llama-3.1-8B-Instruct", 19),
        (
            "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt", "", "deepseek_r1", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
            19,
        ),
    ],
)
def test_two_linear_layers(name: str, end: str, format: str, model: str, layer: int, tmp_path: Path) -> None:
    w, x = draw(), inputs()
    path = linear(tmp_path / name, w, end)
    assert detect_format(path) == format
    assert_computes(load_sae(path), x, *rectified(w, x))
    for found in (describe(path), describe(listed(path))):
        assert (found.model, found.hook_name) == (model, f"blocks.{layer}.hook_resid_post")
    assert describe(listed(path)).d_in is None


def test_only_goodfires_tensors_tell_without_a_name(tmp_path: Path) -> None:
    found = describe(linear(tmp_path / "mine.pt", draw(), "_linear"))
    assert (found.format, found.model, found.hook_name) == ("goodfire", None, None)
    assert "only in the file's name" in found.notes[0]
    with pytest.raises(FormatError, match="single file"):
        load_sae(linear(tmp_path / "other.pt", draw(), ""))


# --- attention SAEs --------------------------------------------------------------------------------------------------


def attention(folder: Path, config: dict[str, Any] | None) -> Path:
    path = folder / "gpt2-small_L5_Hcat_z_lr1.20e-03_v9.pt"
    w = draw()
    del w["threshold"]
    torch.save(torched(w), path)
    if config is not None:
        (folder / "gpt2-small_L5_Hcat_z_lr1.20e-03_v9_cfg.json").write_text(json.dumps(config))
    return path


GOOD = {"act_size": 12, "dict_size": 40, "act_name": "blocks.5.attn.hook_z"}


@pytest.mark.parametrize("config", [GOOD, None])
def test_heads_side_by_side(config: dict[str, Any] | None, tmp_path: Path) -> None:
    path, w, x = attention(tmp_path, config), draw(), inputs()
    f, y = rectified(w, x - w["b_dec"])
    sae, heads = load_sae(path), torch.from_numpy(x).reshape(-1, 3, 4)
    assert_close(sae.encode(heads).numpy(), f, 1e-5)
    assert_close(sae(heads).numpy(), y.reshape(-1, 3, 4), 1e-5)
    assert (sae.metadata["model_name"], sae.metadata["hook_name"]) == ("gpt2", "blocks.5.attn.hook_z")
    assert describe(listed(path)).hook_name == "blocks.5.attn.hook_z"


# --- circuit-tracer --------------------------------------------------------------------------------------------------


def transcoder(path: Path, w: dict[str, Array], config: dict[str, Any] | None = None, **more: Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: w[name] for name in ("b_enc", "W_dec", "b_dec")} | {"W_enc": w["W_enc"].T} | more
    save_file(torched(tensors), path)
    if config is not None:
        (path.parent / "config.yaml").write_text(yaml.safe_dump(config))
    return path


HOOKS = {
    "model_name": "meta-llama/Llama-3.2-1B", "feature_input_hook": "hook_resid_mid",
    "feature_output_hook": "mlp.hook_out", "transcoders": [{"id": "a", "layer": 0, "filepath": "hf://x/y"}],
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_of_one_layer(turned: bool, skip: bool, tmp_path: Path) -> None:
    w, x = draw(d_out=7 if not turned else 12), inputs()
    d_out = w["b_dec"].shape[0]
    linear_path = np.random.default_rng(5).standard_normal((d_out, 12)).astype(np.float32)
    more = {"W_skip": linear_path} if skip else {}
    path = transcoder(tmp_path / "layer_4.safetensors", w, HOOKS, **more, **({"W_dec": w["W_dec"].T} if turned else {}))
    f, y = rectified(w, x)
    assert_computes(load_sae(path), x, f, y + x @ linear_path.T if skip else y)
    found = describe(path)
    assert found.architecture == ("skip_transcoder" if skip else "transcoder")
    assert (found.model, found.hook_name) == ("meta-llama/Llama-3.2-1B", "blocks.4.hook_resid_mid")
    assert load_sae(path).metadata["hook_name_out"] == "blocks.4.mlp.hook_out"


def test_without_a_configuration_the_repository_tells(tmp_path: Path) -> None:
    found = describe(transcoder(tmp_path / "mwhanna/qwen3-1.7b-transcoders-lowl0/layer_4.safetensors", draw()))
    assert (found.model, found.hook_name) == ("Qwen/Qwen3-1.7B", "blocks.4.mlp.hook_in")
    found = describe(transcoder(tmp_path / "mine" / "layer_4.safetensors", draw()))
    assert (found.model, found.hook_name) == (None, None)
    assert "config.yaml" in found.notes[0]


def test_a_square_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="W_dec is 12 by 12: which of both are the latents"):
        load_sae(transcoder(tmp_path / "layer_0.safetensors", draw(d_sae=12)))


def test_other_activation_functions_are_refused(tmp_path: Path) -> None:
    path = transcoder(tmp_path / "layer_0.safetensors", draw(), log_thresholds=np.zeros(40, np.float32))
    with pytest.raises(FormatError, match="unexpected tensors: log_thresholds"):
        load_sae(path)


def test_cross_layer_transcoders_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("W_enc_0", "W_dec_0"):
        save_file({name: torch.zeros(2, 2)}, tmp_path / f"{name}.safetensors")
    for path in (tmp_path, tmp_path / "W_enc_0.safetensors"):
        with pytest.raises(FormatError, match=r"cross-layer transcoder.*layer_….safetensors"):
            load_sae(path)


# --- checkpoints of dictionary_learning ------------------------------------------------------------------------------


def trainer(folder: Path, *steps: int) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copyfile(GOLDEN / "topk" / "config.json", folder / "config.json")
    for step in steps:
        state = torch.load(GOLDEN / "topk" / "ae.pt", weights_only=True)
        torch.save(state | {"b_dec": state["b_dec"] + step}, folder / "checkpoints" / f"ae_{step}.pt")
    return folder


def test_a_checkpoint_is_not_the_end_of_its_training(tmp_path: Path) -> None:
    folder = trainer(tmp_path / "trainer_0", 0, 100)
    with pytest.raises(FormatError, match=r"holds 2 SAEs: checkpoints/ae_0\.pt, checkpoints/ae_100\.pt"):
        load_sae(folder)
    shutil.copyfile(GOLDEN / "topk" / "ae.pt", folder / "ae.pt")
    assert detect_format(folder) == detect_format(folder / "ae.pt") == "dictionary_learning"
    assert [item.path for item in find_all(FolderSource(tmp_path))] == ["trainer_0"]
    end, sae = load_sae(folder), load_sae(folder / "checkpoints" / "ae_100.pt")
    assert torch.equal(sae.b_dec, end.b_dec + 100)
    assert (sae.metadata["training_step"], sae.metadata["source_format"]) == (100, "dictionary_learning_checkpoint")
    assert sae.metadata["hook_name"] == end.metadata["hook_name"]


def test_a_checkpoint_needs_the_configuration_of_its_training(tmp_path: Path) -> None:
    folder = trainer(tmp_path / "trainer_0", 7)
    path = folder / "checkpoints" / "ae_7.pt"
    with pytest.raises(FormatError, match=r"not fetched with it.*ae\.pt"):
        describe(listed(path))
    (folder / "config.json").rename(folder / "checkpoints" / "config.json")
    assert load_sae(path).d_in == 16
    (folder / "checkpoints" / "config.json").unlink()
    with pytest.raises(FormatError, match=r"config\.json of the trainer's folder, which is missing"):
        load_sae(path)
