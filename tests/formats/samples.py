"""One small, valid SAE per format, for tests that go through all formats."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

D_IN, D_SAE = 8, 16


def rand(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape) + len(shape))
    return torch.rand(shape, generator=generator) * 0.5 + 0.1


def weights(*extra: str) -> dict[str, Tensor]:
    """SAELens' names and orientation."""
    return {
        "W_enc": rand(D_IN, D_SAE), "b_enc": rand(D_SAE), "W_dec": rand(D_SAE, D_IN), "b_dec": rand(D_IN),
        **{name: rand(D_SAE) for name in extra},
    }


def linear(bias: str = "decoder.bias") -> dict[str, Tensor]:
    """Torch's linear layers, which lie the other way."""
    return {
        "encoder.weight": rand(D_SAE, D_IN), "encoder.bias": rand(D_SAE), "decoder.weight": rand(D_IN, D_SAE),
        bias: rand(D_IN),
    }


def write(folder: Path, config: dict[str, Any] | None, file: str, tensors: dict[str, Tensor], **more: Any) -> Path:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / more.pop("config_file", "config.json")).write_text(json.dumps(config))
    save_file(tensors, folder / file, **more)
    return folder


def saelens(root: Path) -> Path:
    config = {
        "architecture": "jumprelu", "d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": "blocks.1.hook_resid_post"},
    }
    return write(root, config, "sae_weights.safetensors", weights("threshold"), config_file="cfg.json")


def saelens_legacy(root: Path) -> Path:
    config = {
        "architecture": "standard", "d_in": D_IN, "d_sae": D_SAE, "dtype": "torch.float32", "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 4}, "apply_b_dec_to_input": True, "normalize_activations": "layer_norm",
        "hook_name": "blocks.1.hook_resid_post", "model_name": "gpt2",
    }
    return write(root, config, "sae_weights.safetensors", weights(), config_file="cfg.json")


def gemma_scope(root: Path) -> Path:
    folder = root / "gemma-scope-2b-pt-res" / "layer_3" / "average_l0_50"
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **{name: tensor.numpy() for name, tensor in weights("threshold").items()})
    return folder


def gemma_scope_2(root: Path) -> Path:
    config = {
        "architecture": "jump_relu", "model_name": "google/gemma-3-1b-pt", "width": D_SAE, "l0": 20,
        "hf_hook_point_in": "model.layers.3.output", "affine_connection": False, "type": "sae",
    }
    return write(
        root, config, "params.safetensors", {name.lower(): tensor for name, tensor in weights("threshold").items()}
    )


def mistudio_community(root: Path) -> Path:
    config = {
        "architecture": "jumprelu", "d_in": D_IN, "d_sae": D_SAE, "normalize_activations": "none",
        "mistudio_training_id": "train_1", "extra_metadata": {"top_k": None},
    }
    return write(root, config, "sae_weights.safetensors", weights("threshold"), config_file="cfg.json")


def mistudio(root: Path) -> Path:
    tensors = {f"model.{name}": tensor for name, tensor in linear().items()} | {"model.decoder_bias": rand(D_IN)}
    metadata = {"step": "100", "architecture": "SparseAutoencoder", "layer_idx": "3", "hook_type": "residual"}
    return write(root, {"normalize_activations": "none"}, "checkpoint.safetensors", tensors, metadata=metadata)


def sparsify(root: Path) -> Path:
    config = {"activation": "topk", "expansion_factor": 2, "num_latents": 0, "k": 4, "d_in": D_IN}
    tensors = {
        "encoder.weight": rand(D_SAE, D_IN), "encoder.bias": rand(D_SAE), "W_dec": rand(D_SAE, D_IN),
        "b_dec": rand(D_IN),
    }
    return write(root / "layers.3", config, "sae.safetensors", tensors, config_file="cfg.json")


