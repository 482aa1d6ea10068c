"""Remake tests/golden/saelens_checkpoints and saelens_legacy: files of the real `sae-lens` package that have to be
brought into the form of inference, with what sae-lens computes once it has done so itself.

    .venvs/saelens/bin/python tools/golden_saelens_files.py

A checkpoint is saved as sae-lens saves it within a training, with the scale or whitening of the activations beside it;
the expected values come from the same SAE after its own folding and `save_inference_model`. An older file is a flat
cfg.json as versions 2 to 5 wrote it; the expected values are what sae-lens 6 makes of it.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import sae_lens
import sae_lens.saes as lens
import torch
from sae_lens.training.activation_scaler import ActivationScaler
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
D_IN, D_SAE, ROWS = 16, 32, 12
COMMON = {"d_in": D_IN, "d_sae": D_SAE, "device": "cpu", "dtype": "float32"}
CLASSES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "standard": (lens.StandardTrainingSAE, lens.StandardTrainingSAEConfig, {}),
    "gated": (lens.GatedTrainingSAE, lens.GatedTrainingSAEConfig, {}),
    "topk": (lens.TopKTrainingSAE, lens.TopKTrainingSAEConfig, {"k": 4}),
    "abstopk": (lens.AbsTopKTrainingSAE, lens.AbsTopKTrainingSAEConfig, {"k": 4}),
    "batchtopk": (lens.BatchTopKTrainingSAE, lens.BatchTopKTrainingSAEConfig, {"k": 4.5}),
    "matryoshka_batchtopk": (
        lens.MatryoshkaBatchTopKTrainingSAE, lens.MatryoshkaBatchTopKTrainingSAEConfig,
        {"k": 4, "matryoshka_widths": [8, 16, 32]},
    ),
    "jumprelu": (lens.JumpReLUTrainingSAE, lens.JumpReLUTrainingSAEConfig, {}),
    "matching_pursuit": (
        lens.MatchingPursuitTrainingSAE, lens.MatchingPursuitTrainingSAEConfig,
        {"decoder_init_norm": 1.0, "residual_threshold": 0.7, "max_iterations": 6},
    ),
}
# name → architecture, normalisation, more settings
CHECKPOINTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{f"{name}_plain": (name, "none", {}) for name in CLASSES},
    **{f"{name}_scaled": (name, "expected_average_only_in", {}) for name in CLASSES},
    **{f"{name}_whitened": (name, "covariance_whitening", {}) for name in CLASSES if name != "matching_pursuit"},
    "standard_raw_whitened": ("standard", "covariance_whitening", {"apply_b_dec_to_input": False}),
    "gated_raw_whitened": ("gated", "covariance_whitening", {"apply_b_dec_to_input": False}),
    "batchtopk_unscaled_norms": ("batchtopk", "expected_average_only_in", {"rescale_acts_by_decoder_norm": False}),
    "standard_layer_norm": ("standard", "layer_norm", {}),
    "jumprelu_bfloat16": ("jumprelu", "none", {"dtype": "bfloat16"}),
}


def shake(sae: torch.nn.Module, seed: int) -> None:
    """Weights in general position."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 + 0.2 * noise.abs() if name == "threshold" else 0.4 * noise)
        if isinstance(sae, lens.MatchingPursuitTrainingSAE):
            sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
        if hasattr(sae, "topk_threshold"):
            sae.topk_threshold.fill_(0.9)


def record(folder: Path, sae: lens.SAE, x: torch.Tensor) -> None:
    with torch.no_grad():
        f, y = sae.encode(x), sae(x)
    tensors = {"x": x, "f": f.float(), "y": y.float()}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "expected.safetensors")


def batch(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (ROWS, D_IN)), generator=torch.Generator().manual_seed(seed))


def checkpoints(out: Path) -> None:
    for seed, (name, (architecture, normalize, more)) in enumerate(CHECKPOINTS.items()):
        sae_class, config_class, settings = CLASSES[architecture]
        config = config_class(**{**COMMON, "normalize_activations": normalize, **settings, **more})
        config.metadata.model_name, config.metadata.hook_name = "gpt2", "blocks.3.hook_resid_post"
        sae = sae_class(config)
        shake(sae, seed)
        folder = out / name
        sae.save_model(folder)
        scaler = ActivationScaler()
        x = batch(900 + seed) * 2 + 0.5
        if normalize == "expected_average_only_in":
            scaler.scaling_factor = 0.37
        elif normalize == "covariance_whitening":
            batches = iter([batch(1000 + i, 64, D_IN) @ batch(7, D_IN, D_IN) + 0.5 for i in range(4)])
            scaler.estimate_whitening(D_IN, batches, 4)
        scaler.save(str(folder / "activation_scaler.json"))
        if scaler.scaling_factor is not None:
            sae.fold_activation_norm_scaling_factor(scaler.scaling_factor)
        if scaler.whitening is not None:
            sae.fold_activation_whitening(
                scaler.whitening.mean, scaler.whitening.matrix, scaler.whitening.inverse_matrix
            )
        with tempfile.TemporaryDirectory() as final:
            sae.save_inference_model(final)
            record(folder, lens.SAE.load_from_disk(final, device="cpu"), x)
    # a jumprelu of before 2026-07, which kept logarithms
    older = out / "jumprelu_log_threshold"
    shutil.copytree(out / "jumprelu_plain", older)
    tensors = load_file(older / "sae_weights.safetensors")
    tensors["log_threshold"] = tensors.pop("threshold").log()
    save_file(tensors, older / "sae_weights.safetensors")
    save_file({"sparsity": batch(5, D_SAE) - 4}, out / "standard_plain" / "sparsity.safetensors")


