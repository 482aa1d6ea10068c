"""One file, one SAE: Goodfire's, qresearch's, Kissane's and Krzyzanowski's, circuit-tracer's, checkpoints,
GhostTrack's, OpenAI's, Qwen Scope."""

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
from tests.formats.weights import Array, assert_close, assert_computes, draw, inputs, jump, largest, relu, torched

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


# --- GhostTrack ------------------------------------------------------------------------------------------------------


def ghosttrack_write(path: Path, w: dict[str, Array], threshold: float = 0.1, **more: Any) -> Path:
    state = torched({
        "threshold": np.array(threshold, np.float32), "W_enc.weight": w["W_enc"].T, "W_enc.bias": w["b_enc"],
        "W_dec.weight": w["W_dec"].T, "W_dec.bias": w["b_dec"],
    })
    parameter = torch.nn.Parameter(state["W_enc.bias"].clone())
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    content = {
        "layer_idx": 4, "epoch": 2, "model_state_dict": state, "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "best_loss": 0.25, "history": {"train_loss": [0.5, 0.25], "lr": [1e-3, 9e-4]},
    }
    torch.save(content | more, path)
    return path


def ghosttrack_reference(w: dict[str, Array], x: Array, threshold: float) -> tuple[Array, Array]:
    f = jump(x.astype(np.float64) @ w["W_enc"] + w["b_enc"], np.float32(threshold))
    return f, f @ w["W_dec"] + w["b_dec"]


@pytest.mark.parametrize("name", ["sae_layer_4_best.pt", "sae_layer_4_final.pt", "renamed.pt"])
def test_a_checkpoint(tmp_path: Path, name: str) -> None:
    w, x = draw(), inputs()
    path = ghosttrack_write(tmp_path / name, w, config={"d_model": 12, "lambda_sparse": 0.01})
    assert detect_format(path) == "ghosttrack"
    sae = load_sae(path)
    assert_computes(sae, x, *ghosttrack_reference(w, x, 0.1))
    assert sae.cfg.architecture == "jumprelu"
    assert not sae.cfg.apply_b_dec_to_input
    assert sae.metadata["hook_name"] == "blocks.4.hook_resid_post"
    found = describe(path)
    assert (found.d_in, found.d_sae, found.model) == (12, 40, None)
    assert found.config == {
        "layer_idx": 4, "epoch": 2, "best_loss": 0.25, "config": {"d_model": 12, "lambda_sparse": 0.01},
    }


# --- OpenAI ----------------------------------------------------------------------------------------------------------


FOLDER = "gpt2-small/resid_post_mlp_v5_32k/autoencoders"
TOPK = {"activation": "TopK", "activation_state_dict": {"k": 5, "postact_fn": "ReLU"}}
RELU: dict[str, Any] = {"activation": "ReLU", "activation_state_dict": {}}


def openai_write(path: Path, w: dict[str, Array], plain: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Any] = torched({
        "pre_bias": w["b_dec"], "encoder.weight": w["W_enc"].T, "latent_bias": w["b_enc"],
        "decoder.weight": w["W_dec"].T, "latents_activation_frequency": w["threshold"],
    })
    tensors["stats_last_nonzero"] = torch.zeros(len(w["b_enc"]), dtype=torch.long)
    torch.save(tensors | plain, path)
    return path


def openai_reference(w: dict[str, Array], x: Array, k: int | None) -> tuple[Array, Array]:
    """Autoencoder.forward of sparse_autoencoder: TopK ones normalise, unbiased std."""
    x = x.astype(np.float64)
    mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
    inner = (x - mean) / (std + 1e-5) if k else x
    p = (inner - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    f = largest(relu(p), k) if k else relu(p)
    y = f @ w["W_dec"] + w["b_dec"]
    return f, y * std + mean if k else y


def test_a_topk_autoencoder(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    path = openai_write(tmp_path / FOLDER / "6.pt", w, TOPK)
    assert detect_format(path) == "openai"
    sae = load_sae(path)
    assert_computes(sae, x, *openai_reference(w, x, 5))
    assert sae.cfg.normalize_activations == "layer_norm"
    assert (sae.metadata["model_name"], sae.metadata["hook_name"]) == ("gpt2", "blocks.6.hook_resid_post")
    found = describe(path)
    assert (found.architecture, found.d_in, found.d_sae, found.settings["k"]) == ("topk", 12, 40, 5)
    assert found.config["activation"] == "TopK"


def test_a_relu_autoencoder_does_not_normalise(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    sae = load_sae(openai_write(tmp_path / "gpt2-small/mlp_post_act/autoencoders/0.pt", w, RELU))
    assert_computes(sae, x, *openai_reference(w, x, None))
    assert sae.metadata["hook_name"] == "blocks.0.mlp.hook_post"


def test_another_name_is_recognised_by_its_contents(tmp_path: Path) -> None:
    path = openai_write(tmp_path / "mine.pt", draw(), TOPK)
    assert detect_format(path) == "openai"
    assert load_sae(path).metadata["hook_name"] is None


# --- Qwen Scope ------------------------------------------------------------------------------------------------------


REPO = "models--Qwen--SAE-Res-Qwen3-1.7B-Base-W1K-L0_50/snapshots/0123"


def qwen_write(folder: Path, w: dict[str, Array], name: str = "layer7.sae.pt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"].T, "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    torch.save(torched(arrays), folder / name)
    return folder / name


def test_an_sae(tmp_path: Path) -> None:
    w, x = draw(d_sae=1024), inputs()
    path = qwen_write(tmp_path / REPO, w)
    assert detect_format(path) == detect_format(path.parent) == "qwen_scope"
    f = largest(relu(x.astype(np.float64) @ w["W_enc"] + w["b_enc"]), 50)
    for where in (path, path.parent):
        sae = load_sae(where)
        assert_computes(sae, x, f, f @ w["W_dec"] + w["b_dec"])
    assert sae.metadata["model_name"] == "Qwen/Qwen3-1.7B-Base"
    assert sae.metadata["hook_name"] == "blocks.7.hook_resid_post"
    found = describe(path)
    assert (found.architecture, found.d_in, found.d_sae, found.settings["k"]) == ("topk", 12, 1024, 50)


def test_of_many_files_one_is_named(tmp_path: Path) -> None:
    for layer in (0, 1):
        qwen_write(tmp_path / REPO, draw(layer, d_sae=1024), f"layer{layer}.sae.pt")
    with pytest.raises(FormatError, match=r"2 SAEs: layer0\.sae\.pt, layer1\.sae\.pt"):
        load_sae(tmp_path / REPO)
    sae = load_sae(tmp_path / REPO / "layer1.sae.pt")
    assert torch.equal(sae.b_dec, torch.from_numpy(draw(1, d_sae=1024)["b_dec"]))


def test_without_the_repositorys_name_k_is_not_known(tmp_path: Path) -> None:
    path = qwen_write(tmp_path / "sae", draw(d_sae=1024))
    assert "repository's name" in describe(path).notes[0]
    with pytest.raises(FormatError, match="How many latents are active"):
        load_sae(path)


def test_the_width_is_checked_against_the_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="name says 1,024"):
        load_sae(qwen_write(tmp_path / REPO, draw(d_sae=40)))
