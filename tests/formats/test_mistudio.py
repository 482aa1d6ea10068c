"""miStudio's checkpoints of both generations, the trio of its papers, and what it exports: the maths of its models, not
what its cfg.json says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats import describe, detect_format, load_sae, save_sae
from saewidgets.sae import create_sae
from tests.formats.weights import Array, assert_computes, draw, inputs, jump, largest, relu, torched, write_json
from tests.sae.cases import LOADED, batch, loaded

NONE = {"normalize_activations": "none"}
CLASSES = {
    "standard": "SparseAutoencoder", "skip": "SkipAutoencoder", "transcoder": "Transcoder", "topk": "TopKSAE",
    "jumprelu": "JumpReLUSAE",
}


def state(kind: str, w: dict[str, Array], second: bool, tied: bool = False) -> dict[str, Array]:
    """The state dict of miStudio's class, with matrices as torch's linear layers have them."""
    if kind == "jumprelu":
        found = {"W_enc": w["W_enc"].T, "b_enc": w["b_enc"], "b_dec": w["b_dec"], "W_dec": w["W_dec"].T,
                 "activation.log_threshold": np.log(w["threshold"])}
        return {key: value for key, value in found.items() if not (tied and key == "W_dec")}
    found = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T}
    if tied:
        del found["decoder.weight"]
    if kind == "topk":
        return found | {"b_pre": w["b_dec"]}
    if kind == "transcoder":
        return found | {"decoder.bias": w["b_dec"]} | ({"b_enc_center": w["centre"]} if second else {})
    found |= {"decoder_bias": w["b_dec"]}
    return found if second or tied else found | {"decoder.bias": w["other"]}


def write(folder: Path, kind: str, tensors: dict[str, Array], beside: Any = None, **metadata: str) -> Path:
    folder.mkdir(parents=True)
    header = {"step": "1000", "architecture": CLASSES[kind], "layer_idx": "3", "hook_type": "mlp"} | metadata
    save_file(torched({f"model.{name}": array for name, array in tensors.items()}), folder / "checkpoint.safetensors",
              {key: value for key, value in header.items() if value})
    if beside is not None:
        write_json(folder / "config.json", beside)
    return folder


def weights() -> dict[str, Array]:
    other = draw(9)
    return draw() | {"other": other["b_dec"], "centre": draw(8)["b_dec"]}


def reference(w: dict[str, Array], x: Array, act: Any, centre: Array | float, bias: Array, norm: bool = True) -> Any:
    x = x.astype(np.float64)
    inner, c = normalised(x) if norm else (x, 1.0)
    f = act((inner - centre) @ w["W_enc"] + w["b_enc"])
    return f, (f @ w["W_dec"] + bias) / c


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("beside", [None, NONE])
def test_standard(tmp_path: Path, second: bool, beside: Any) -> None:
    """Generation 1 adds two biases and subtracts none; 2 has one and subtracts it."""
    w, x = weights(), inputs()
    folder = write(tmp_path / "layer_3_mlp", "standard", state("standard", w, second), beside)
    assert detect_format(folder) == detect_format(folder / "checkpoint.safetensors") == "mistudio"
    sae = load_sae(folder)
    bias = w["b_dec"] if second else w["b_dec"] + w["other"]
    assert_computes(sae, x, *reference(w, x, relu, w["b_dec"] if second else 0, bias, norm=beside is None))
    assert sae.metadata["hook_name"] == "blocks.3.hook_mlp_out"
    assert sae.metadata["mistudio_step"] == 1000
    assert any("database" in note for note in describe(folder).notes) == (beside is None or not second)


def test_a_percentage_of_latents_may_stand_beside(tmp_path: Path) -> None:
    w, x = weights(), inputs()
    sae = load_sae(write(tmp_path / "sae", "standard", state("standard", w, False), NONE | {"top_k_sparsity": 10.0}))
    bias = w["b_dec"] + w["other"]
    assert_computes(sae, x, *reference(w, x, lambda p: largest(relu(p), 4), 0, bias, norm=False))


def test_topk_needs_its_k(tmp_path: Path) -> None:
    w, x = weights(), inputs()
    tensors = state("topk", w, True)
    alone = write(tmp_path / "alone", "topk", tensors)
    assert "cannot be loaded" in " ".join(describe(alone).notes)
    with pytest.raises(FormatError, match="only in miStudio's database"):
        load_sae(alone)
    sae = load_sae(write(tmp_path / "sae", "topk", tensors, {"top_k": 5}))
    assert_computes(sae, x, *reference(w, x, lambda p: largest(relu(p), 5), w["b_dec"], w["b_dec"]))


@pytest.mark.parametrize("second", [False, True])
def test_transcoder(tmp_path: Path, second: bool) -> None:
    w, x = weights(), inputs()
    sae = load_sae(write(tmp_path / "sae", "transcoder", state("transcoder", w, second)))
    assert_computes(sae, x, *reference(w, x, relu, w["centre"] if second else 0, w["b_dec"], norm=False))


@pytest.mark.parametrize("second", [False, True])
def test_skip(tmp_path: Path, second: bool) -> None:
    w, x = weights(), inputs()
    sae = load_sae(write(tmp_path / "sae", "skip", state("skip", w, second), NONE))
    f, y = reference(
        w, x, relu, w["b_dec"] if second else 0, w["b_dec"] if second else w["b_dec"] + w["other"], norm=False
    )
    assert_computes(sae, x, f, y + x)
    normal = load_sae(write(tmp_path / "normalised", "skip", state("skip", w, second)))
    f, y = reference(w, x, relu, w["b_dec"] if second else 0, w["b_dec"] if second else w["b_dec"] + w["other"])
    assert_computes(normal, x, f, y + x)
    assert normal.cfg.architecture == "skip"


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_jumprelu_says_which_generation_beside(tmp_path: Path, centred: bool, tied: bool) -> None:
    w, x = weights(), inputs()
    tensors = state("jumprelu", w, True, tied)
    if tied:
        w["W_dec"] = w["W_enc"].T
    alone = write(tmp_path / "alone", "jumprelu", tensors)
    assert "two generations" in " ".join(describe(alone).notes)
    with pytest.raises(FormatError, match="Whether b_dec is subtracted"):
        load_sae(alone)
    sae = load_sae(write(tmp_path / "sae", "jumprelu", tensors, {"apply_b_dec_to_input": centred}))
    expected = reference(w, x, lambda p: jump(p, w["threshold"]), w["b_dec"] if centred else 0, w["b_dec"])
    assert_computes(sae, x, *expected)
    assert_computes(load_sae(alone, apply_b_dec_to_input=centred), x, *expected)
    with pytest.raises(ConfigError, match=f"The file says {str(centred).lower()}"):
        load_sae(tmp_path / "sae", apply_b_dec_to_input=not centred)


def test_jumprelu_without_a_bias_is_the_same_in_both(tmp_path: Path) -> None:
    w, x = weights(), inputs()
    w["b_dec"] = np.zeros(12, np.float32)
    sae = load_sae(write(tmp_path / "sae", "jumprelu", state("jumprelu", w, True)))
    assert_computes(sae, x, *reference(w, x, lambda p: jump(p, w["threshold"]), 0, w["b_dec"]))


@pytest.mark.parametrize(
    ("kind", "change", "metadata", "message"),
    [
        ("standard", {"extra": np.zeros(3, np.float32)}, {}, "unexpected tensors: extra"),
        ("standard", {"encoder.bias": np.zeros(3, np.float32)}, {}, r"encoder\.bias"),
        ("standard", {}, {"architecture": "TopKSAE"}, "the tensors are those of a standard"),
        ("standard", {}, {"architecture": ""}, "does not say whether"),
        ("jumprelu", {"W_dec": np.zeros((40, 12), np.float32)}, {}, "W_dec"),
        ("jumprelu", {"activation.log_threshold": np.full(40, np.nan, np.float32)}, {}, "NaN"),
    ],
)
def test_what_disagrees_is_refused(
    tmp_path: Path, kind: str, change: dict[str, Array], metadata: dict[str, str], message: str
) -> None:
    tensors = state(kind, weights(), True) | change
    with pytest.raises(FormatError, match=message):
        load_sae(write(tmp_path / "sae", kind, tensors, NONE | {"apply_b_dec_to_input": True}, **metadata))


# --- the trio --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["standard", "topk", "batchtopk", "jumprelu"])
def test_trained_saes_go_through_the_trio(tmp_path: Path, name: str) -> None:
    sae = create_sae(name, 8, d_sae=24, **({"k": 3} if "topk" in name else {}))
    sae.metadata = {"model_name": "gpt2", "hook_name": "blocks.1.hook_mlp_out", "l0": float("nan")}
    folder = save_sae(sae, tmp_path / "sae", "mistudio")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "model.safetensors", "training_metadata.json",
    ]
    assert detect_format(folder) == "mistudio"
    again, frozen, x = load_sae(folder), sae.to_inference(), torch.randn(5, 8)
    assert torch.equal(again.encode(x), frozen.encode(x))
    assert torch.equal(again(x), frozen(x))
    assert again.metadata["model_name"] == "gpt2"
    assert again.metadata["l0"] is None
    assert json.loads((folder / "training_metadata.json").read_text())["training_architecture"] == name
    assert set(load_file(folder / "model.safetensors")) == set(frozen.inference_tensors())


@pytest.mark.parametrize("k", [None, "nothing"])
def test_a_trio_that_does_not_say_k(tmp_path: Path, k: str | None) -> None:
    folder = save_sae(create_sae("topk", 8, d_sae=24, k=3), tmp_path / "sae", "mistudio")
    config = json.loads((folder / "config.json").read_text())
    del config["k"]
    write_json(folder / "config.json", config if k else config | {"k": None})
    with pytest.raises(FormatError, match="how many latents") as caught:
        load_sae(folder)
    assert caught.value.where.endswith("config.json: k")


@pytest.mark.parametrize("name", [name for name in LOADED if name != "temporal"])
def test_loaded_saes_go_through_the_trio(tmp_path: Path, name: str) -> None:
    sae = loaded(name, **({} if "transcoder" in name else {"normalize_activations": "constant_norm_rescale"}))
    again, x = load_sae(save_sae(sae, tmp_path / "sae", "mistudio")), batch()
    assert again.cfg == sae.cfg
    assert torch.equal(again.encode(x), sae.encode(x))
    assert torch.equal(again(x), sae(x))


def test_the_trio_with_native_tensors(tmp_path: Path) -> None:
    """W_enc is in both namings, the other way round; logarithms of thresholds tell them apart."""
    w, x = draw(d_sae=12), inputs()
    folder = tmp_path / "sae"
    write_json(folder / "config.json", {
        "architecture": "jumprelu", "d_in": 12, "d_sae": 12, "apply_b_dec_to_input": True, "model_name": "gpt2",
    })
    save_file(torched(state("jumprelu", w, True)), folder / "model.safetensors")
    expected = reference(w, x, lambda p: jump(p, w["threshold"]), w["b_dec"], w["b_dec"], norm=False)
    assert_computes(load_sae(folder), x, *expected)


def test_a_language_model_is_not_an_sae(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"})
    save_file({"wte.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match="known format"):
        detect_format(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"apply_b_dec_to_input": None}, "apply_b_dec_to_input"),
        ({"architecture": "other"}, "architecture"),
        ({"architecture": "gated"}, "b_gate"),
        ({"d_sae": 25}, r"expected \[8, 25\] from config\.json"),
    ],
)
def test_a_trio_that_disagrees_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = save_sae(create_sae("standard", 8, d_sae=24), tmp_path / "sae", "mistudio")
    data = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", data | change)
    with pytest.raises(FormatError, match=message):
        load_sae(folder)


def test_a_trio_that_leaves_it_open_is_loaded_with_an_answer(tmp_path: Path) -> None:
    folder = save_sae(create_sae("standard", 8, d_sae=24), tmp_path / "sae", "mistudio")
    data = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", data | {"apply_b_dec_to_input": None})
    with pytest.raises(FormatError, match="apply_b_dec_to_input=True or False where you load it"):
        load_sae(folder)
    for answer in (False, True):
        assert load_sae(folder, apply_b_dec_to_input=answer).cfg.apply_b_dec_to_input is answer
        assert describe(folder, apply_b_dec_to_input=answer).settings["apply_b_dec_to_input"] is answer
    with pytest.raises(ConfigError, match="apply_b_dec_to_input"):
        load_sae(folder, apply_b_dec_to_input="yes")  # type: ignore[arg-type]
    saelens = save_sae(create_sae("standard", 8, d_sae=24), tmp_path / "other")
    with pytest.raises(ConfigError, match="'saelens' files say it themselves"):
        load_sae(saelens, apply_b_dec_to_input=True)


# --- What it exports -------------------------------------------------------------------------------------------------


FIRST, SECOND = {"top_k_sparsity": None}, {"top_k": None}


def export_config(architecture: str, extra: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The keys its writer writes, with what it always says."""
    return {
        "model_name": "gpt2-small", "hook_point": "blocks.3.hook_resid_post", "hook_point_layer": 3, "d_in": 12,
        "d_sae": 40, "hook_name": "blocks.3.hook_resid_post", "architecture": architecture, "activation_fn_str": "relu",
        "normalize_activations": "constant_norm_rescale", "hook_point_head_index": None, "context_size": 128,
        "apply_b_dec_to_input": False, "finetuning_scaling_factor": False, "dtype": "torch.float32", "device": "cpu",
        "mistudio_training_id": "train_1", "mistudio_checkpoint_step": 100,
        "extra_metadata": {"hf_model_name": "openai-community/gpt2", "warmup_steps": 0} | extra,
    } | more


