"""Does the coefficient of JumpReLU control L0? Against the speed at which thresholds learn.

    python benchmarks/bench_jumprelu_l0.py [--threshold-lr 1 10 30] [--coefficients 0.01 0.1 1 10] [--steps 1000]

Synthetic activations: 512 directions in 32 dimensions with Zipfian frequencies, about twelve present per row, mean norm
√d_in as in training. 256 latents, batch 512, Adam at 3e-4 with warm-up and decay, thresholds starting at 0.01. A
`threshold-lr` of 1 is the naive parametrisation.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from saewidgets.config.sae import JumpReLUConfig
from saewidgets.sae import LossState, build_sae, jumprelu

D_IN, D_SAE, DIRECTIONS, PRESENT, BATCH, POOL, LR = 32, 256, 512, 12, 512, 65_536, 3e-4


def activations(rows: int, generator: torch.Generator) -> Tensor:
    """[rows, D_IN], before scaling; the directions come from the generator's first numbers."""
    directions = torch.nn.functional.normalize(torch.randn(DIRECTIONS, D_IN, generator=generator), dim=1)
    frequency = 1 / (torch.arange(DIRECTIONS) + 10.0)
    frequency *= PRESENT / frequency.sum()
    present = torch.rand(rows, DIRECTIONS, generator=generator) < frequency
    strength = 0.5 + 2 * torch.rand(rows, DIRECTIONS, generator=generator)
    return (present * strength) @ directions + 0.05 * torch.randn(rows, D_IN, generator=generator)


def train(x: Tensor, coefficient: float, steps: int, generator: torch.Generator) -> dict[str, float]:
    """Train one SAE on `x` and measure it on the last rows, which training does not see."""
    settings = JumpReLUConfig(
        d_sae=D_SAE, l0_coefficient=coefficient, threshold_parameter="log", initial_threshold=0.01
    )
    sae = build_sae(settings, D_IN, generator=generator)
    optimizer = torch.optim.Adam(sae.param_groups(LR), fused=True)
    rates = [group["lr"] for group in optimizer.param_groups]
    held_out, x = x[-4096:], x[:-4096]
    for step in range(steps):
        factor = min(1.0, (step + 1) / 50, (steps - step) / (0.2 * steps))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        start = int(torch.randint(len(x) - BATCH, (1,), generator=generator))
        loss = sae.loss(x[start : start + BATCH], step=LossState(min(1.0, (step + 1) / (0.05 * steps))))
        optimizer.zero_grad()
        loss.total.backward()
        sae.before_step()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimizer.step()
        sae.after_step()
    with torch.no_grad():
        final = sae.loss(held_out)
        residual = (final.reconstruction - held_out).pow(2).sum()
        return {
            "l0": float(final.l0),
            "fvu": float(residual / (held_out - held_out.mean(0)).pow(2).sum()),
            "threshold": float(sae.to_inference().inference_tensors()["threshold"].median()),
            "fired": int(final.fired.sum()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threshold-lr", nargs="+", type=float, default=[1, jumprelu.THRESHOLD_LR, 30])
    parser.add_argument("--coefficients", nargs="+", type=float, default=[0.01, 0.1, 1, 10])
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # small products: more threads only wait for each other
    print("| threshold learning rate | coefficient | L0 | FVU | median threshold | latents that fired |")
    print("|---|---|---|---|---|---|")
    for multiple in arguments.threshold_lr:
        jumprelu.THRESHOLD_LR = multiple
        for coefficient in arguments.coefficients:
            generator = torch.Generator().manual_seed(0)
            x = activations(POOL, generator)
            x *= D_IN**0.5 / x.norm(dim=1).mean()
            r = train(x, coefficient, arguments.steps, generator)
            print(f"| {multiple:g} × lr | {coefficient:g} | {r['l0']:.1f} | {r['fvu']:.3f} | {r['threshold']:.3f} "
                  f"| {r['fired']} of {D_SAE} |", flush=True)


if __name__ == "__main__":
    main()
