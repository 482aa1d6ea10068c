"""Remake tests/golden/saelens: what the real `sae-lens` package saves and computes, for tests that run without it.

Run inside an environment with sae-lens (`make peers` builds it):

    .venvs/saelens/bin/python tools/golden_saelens.py

Written are, per architecture, an SAE saved for inference with an input and its latents and reconstruction, and one
training batch with its loss terms and gradients.
"""

import json
import shutil
from pathlib import Path

import sae_lens
import sae_lens.saes as lens
import torch
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "saelens"
D_IN, D_SAE, ROWS = 16, 48, 24
COMMON = {"d_in": D_IN, "d_sae": D_SAE, "device": "cpu", "dtype": "float32"}


def shake(sae: torch.nn.Module, seed: int, unit_rows: bool = False) -> None:
    """Weights in general position."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 + 0.2 * noise.abs() if name == "threshold" else 0.4 * noise)
        if unit_rows:
            sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)


def batch(seed: int) -> torch.Tensor:
    return torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(seed))


def inference() -> None:
    saes = {
        "standard": lens.StandardSAE(lens.StandardSAEConfig(**COMMON)),
        "standard_raw_input": lens.StandardSAE(lens.StandardSAEConfig(**COMMON, apply_b_dec_to_input=False)),
        "topk": lens.TopKSAE(lens.TopKSAEConfig(**COMMON, k=5)),
        "topk_rescaled": lens.TopKSAE(lens.TopKSAEConfig(**COMMON, k=5, rescale_acts_by_decoder_norm=True)),
        "jumprelu": lens.JumpReLUSAE(lens.JumpReLUSAEConfig(**COMMON)),
    }
    for seed, (name, sae) in enumerate(saes.items()):
        sae.cfg.metadata.hook_name = "blocks.3.hook_resid_post"
        sae.cfg.metadata.model_name = "gpt2"
        shake(sae, seed)
        if name == "jumprelu":
            sae.threshold.data[:4] = 0.0  # latents that are plain ReLUs
        write(name, sae)
    # a BatchTopK as SAELens exports it: a JumpReLU with one threshold
    trained = lens.BatchTopKTrainingSAE(lens.BatchTopKTrainingSAEConfig(**COMMON, k=5))
    shake(trained, 9)
    trained.topk_threshold.fill_(0.8)
    folder = OUT / "batchtopk_exported"
    trained.save_inference_model(folder)
    record(folder, lens.SAE.load_from_disk(folder, device="cpu"))


def write(name: str, sae: lens.SAE) -> None:
    sae.save_model(OUT / name)
    record(OUT / name, sae)


def record(folder: Path, sae: lens.SAE) -> None:
    x = batch(100)
    with torch.no_grad():
        f = sae.encode(x)
        save_file({"x": x, "f": f.contiguous(), "y": sae.decode(f).contiguous()}, folder / "expected.safetensors")


def training() -> None:
    aux = {"aux_loss_coefficient": 0.25, "rescale_acts_by_decoder_norm": False}
    anthropic = {
        "jumprelu_sparsity_loss_mode": "tanh", "pre_act_loss_coefficient": 0.2, "jumprelu_ste_to_input": True
    }
    jumprelu = {"tanh": {"jumprelu_sparsity_loss_mode": "tanh"}, "anthropic": anthropic, "quadratic": {
        "jumprelu_sparsity_loss_mode": "quadratic", "target_l0": 6, "jumprelu_ste_to_input": True
    }}  # fmt: skip
    nested = {**COMMON, "k": 5, **aux, "matryoshka_widths": [10, 30, D_SAE]}
    saes = {
        "standard": lens.StandardTrainingSAE(lens.StandardTrainingSAEConfig(**COMMON, l1_coefficient=0.7)),
        "topk": lens.TopKTrainingSAE(lens.TopKTrainingSAEConfig(**COMMON, k=5, **aux)),
        "batchtopk": lens.BatchTopKTrainingSAE(lens.BatchTopKTrainingSAEConfig(**COMMON, k=5, **aux)),
        "jumprelu": lens.JumpReLUTrainingSAE(
            lens.JumpReLUTrainingSAEConfig(**COMMON, l0_coefficient=0.6, jumprelu_bandwidth=0.3)
        ),
        "standard_lp": lens.StandardTrainingSAE(
            lens.StandardTrainingSAEConfig(**COMMON, l1_coefficient=0.7, lp_norm=0.6)
        ),
        "gated": lens.GatedTrainingSAE(lens.GatedTrainingSAEConfig(**COMMON, l1_coefficient=0.7)),
        "matryoshka": lens.MatryoshkaBatchTopKTrainingSAE(lens.MatryoshkaBatchTopKTrainingSAEConfig(**nested)),
        "matryoshka_aux_per_width": lens.MatryoshkaBatchTopKTrainingSAE(
            lens.MatryoshkaBatchTopKTrainingSAEConfig(**nested, use_matryoshka_aux_loss=True)
        ),
        **{
            f"jumprelu_{name}": lens.JumpReLUTrainingSAE(
                lens.JumpReLUTrainingSAEConfig(**COMMON, l0_coefficient=0.6, jumprelu_bandwidth=0.3, **settings)
            )
            for name, settings in jumprelu.items()
        },
        **normalised(aux),
    }
    for seed, (name, sae) in enumerate(saes.items()):
        shake(sae, 20 + seed)
        x = batch(200 + seed)
        dead = torch.arange(D_SAE) % 4 == 0
        if sae.cfg.normalize_activations != "none":
            x, dead = 3 * x + 1, torch.zeros(D_SAE, dtype=torch.bool)  # their auxiliary loss refuses to be normalised
        coefficients = {key: getattr(value, "value", value) for key, value in sae.get_coefficients().items()}
        out = sae.training_forward_pass(
            lens.sae.TrainStepInput(
                sae_in=x, coefficients=coefficients, dead_neuron_mask=dead, n_training_steps=0, is_logging_step=False
            )
        )
        out.loss.backward()
        tensors = {"x": x, "dead": dead, "loss": out.loss.detach(), "reconstruction": out.sae_out.detach()}
        tensors |= {f"term.{key}": torch.as_tensor(value).detach().float() for key, value in out.losses.items()}
        for key, parameter in sae.named_parameters():
            tensors[f"weight.{key}"] = parameter.detach()
            tensors[f"grad.{key}"] = parameter.grad
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, OUT / f"training_{name}.safetensors")


def normalised(aux: dict) -> dict[str, lens.TrainingSAE]:
    """Architectures that sae-lens can train with a normalisation at run time."""
    layer_norm, rescale = (
        {**COMMON, "normalize_activations": kind} for kind in ("layer_norm", "constant_norm_rescale")
    )
    standard, topk = lens.StandardTrainingSAEConfig, lens.TopKTrainingSAEConfig
    jumprelu = {"l0_coefficient": 0.6, "jumprelu_bandwidth": 0.3}
    return {
        "standard_layer_norm": lens.StandardTrainingSAE(standard(**layer_norm, l1_coefficient=0.7)),
        "standard_rescaled": lens.StandardTrainingSAE(standard(**rescale, l1_coefficient=0.7)),
        "jumprelu_layer_norm": lens.JumpReLUTrainingSAE(lens.JumpReLUTrainingSAEConfig(**layer_norm, **jumprelu)),
        "jumprelu_rescaled": lens.JumpReLUTrainingSAE(lens.JumpReLUTrainingSAEConfig(**rescale, **jumprelu)),
        "topk_layer_norm": lens.TopKTrainingSAE(topk(**layer_norm, k=5, **aux)),
        "batchtopk_rescaled": lens.BatchTopKTrainingSAE(lens.BatchTopKTrainingSAEConfig(**rescale, k=5, **aux)),
    }


def main() -> None:
    torch.manual_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    for path in OUT.iterdir():  # other scripts keep files of their own beside these
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name.startswith("training_"):
            path.unlink()
    inference()
    training()
    versions = {"sae_lens": sae_lens.__version__, "torch": torch.__version__}
    (OUT / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{OUT}: {size:,} bytes with {versions}")


if __name__ == "__main__":
    main()