def export_write(folder: Path, w: dict[str, Array], data: dict[str, Any], **change: Any) -> Path:
    write_json(folder / "cfg.json", data)
    names = ["W_enc", "b_enc", "W_dec", "b_dec", *(["threshold"] if data["architecture"] == "jumprelu" else [])]
    arrays = {name: w[name] for name in names} | change
    save_file(torched({k: v for k, v in arrays.items() if v is not None}), folder / "sae_weights.safetensors")
    return folder


def normalised(x: Array) -> tuple[Array, Array]:
    """To norm √d, and the factor."""
    c = np.sqrt(x.shape[1]) / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
    return x * c, c


def export_reference(w: dict[str, Array], x: Array, *, act: Any, centred: bool, bias: float, norm: bool) -> Any:
    x = x.astype(np.float64)
    inner, c = normalised(x) if norm else (x, 1.0)
    f = act((inner - (w["b_dec"] if centred else 0)) @ w["W_enc"] + w["b_enc"])
    return f, (f @ w["W_dec"] + bias * w["b_dec"]) / c


@pytest.mark.parametrize("normalize", ["constant_norm_rescale", "none"])
@pytest.mark.parametrize(
    ("architecture", "extra", "centred", "bias"),
    [
        ("standard", FIRST, False, 2.0),  # two equal output biases, one exported
        ("jumprelu", FIRST, False, 1.0), ("standard", SECOND, True, 1.0), ("standard_saelens", SECOND, True, 1.0),
        ("jumprelu", SECOND, True, 1.0),
    ],
)
def test_generations(
    tmp_path: Path, architecture: str, extra: dict[str, Any], centred: bool, bias: float, normalize: str
) -> None:
    w, x = draw(), inputs()
    folder = export_write(tmp_path / "sae", w, export_config(architecture, extra, normalize_activations=normalize))
    assert detect_format(folder) == "mistudio_community"
    act = (lambda p: jump(p, w["threshold"])) if architecture == "jumprelu" else relu
    sae = load_sae(folder)
    assert_computes(sae, x, *export_reference(w, x, act=act, centred=centred, bias=bias, norm=normalize != "none"))
    assert sae.metadata["model_name"] == "openai-community/gpt2"
    assert f"generation {1 if extra is FIRST else 2}" in sae.metadata["notes"][0]