FLAT = {
    "architecture": "standard", "d_in": D_IN, "d_sae": D_SAE, "dtype": "torch.float32", "device": "cuda:0",
    "model_name": "gpt2-small", "hook_name": "blocks.2.hook_resid_pre", "hook_layer": 2, "hook_head_index": None,
    "activation_fn_str": "relu", "activation_fn_kwargs": {}, "apply_b_dec_to_input": True,
    "finetuning_scaling_factor": False, "sae_lens_training_version": None, "prepend_bos": True,
    "dataset_path": "Skylion007/openwebtext", "dataset_trust_remote_code": True, "context_size": 128,
    "normalize_activations": "none", "neuronpedia_id": "gpt2-small/2-res-jb", "model_from_pretrained_kwargs": {},
}
# name → changes of the flat configuration (None removes a key), extra tensors
LEGACY: dict[str, tuple[dict[str, Any], str]] = {
    "standard": ({}, ""),
    "version_2_names": (
        {"hook_name": ..., "hook_point": "blocks.2.hook_resid_pre", "hook_layer": ..., "hook_point_layer": 2,
         "hook_head_index": ..., "hook_point_head_index": None, "activation_fn_str": ..., "activation_fn": "relu",
         "architecture": ..., "apply_b_dec_to_input": ..., "normalize_activations": None, "prepend_bos": ...}, "",
    ),
    "topk_by_activation": ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}}, ""),
    "gated": ({"architecture": "gated"}, "gated"),
    "jumprelu": ({"architecture": "jumprelu", "apply_b_dec_to_input": False}, "threshold"),
    "layer_norm": (
        {"normalize_activations": "layer_norm", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}}, "",
    ),
    "constant_norm": ({"normalize_activations": "constant_norm_rescale"}, ""),
    "normalized_by_true": ({"normalize_activations": True}, ""),
    "hook_z": ({"hook_name": "blocks.2.attn.hook_z"}, ""),
    "factor_of_ones": ({}, "ones"),
    "nested_without_version": (
        {"metadata": {"hook_name": "blocks.9.hook_mlp_out"}, "apply_b_dec_to_input": ...}, "",
    ),
}


def legacy(out: Path) -> None:
    for seed, (name, (changes, extra)) in enumerate(LEGACY.items()):
        folder = out / name
        folder.mkdir(parents=True)
        config = {key: value for key, value in {**FLAT, **changes}.items() if value is not ...}
        (folder / "cfg.json").write_text(json.dumps(config))
        tensors = {
            "W_enc": batch(seed, D_IN, D_SAE) * 0.4, "W_dec": batch(seed + 1, D_SAE, D_IN) * 0.4,
            "b_enc": batch(seed + 2, D_SAE) * 0.4, "b_dec": batch(seed + 3, D_IN) * 0.4,
        }
        if extra == "gated":
            del tensors["b_enc"]
            tensors |= {key: batch(seed + 4 + i, D_SAE) * 0.4 for i, key in enumerate(("b_gate", "r_mag", "b_mag"))}
        elif extra == "threshold":
            tensors["threshold"] = batch(seed + 4, D_SAE).abs()
        elif extra == "ones":
            tensors["scaling_factor"] = torch.ones(D_SAE)
        save_file(tensors, folder / "sae_weights.safetensors")
        sae = lens.SAE.load_from_disk(folder, device="cpu")
        x = batch(700 + seed, ROWS, 4, D_IN // 4) if name == "hook_z" else batch(700 + seed) * 3 + 0.2
        record(folder, sae, x)


def main() -> None:
    torch.manual_seed(0)
    for name, make in {"saelens_checkpoints": checkpoints, "saelens_legacy": legacy}.items():
        out = GOLDEN / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        make(out)
        versions = {"sae_lens": sae_lens.__version__, "torch": torch.__version__}
        (out / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        print(f"{out}: {size:,} bytes with {versions}")


if __name__ == "__main__":
    main()