def dictionary_learning(root: Path) -> Path:
    trainer = {
        "trainer_class": "BatchTopKTrainer", "dict_class": "BatchTopKSAE", "activation_dim": D_IN,
        "dict_size": D_SAE,
        "k": 4, "layer": 3, "lm_name": "gpt2", "submodule_name": "resid_post_layer_3",
    }
    (root / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    scalars = {"k": torch.tensor(4, dtype=torch.int32), "threshold": torch.tensor(0.2)}
    torch.save(linear("b_dec") | scalars, root / "ae.pt")
    return root


def llama_scope(root: Path) -> Path:
    config = {
        "d_model": D_IN, "d_sae": D_SAE, "hook_point_in": "blocks.3.hook_resid_post", "jump_relu_threshold": 0.1,
        "dataset_average_activation_norm": {"in": 3.0, "out": 3.0},
    }
    return write(root, config, "checkpoints/final.safetensors", linear(), config_file="hyperparams.json")


def llama_scope_r1(root: Path) -> Path:
    config = {
        "d_model": D_IN, "expansion_factor": D_SAE // D_IN, "hook_point_in": "blocks.3.hook_resid_post",
        "norm_activation": "inference",
    }
    return write(root, config, "sae_weights.safetensors", linear() | {"log_jumprelu_threshold": rand(D_SAE)})


def llamascopium(root: Path) -> Path:
    config = {
        "sae_type": "sae", "d_model": D_IN, "expansion_factor": D_SAE // D_IN, "act_fn": "relu",
        "use_decoder_bias": True, "hook_point_in": "blocks.3.hook_resid_post",
        "hook_point_out": "blocks.3.hook_resid_post",
        "norm_activation": "inference", "sparsity_include_decoder_norm": True,
    }
    tensors = {"W_E": rand(D_IN, D_SAE), "b_E": rand(D_SAE), "W_D": rand(D_SAE, D_IN), "b_D": rand(D_IN)}
    return write(root, config, "sae_weights.safetensors", tensors)


def qwen_scope(root: Path) -> Path:
    folder = root / "SAE-Res-Qwen3-1.7B-Base-W1K-L0_4"
    folder.mkdir()
    tensors = {"W_enc": rand(1024, D_IN), "b_enc": rand(1024), "W_dec": rand(D_IN, 1024), "b_dec": rand(D_IN)}
    torch.save(tensors, folder / "layer3.sae.pt")
    return folder / "layer3.sae.pt"


def ghosttrack(root: Path) -> Path:
    state = {
        "threshold": torch.tensor(0.1), "W_enc.weight": rand(D_SAE, D_IN), "W_enc.bias": rand(D_SAE),
        "W_dec.weight": rand(D_IN, D_SAE), "W_dec.bias": rand(D_IN),
    }
    history = {"train_loss": [0.5, 0.25], "lr": [1e-3, 1e-4]}
    checkpoint = {
        "layer_idx": 3, "epoch": 2, "model_state_dict": state, "best_loss": 0.25, "history": history,
        "optimizer_state_dict": {"state": {0: {"step": torch.tensor(4.0)}}, "param_groups": [{"betas": (0.9, 0.99)}]},
        "scheduler_state_dict": {"T_max": 10},
    }
    torch.save(checkpoint, root / "sae_layer_3_best.pt")
    return root / "sae_layer_3_best.pt"


def openai(root: Path) -> Path:
    folder = root / "gpt2-small" / "resid_post_mlp_v5_32k" / "autoencoders"
    folder.mkdir(parents=True)
    checkpoint = {
        "pre_bias": rand(D_IN), "encoder.weight": rand(D_SAE, D_IN), "latent_bias": rand(D_SAE),
        "decoder.weight": rand(D_IN, D_SAE), "stats_last_nonzero": torch.zeros(D_SAE, dtype=torch.int64),
        "activation": "TopK", "activation_state_dict": {"k": 4, "postact_fn": "ReLU"},
    }
    torch.save(checkpoint, folder / "3.pt")
    return folder / "3.pt"


def _single(path: Path, tensors: dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path)
    return path


def goodfire(root: Path) -> Path:
    tensors = {name.replace(".", "_linear."): tensor for name, tensor in linear().items()}
    return _single(root / "Llama-3.1-8B-Instruct-SAE-l19.pth", tensors)


def deepseek_r1(root: Path) -> Path:
    return _single(root / "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt", linear())


def connor_rob(root: Path) -> Path:
    stem = "gpt2-small_L5_Hcat_z_lr1.20e-03_l11.00e+00_ds16_v9"
    config = {"act_size": D_IN, "dict_size": D_SAE, "act_name": "blocks.5.attn.hook_z", "l1_coeff": 1.0}
    (root / f"{stem}_cfg.json").write_text(json.dumps(config))
    return _single(root / f"{stem}.pt", weights())


def circuit_tracer(root: Path) -> Path:
    folder = root / "mwhanna" / "qwen3-4b-transcoders"
    folder.mkdir(parents=True)
    config = {
        "model_name": "Qwen/Qwen3-4B", "model_kind": "transcoder_set", "feature_input_hook": "mlp.hook_in",
        "feature_output_hook": "hook_mlp_out",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    tensors = weights()
    save_file(tensors | {"W_enc": tensors["W_enc"].T.contiguous()}, folder / "layer_3.safetensors")
    return folder / "layer_3.safetensors"


def temporal(root: Path) -> Path:
    folder = root / "gemma-2-2B" / "layer_12" / "temporal"
    folder.mkdir(parents=True)
    config = {
        "llm": {"dimin": D_IN, "name": "google/gemma-2-2b"}, "data": {"dtype": "float32"},
        "sae": {
            "exp_factor": D_SAE // D_IN, "n_heads": 2, "n_attn_layers": 1, "bottleneck_factor": 4,
            "sae_diff_type": "topk", "kval_topk": 4, "tied_weights": True, "scaling_factor": 0.5,
        },
    }
    (folder / "conf.yaml").write_text(yaml.safe_dump(config))
    tensors = {"D": rand(D_SAE, D_IN), "b": rand(D_IN)}
    for name, width in (("k_ctx", D_SAE // 4), ("q_target", D_SAE // 4), ("v_ctx", D_SAE), ("c_proj", D_SAE)):
        tensors |= {f"attn_layers.0.{name}.weight": rand(width, D_SAE), f"attn_layers.0.{name}.bias": rand(width)}
    save_file(tensors, folder / "latest_ckpt.safetensors")
    return folder


def dictionary_learning_checkpoint(root: Path) -> Path:
    whole = dictionary_learning(root)
    path = root / "checkpoints" / "ae_1000.pt"
    path.parent.mkdir()
    (whole / "ae.pt").rename(path)
    return path


# Each makes an SAE in the folder it is given and returns the path to load.
SAMPLES: dict[str, Callable[[Path], Path]] = {
    make.__name__: make
    for make in (
        saelens, saelens_legacy, gemma_scope, gemma_scope_2, mistudio_community, mistudio, sparsify,
        dictionary_learning, dictionary_learning_checkpoint, llama_scope, llama_scope_r1, llamascopium, qwen_scope,
        ghosttrack, openai, goodfire, deepseek_r1, connor_rob, circuit_tracer, temporal,
    )
}
