"""Writes `tests/golden/saelens_evals/`: a tiny GPT-2, SAEs on it, and what SAELens' own evaluation says of them.

    .venvs/saelens/bin/python tools/golden_saelens_evals.py
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from sae_lens.evals import get_eval_everything_config, run_evals
from sae_lens.training.activation_scaler import ActivationScaler
from safetensors.torch import save_file
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import GPT2Config, GPT2LMHeadModel

TARGET = Path(__file__).parent.parent / "tests" / "golden" / "saelens_evals"
MODEL = {"vocab_size": 40, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
SPECIAL = 0  # the token that is left out in one of the two evaluations
D_SAE = 48
RESIDUAL, HEADS = "blocks.0.hook_resid_post", "blocks.1.attn.hook_z"
CASES: dict[str, dict[str, Any]] = {
    "topk": {"architecture": "topk", "k": 6, "hook_name": RESIDUAL},
    "standard": {"architecture": "standard", "hook_name": RESIDUAL},
    "jumprelu": {"architecture": "jumprelu", "hook_name": RESIDUAL},
    "hook_z": {"architecture": "standard", "hook_name": HEADS, "reshape_activations": "hook_z"},
    "head": {"architecture": "standard", "hook_name": "blocks.0.attn.hook_z", "hook_head_index": 1},
}
OF_THE_PLACE = ("hook_name", "hook_head_index")
GROUPS = ("model_behavior_preservation", "model_performance_preservation", "reconstruction_quality", "shrinkage",
          "sparsity")  # fmt: skip


class OneBatch:
    """Stands in for the store of activations: evaluation asks it for tokens only."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self.tokens, self.context_size, self.store_batch_size_prompts = tokens, tokens.shape[1], len(tokens)

    def get_batch_tokens(self, batch_size: int) -> torch.Tensor:
        return self.tokens

    def reset_input_dataset(self) -> None:
        pass


def hooked(model: GPT2LMHeadModel) -> HookedTransformer:
    """The same model as TransformerLens computes it."""
    config = HookedTransformerConfig(
        n_layers=MODEL["n_layer"], d_model=MODEL["n_embd"], n_ctx=MODEL["n_positions"], n_heads=MODEL["n_head"],
        d_head=MODEL["n_embd"] // MODEL["n_head"], d_vocab=MODEL["vocab_size"], d_mlp=4 * MODEL["n_embd"],
        act_fn="gelu_new", normalization_type="LN", original_architecture="GPT2LMHeadModel", device="cpu",
    )
    found = HookedTransformer(config)
    found.load_and_process_state_dict(
        convert_gpt2_weights(model, config), fold_ln=False, center_writing_weights=False, center_unembed=False,
        fold_value_biases=False,
    )
    return found.eval()


def autoencoder(case: dict[str, Any], generator: torch.Generator) -> Any:
    """An SAE of random weights."""
    place = {key: case[key] for key in OF_THE_PLACE if key in case}
    settings = {
        "d_in": MODEL["n_embd"] // (MODEL["n_head"] if "hook_head_index" in case else 1), "d_sae": D_SAE,
        "dtype": "float32", "device": "cpu", "metadata": {"model_name": "gpt2", **place, "context_size": 12},
        **{key: value for key, value in case.items() if key not in place},
    }  # fmt: skip
    sae = SAE.from_dict(settings)
    with torch.no_grad():
        for name, parameter in sorted(sae.named_parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if parameter.dim() > 1 else 0.1))
            if name == "threshold":
                parameter.abs_()
    return sae.eval()


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    model = GPT2LMHeadModel(GPT2Config(**MODEL)).eval()
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    weights = {name: value.clone() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, TARGET / "model.safetensors")
    tokens = torch.randint(1, MODEL["vocab_size"], (6, 12), generator=generator)
    tokens[:, 0] = SPECIAL
    tokens[3, 7] = SPECIAL
    lens = hooked(model)
    with torch.no_grad():
        assert torch.allclose(lens(tokens), model(tokens).logits, atol=1e-4)
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        sae = autoencoder(case, generator)
        sae.save_model(TARGET / name)
        head = f".{case['hook_head_index']}" if "hook_head_index" in case else ""
        found[name] = {"hook_name": case["hook_name"] + head}  # as it is called here
        for key, exclude in (("all", False), ("without_special", [SPECIAL])):
            metrics, features = run_evals(
                sae, OneBatch(tokens), lens, ActivationScaler(), get_eval_everything_config(len(tokens), 1, 1), {},
                exclude,
            )
            numbers = {figure: value for group in GROUPS for figure, value in metrics[group].items()}
            found[name][key] = numbers | {"feature_density": features["feature_density"]}
    data = {"model": MODEL, "special": SPECIAL, "tokens": tokens.tolist(), "cases": found}
    (TARGET / "expected.json").write_text(json.dumps(data) + "\n")


if __name__ == "__main__":
    main()
