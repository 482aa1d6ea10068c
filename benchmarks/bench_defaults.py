"""What every architecture leaves with the settings it starts from: L0, FVU, dead latents and CE recovered.

    python benchmarks/bench_defaults.py                                       # the table of docs/architectures/index.md
    python benchmarks/bench_defaults.py --archs gated --coefficients 0.5 1 2  # the table of docs/architectures/gated.md
    python benchmarks/bench_defaults.py --set sae.decoder_init_norm=1         # any other setting, for all of them

The embedded model, what its second block passes on; transcoders read the input of that block's MLP and reconstruct its
output. Width, batch, steps and learning rate are those given here, everything else is the default. All SAEs are one
group: they read the same batches of one forward. L0, FVU and CE recovered are those of the exported SAE on held-out
text; dead are latents that did not fire in the last quarter of the training.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import saewidgets as sw
from saewidgets.cli.configfile import assignment, build_config

ARCHITECTURES = (
    "standard", "topk", "batchtopk", "matryoshka", "jumprelu", "gated", "skip", "transcoder", "skip_transcoder"
)
PLACE = "blocks.1.hook_resid_post"
MLP = ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out")
COEFFICIENTS = ("l1_coefficient", "l0_coefficient")


def configuration(arch: str, sae: dict[str, Any], arguments: argparse.Namespace) -> sw.TrainingConfig:
    """One training of the group."""
    hooks = dict(zip(("hook_name", "hook_name_out"), MLP if "transcoder" in arch else (PLACE, None), strict=True))
    never = 10**9
    return build_config({
        **hooks, "tokens": arguments.tokens, "batch_size": arguments.batch, "dead_window_tokens": arguments.tokens // 4,
        "optimizer": {"lr": arguments.lr}, "seed": arguments.seed,
        "sae": {"architecture": arch, "d_sae": arguments.d_sae, **sae},
        "evaluation": {"every_steps": never, "tokens": 4096}, "checkpoints": {"every_steps": never},
    }, map(assignment, arguments.set))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", default=ARCHITECTURES, choices=ARCHITECTURES)
    parser.add_argument("--coefficients", nargs="+", type=float, default=[], help="of the penalty; else its own")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--lr", type=float, help="default: that of a run of this size")
    parser.add_argument("--d-sae", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="changes to all configurations")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    configs = []
    for arch in arguments.archs:
        plain = configuration(arch, {}, arguments)
        name = next((name for name in COEFFICIENTS if hasattr(plain.sae, name)), None)
        values = arguments.coefficients if name else []
        configs += [configuration(arch, {name: value}, arguments) for value in values] or [plain]
    base = configs[0]
    over = {"sae, hook_name, hook_name_out": [(each.sae, each.hook_name, each.hook_name_out) for each in configs]}
    print("| architecture | setting | L0 | FVU | dead | CE recovered |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as home, sw.Workspace(home) as ws:
        begun = time.perf_counter()
        group = ws.trainings.create_many(base, over)
        group.wait()
        for config, run in zip(configs, group.runs, strict=True):
            found, dead = ws.evaluate(run, tokens=16_384), run.metrics(["dead"])["value"].iloc[-1]
            given = ((each, getattr(config.sae, each, None)) for each in (*COEFFICIENTS, "k"))
            steered = ("target_l0", getattr(config.sae, "aim", None))
            name, value = next((each for each in given if each[1] is not None), steered)
            print(f"| `{config.sae.architecture}` | `{name}` {value:g} | {found['l0']:.1f} | "
                  f"{found['fvu']:.3f} | {100 * dead:.1f} % | {found['ce_loss_score']:.3f} |", flush=True)  # fmt: skip
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