def test_the_anthropic_kind_always_normalises(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    data = export_config("standard_anthropic", SECOND, normalize_activations="none")
    expected = export_reference(w, x, act=relu, centred=True, bias=1.0, norm=True)
    assert_computes(load_sae(export_write(tmp_path / "sae", w, data)), x, *expected)


def test_a_percentage_of_latents(tmp_path: Path) -> None:
    w, x = draw(), inputs()
    data = export_config("standard", {"top_k_sparsity": 13.0}, activation_fn_str="topk")
    folder = export_write(tmp_path / "sae", w, data)
    sae = load_sae(folder)
    assert sae.cfg.architecture == "topk"
    assert describe(folder).settings["k"] == 5  # int(0.13 · 40)
    expected = export_reference(w, x, act=lambda p: largest(relu(p), 5), centred=False, bias=2.0, norm=True)
    assert_computes(sae, x, *expected)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("extra", "centred", "bias"), [(FIRST, False, 2.0), (SECOND, True, 1.0)])
def test_a_skip_autoencoder_adds_its_input(
    tmp_path: Path, extra: dict[str, Any], centred: bool, bias: float, norm: bool
) -> None:
    w, x = draw(), inputs()
    kind = "constant_norm_rescale" if norm else "none"
    sae = load_sae(export_write(tmp_path / "sae", w, export_config("skip", extra, normalize_activations=kind)))
    f, y = export_reference(w, x, act=relu, centred=centred, bias=bias, norm=norm)
    assert_computes(sae, x, f, y + x)


def test_a_transcoder_of_the_first_generation(tmp_path: Path) -> None:
    w, x = draw(d_out=7), inputs()
    sae = load_sae(export_write(tmp_path / "sae", w, export_config("transcoder", FIRST)))
    assert_computes(sae, x, *export_reference(w, x, act=relu, centred=False, bias=1.0, norm=False))
    assert sae.d_out == 7


def test_the_folders_name_tells_the_site(tmp_path: Path) -> None:
    folder = export_write(tmp_path / "layer_3_mlp", draw(), export_config("standard", SECOND))
    assert describe(folder).hook_name == "blocks.3.hook_mlp_out"
    elsewhere = describe(export_write(tmp_path / "sae", draw(), export_config("standard", SECOND)))
    assert elsewhere.hook_name == "blocks.3.hook_resid_post"
    assert "hook_resid_post" in elsewhere.notes[-1]


def test_a_top_k_skip_autoencoder_with_normalised_activations_is_refused(tmp_path: Path) -> None:
    folder = export_write(tmp_path / "sae", draw(), export_config("skip", FIRST | {"top_k_sparsity": 10.0}))
    for look in (describe, load_sae):
        with pytest.raises(FormatError, match="top-k skip autoencoder with normalised"):
            look(folder)
