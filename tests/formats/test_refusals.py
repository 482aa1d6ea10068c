"""What a file may not say: each format's own contradictions, named by file and key; and what a format cannot say. What
damages any file is in test_hostile.py."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from saewidgets.errors import FormatError
from saewidgets.formats import load_sae, save_sae
from saewidgets.sae import inference_sae
from tests.formats.samples import SAMPLES
from tests.formats.weights import draw, torched

NORM = "dataset_average_activation_norm"
OUT = "blocks.3.hook_mlp_out"
# Format → what its sample says instead (a dot goes into a table, ... takes away) and what the error says.
REFUSED: dict[str, list[tuple[dict[str, Any], str]]] = {
    "saelens": [
        ({"d_sae": 25}, r"\[16\], expected \[25\]|\[8, 16\], expected \[8, 25\]"),
        ({"d_sae": "16"}, "d_sae"), ({"d_in": ...}, "d_in: The value is missing"),
        ({"architecture": ...}, "architecture"),
        ({"architecture": "matryoshka_batchtopk"}, "topk_threshold: The tensor is missing"),
        ({"architecture": "crosscoder"}, "crosscoder.*standard, gated, topk"),
        ({"architecture": "gated"}, "b_gate: The tensor is missing; the file has W_dec, W_enc"),
        ({"architecture": "standard"}, "unexpected tensors: threshold"), ({"dtype": "int8"}, "int8"),
        ({"architecture": "topk"}, "k: The value is missing"),
        ({"architecture": "topk", "k": 17}, r"cfg\.json: k: k is 17 but d_sae is 16"),
        ({"normalize_activations": "batch_norm"}, "normalize_activations.*batch_norm"),
        ({"normalize_activations": "covariance_whitening"}, "activation_whitening.safetensors.*is missing"),
        ({"normalize_activations": "constant_scalar_rescale"}, "normalize_activations"),
        ({"reshape_activations": "heads"}, "reshape_activations.*heads"),
        ({"rescale_acts_by_decoder_norm": 1}, "rescale_acts_by_decoder_norm"),
    ],
    "saelens_legacy": [
        ({"metadata": []}, "metadata: The value is .*expected a valid dictionary"),
        ({"activation_fn_kwargs": {}}, r"activation_fn_kwargs\.k.*k is missing"),
        ({"activation_fn_str": "tanh-relu"}, "activation_fn_str.*tanh-relu"),
    ],
    "gemma_scope_2": [
        ({"affine_connection": True}, "affine_skip_connection: The tensor is missing"),
        ({"affine_connection": "yes"}, "affine_connection"), ({"architecture": "other"}, "known format"),
    ],
    "mistudio_community": [
        ({"architecture": "topk"}, "did not export b_pre"),
        ({"architecture": "transcoder"}, "did not export b_enc_center"),
        ({"extra_metadata": {}}, "which generation of miStudio"), ({"architecture": "other"}, "architecture"),
        ({"extra_metadata.top_k_sparsity": 130.0}, "top_k_sparsity"),
        ({"normalize_activations": "layer_norm"}, "normalize_activations"),
    ],
    "sparsify": [
        ({"k": 17}, "k is 17"), ({"activation": "groupmax", "k": 7}, "cannot be split"),
        ({"activation": "relu"}, "activation"), ({"skip_connection": True}, "W_skip: The tensor is missing"),
        ({"signed": True, "transcode": True}, "signed"), ({"num_latents": 2**40}, "num_latents"),
        ({"expansion_factor": 3}, r"expected \[24, 8\]"),
    ],
    "dictionary_learning": [
        ({"trainer.dict_class": "IdentityDict"}, "'IdentityDict' is not known"),
        ({"trainer.dict_class": "AutoEncoder"}, "bias: The tensor is missing"),
        ({"trainer.dict_size": 49}, r"encoder\.weight.*expected \[49, 8\] from config\.json"),
        ({"trainer.dict_class": "AutoEncoderTopK", "trainer.k": 6}, r"k is 4, but config\.json says 6"),
        ({"trainer.dict_class": "AutoEncoderTopK", "trainer.k": None}, r"trainer\.k"),
    ],
    "llama_scope": [
        ({f"{NORM}.in": 0.0}, rf"{NORM}\.in"), ({NORM: {}}, rf"{NORM}\.in"), ({"act_fn": "topk"}, "topk"),
        ({"hook_point_out": OUT, NORM: {"in": 3.0}}, rf"{NORM}\.out"), ({"use_glu_encoder": True}, "gated encoder"),
        ({"jump_relu_threshold": None}, "jump_relu_threshold"), ({"d_sae": 41}, "expected .* from hyperparams.json"),
    ],
    "llama_scope_r1": [({"norm_activation": "token-wise"}, "norm_activation"), ({"hook_point_out": OUT}, "only SAEs")],
    "llamascopium": [
        ({"act_fn": "batchtopk"}, "batchtopk"), ({"use_glu_encoder": True}, "GLU"), ({"d_model": True}, "d_model"),
        ({"norm_activation": "batch-wise"}, "batch-wise"),
        ({"norm_activation": "token-wise", "hook_point_out": OUT}, "token-wise"),
        ({"act_fn": "topk", "top_k": 49}, "k is 49"),
        *(({"sae_type": kind}, "not an SAE of one place") for kind in ("crosscoder", "clt", "lorsa", "molt")),
    ],
    "connor_rob": [
        ({"act_size": 13}, r"W_enc.*expected \[13, 16\] from .*_cfg.json"), ({"act_size": ...}, "act_size"),
        ({"act_name": "blocks.5.hook_resid_post"}, "act_name"),
    ],
    "circuit_tracer": [
        ({"feature_input_hook": "../x"}, "feature_input_hook"), ({"model_name": 3}, "model_name"),
        ({"feature_output_hook": ["a"]}, "feature_output_hook"),
        ({"activation": "gelu"}, "activation"), ({"activation": "topk"}, "k: The value is missing"),
        ({"activation": "relu", "k": 4}, "There is a k"),
        ({"activation": "jump_relu"}, "threshold: The tensor is missing"),
        ({"k": "4"}, "k: The value is"), ({"model_kind": "cross_layer_transcoder"}, "model_kind"),
    ],
    "openai": [
        ({"activation": "Identity"}, "Identity"), ({"activation": ...}, "activation"),
        ({"activation_state_dict.k": "5"}, "k: The value is '5'"), ({"activation_state_dict.k": 41}, "k is 41"),
        ({"activation_state_dict.postact_fn": "Identity"}, "postact_fn"),
    ],
    "ghosttrack": [
        ({"model_state_dict": {}}, r"W_enc\.weight"), ({"model_state_dict": 3}, "model_state_dict"),
        ({"layer_idx": "four"}, "layer_idx"),
        ({"model": torch.nn.ReLU()}, r"torch\.nn\.modules\.activation\.ReLU, which is code and is not run"),
        # Then negative activations pass, which a JumpReLU would set to zero.
        ({"model_state_dict.threshold": torch.tensor(-0.5)}, r"threshold is -0\.5"),
    ],
}
READ = {".json": json.loads, ".yaml": yaml.safe_load}


def change(data: dict[str, Any], key: str, value: Any) -> None:
    *above, last = key.split(".") if key not in data else [key]
    for part in above:
        data = data[part]
    if value is ...:
        del data[last]
    else:
        data[last] = value


@pytest.mark.parametrize(
    ("name", "changes", "said"), [(name, *row) for name, rows in REFUSED.items() for row in rows]
)
def test_what_cannot_be_is_refused(name: str, changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = SAMPLES[name](tmp_path)
    files = [file for file in tmp_path.rglob("*") if file.suffix in READ] or [path]
    data = READ[files[0].suffix](files[0].read_text()) if files[0] != path else torch.load(path, weights_only=True)
    for key, value in changes.items():
        change(data, key, value)
    if files[0] == path:
        torch.save(data, path)
    else:
        files[0].write_text(json.dumps(data))
    with pytest.raises(FormatError, match=said) as caught:
        load_sae(path)
    assert str(tmp_path) in str(caught.value)


RAW = {"apply_b_dec_to_input": False}
WIDTH = "gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_6"
INEXPRESSIBLE: list[tuple[str, str, dict[str, Any], str]] = [
    ("gemma_scope", "standard", {}, "it is a standard"),
    ("gemma_scope", "jumprelu", {"apply_b_dec_to_input": True}, "subtracts b_dec"),
    ("gemma_scope", "jumprelu", RAW | {"normalize_activations": "layer_norm"}, "normalises"),
    ("gemma_scope", "jumprelu_transcoder", {}, "tells transcoders from SAEs"),
    ("gemma_scope", "jumprelu", RAW, "16k.*40 latents have no such name"),
    ("gemma_scope", "jumprelu", RAW | {"d_sae": 4096, "folder": WIDTH}, "4,096 latents.*says width 16k"),
    ("sparsify", "standard", {}, "it is a standard"),
    ("sparsify", "topk", RAW | {"k": 3}, "does not subtract b_dec"),
    ("sparsify", "topk", {"k": 3, "normalize_activations": "layer_norm"}, "normalises"),
    ("sparsify", "topk_transcoder", {"k": 3, "d_out": 7}, "reconstructs 7 values from 12"),
    ("dictionary_learning", "standard", {"normalize_activations": "layer_norm"}, "normalises"),
    ("dictionary_learning", "standard", {"reshape_activations": "hook_z"}, "reshapes"),
    ("dictionary_learning", "abstopk", {"k": 3}, "its architecture is abstopk"),
    ("dictionary_learning", "transcoder", {}, "is transcoder, and only standard, gated, topk, jumprelu"),
    ("saelens", "groupmax", {"k": 4}, "no architecture 'groupmax'.*standard, gated, topk"),
    ("saelens", "standard", {"reshape_activations": "hook_z"}, "_z"),
]


@pytest.mark.parametrize(("format", "architecture", "settings", "said"), INEXPRESSIBLE)
def test_what_cannot_be_expressed_is_refused(
    format: str, architecture: str, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    settings = dict(settings)
    folder = tmp_path / settings.pop("folder", "sae")
    weights = torched(draw(d_sae=settings.pop("d_sae", 40), d_out=settings.pop("d_out", None)))
    if not architecture.startswith("jumprelu"):
        del weights["threshold"]
    sae = inference_sae(architecture, 12, weights, **settings)
    sae.metadata["hook_name"] = "model.layers.3.self_attn"
    with pytest.raises(FormatError, match=said):
        save_sae(sae, folder, format)
    assert list(tmp_path.iterdir()) == []
