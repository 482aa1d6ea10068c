"""What steering costs: `generate` of transformers without and with it, and side by side with a baseline.

    python benchmarks/bench_steering.py [--tokens 100] [--rounds 7] [--d-sae 4096]

The demo model on the CPU, greedy, one sequence with a cache, a random SAE at block 2. The ways take turns; the table
gives processor seconds per round (other programs disturb them least) and, against plain `generate` of the same round,
the median ratio and its range. `steer` writes two texts and reads both with both models, so its plain cost is twice
that of `generate`.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from saewidgets.config.steering import SteeringFeature  # noqa: E402 - after the path
from saewidgets.lm import load_model  # noqa: E402
from saewidgets.sae import inference_sae  # noqa: E402
from saewidgets.steering import SteeringSource, steer, steered  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--d-sae", type=int, default=4096)
    args = parser.parse_args()
    lm = load_model("demo")
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / 16

    weights = {
        "W_enc": noise(256, args.d_sae), "b_enc": noise(args.d_sae), "W_dec": noise(args.d_sae, 256),
        "b_dec": noise(256),
    }
    sae = SteeringSource(inference_sae("standard", 256, weights), "blocks.2.hook_resid_post")
    ids = torch.tensor([[0, *lm.tokenizer.encode("In the morning the old man", add_special_tokens=False)]])
    add = [SteeringFeature(index=5, strength=0.5, mode="add")]
    clamp = [SteeringFeature(index=n, strength=0.5, mode="clamp") for n in range(3)]

    def plain(features: list[SteeringFeature] | None) -> Callable[[], Any]:
        def run() -> Any:
            kwargs: dict[str, Any] = {"max_new_tokens": args.tokens, "min_new_tokens": args.tokens, "do_sample": False}
            if features is None:
                return lm.model.generate(ids, attention_mask=torch.ones_like(ids), **kwargs)
            with steered(lm, features, sae=sae):
                return lm.model.generate(ids, attention_mask=torch.ones_like(ids), **kwargs)

        return run

    ways: dict[str, Callable[[], Any]] = {
        "generate": plain(None),
        "generate, strength 0": plain([SteeringFeature(index=5, strength=0, mode="add")]),
        "generate, one feature added": plain(add),
        "generate, three features clamped": plain(clamp),
        "steer (baseline and steered, with numbers)": lambda: steer(
            lm, sae, clamp, ids[0].tolist(), new_tokens=args.tokens, temperature=0
        ),
    }
    for run in ways.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, run in ways.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    print(f"{args.tokens} new tokens, {args.d_sae:,} latents, {torch.get_num_threads()} threads\n")
    print("| way | processor s | against generate (range) |\n|---|---|---|")
    for name, times in seconds.items():
        ratios = [own / base for own, base in zip(times, seconds["generate"], strict=True)]
        shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {statistics.median(times):.2f} | {shown} |")


if __name__ == "__main__":
    main()
