"""Remake tests/golden/saelens_inference: small SAEs of every architecture that the real `sae-lens` package can load,
saved by it, with an input `x`, its latents `f` and its whole reconstruction `y` (as ``sae(x)``, so with skip connection
and temporal prediction).

Run inside an environment with sae-lens (`make peers` builds it):

    .venvs/saelens/bin/python tools/golden_saelens_inference.py

One folder per SAE: cfg.json, sae_weights.safetensors, expected.safetensors. Folder names: the architecture, then what
differs from its defaults.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import sae_lens
import sae_lens.saes as lens
import torch
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "saelens_inference"
D_IN, D_SAE, D_OUT, HEADS, ROWS = 16, 48, 20, 4, 12
COMMON = {"d_in": D_IN, "d_sae": D_SAE, "device": "cpu", "dtype": "float32"}
NORMALISED = {
    "layer_norm": {"normalize_activations": "layer_norm"},
    "constant_norm": {"normalize_activations": "constant_norm_rescale"},
}
HOOK_Z = {"hook_z": {"reshape_activations": "hook_z"}}
RAW = {"raw_input": {"apply_b_dec_to_input": False}}
BOTH = {"hook_z_layer_norm": {"normalize_activations": "layer_norm", "reshape_activations": "hook_z"}}
RESCALED = {"rescaled": {"k": 5, "rescale_acts_by_decoder_norm": True}}
TRANSCODER = {"d_out": D_OUT, "apply_b_dec_to_input": False}
TEMPORAL = {"n_heads": 2, "bottleneck_factor": 4, "kval_topk": 5}

# architecture → (SAE class, its configuration's class, settings, name of a variant → more settings)
SAES: dict[str, tuple[Any, Any, dict[str, Any], dict[str, dict[str, Any]]]] = {
    "standard": (lens.StandardSAE, lens.StandardSAEConfig, {}, NORMALISED | HOOK_Z | RAW | BOTH),
    "topk": (lens.TopKSAE, lens.TopKSAEConfig, {"k": 5}, NORMALISED | HOOK_Z | RAW | BOTH | RESCALED),
    "abstopk": (lens.AbsTopKSAE, lens.AbsTopKSAEConfig, {"k": 5}, NORMALISED | HOOK_Z | RAW | BOTH | RESCALED),
    "jumprelu": (lens.JumpReLUSAE, lens.JumpReLUSAEConfig, {}, NORMALISED | HOOK_Z | RAW | BOTH),
    "gated": (lens.GatedSAE, lens.GatedSAEConfig, {}, NORMALISED | HOOK_Z | RAW | BOTH),
    "matching_pursuit": (
        lens.MatchingPursuitSAE, lens.MatchingPursuitSAEConfig, {},
        NORMALISED | HOOK_Z | RAW | BOTH | {
            "three_picks": {"max_iterations": 3},
            "repeats": {"stop_on_duplicate_support": False, "residual_threshold": 0.5},
        },
    ),
    "transcoder": (lens.Transcoder, lens.TranscoderConfig, TRANSCODER, NORMALISED),
    "skip_transcoder": (lens.SkipTranscoder, lens.SkipTranscoderConfig, TRANSCODER, NORMALISED),
    "jumprelu_transcoder": (lens.JumpReLUTranscoder, lens.JumpReLUTranscoderConfig, TRANSCODER, NORMALISED),
    "jumprelu_skip_transcoder": (
        lens.JumpReLUSkipTranscoder, lens.JumpReLUSkipTranscoderConfig, TRANSCODER, NORMALISED
    ),
    "temporal": (
        lens.TemporalSAE, lens.TemporalSAEConfig, TEMPORAL,
        NORMALISED | RAW | {
            "scaled": {"normalize_activations": "constant_scalar_rescale", "activation_normalization_factor": 0.3},
            "untied_relu_two_layers": {
                "tied_weights": False, "sae_diff_type": "relu", "n_attn_layers": 2, "apply_b_dec_to_input": False,
            },
        },
    ),
}


def shake(sae: torch.nn.Module, seed: int) -> None:
    """Weights in general position: biases, decoder norms and thresholds all count."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name == "threshold":
                parameter.copy_(0.3 + 0.2 * noise.abs())
            elif name == "W_dec" and isinstance(sae, lens.MatchingPursuitSAE):
                parameter.copy_(noise / noise.norm(dim=1, keepdim=True))  # else residuals grow
            else:
                parameter.copy_(0.4 * noise)


def inputs(settings: dict[str, Any], architecture: str) -> torch.Tensor:
    shape: tuple[int, ...] = (ROWS, D_IN)
    if settings.get("reshape_activations") == "hook_z":
        shape = (ROWS, HEADS, D_IN // HEADS)
    if architecture == "temporal":
        shape = (2, ROWS // 2, D_IN)
    return 0.2 + 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(100))


def write(name: str, architecture: str, settings: dict[str, Any], seed: int) -> None:
    sae_class, config_class, always, _ = SAES[architecture]
    settings = COMMON | always | settings
    sae = sae_class(config_class(**settings))
    hook_z = settings.get("reshape_activations") == "hook_z"
    sae.cfg.metadata.model_name = "gpt2"
    sae.cfg.metadata.hook_name = "blocks.3.attn.hook_z" if hook_z else "blocks.3.hook_resid_post"
    shake(sae, seed)
    sae.save_model(OUT / name)
    sae = lens.SAE.load_from_disk(OUT / name, device="cpu")  # as a user would meet it
    if hook_z and not sae.hook_z_reshaping_mode:
        raise SystemExit(f"{name}: heads are not flattened")
    x = inputs(settings, architecture)
    with torch.no_grad():
        f, y = sae.encode(x), sae(x)
    if not f.any() or f.all():
        raise SystemExit(f"{name}: latents say nothing")
    save_file({"x": x, "f": f.contiguous(), "y": y.contiguous()}, OUT / name / "expected.safetensors")


def main() -> None:
    torch.manual_seed(0)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    seed = 0
    for architecture, (_, _, _, variants) in SAES.items():
        for variant, settings in ({"": {}} | variants).items():
            seed += 1
            write("_".join(filter(None, [architecture, variant])), architecture, settings, seed)
    versions = {"sae_lens": sae_lens.__version__, "torch": torch.__version__}
    (OUT / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{OUT}: {seed} SAEs, {size:,} bytes with {versions}")


if __name__ == "__main__":
    main()
