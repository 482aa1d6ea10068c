"""What torch.compile gains: for the language model (`model_compile`), and for the autoencoder's step, which has no such
setting.

    python benchmarks/bench_compile.py [--arch topk standard jumprelu] [--d-in 256 --d-sae 4096]

Both sides run in one process and take turns, so that whatever else the machine does meets both; the ratio is the
median over turns. The step is the loss and its backward as the training loop calls them, without Adam. Compiling
itself is timed, and not in the ratios. Nothing is measured on a GPU where there is none: say --device cuda:0.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    arguments = parsed()
    sys.path.insert(0, str(ROOT))
    import torch

    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.device}, {arguments.threads} threads, {arguments.rounds} turns\n")
    print("| what | eager | compiled | eager / compiled (range) | compiling |")
    print("|---|---|---|---|---|")
    model(arguments)
    for name in arguments.arch:
        step(name, arguments)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--arch", nargs="+", default=["topk", "standard", "jumprelu"])
    parser.add_argument("--d-in", type=int, default=256)
    parser.add_argument("--d-sae", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def model(arguments: argparse.Namespace) -> None:
    """The embedded model up to its third block, as training reads it."""
    import torch

    from saewidgets.lm import capture, load_model
    from saewidgets.lm.compiling import compile_blocks

    hook = "blocks.2.hook_resid_post"
    plain, other = (load_model("demo", device=arguments.device).model for _ in range(2))
    ids = torch.arange(16 * 256).view(16, 256) % 1000
    begin = time.perf_counter()
    compiled = compile_blocks(other, [hook], "default", (16, 256))
    took = time.perf_counter() - begin
    if compiled.problem is not None:
        print(f"| language model | | | not compiled: {compiled.problem} | |")
        return
    row("language model", lambda: capture(plain, [hook], ids), lambda: capture(other, [hook], ids), took, arguments)


def step(name: str, arguments: argparse.Namespace) -> None:
    """Loss and backward of one architecture."""
    import torch

    from saewidgets.sae import LossState, create_sae

    device, generator = arguments.device, torch.Generator().manual_seed(0)
    settings: dict[str, Any] = {"k": 32} if "topk" in name else {}
    sae = create_sae(name, arguments.d_in, d_sae=arguments.d_sae, **settings).to(device)
    x = torch.randn(arguments.batch, arguments.d_in, generator=generator).to(device)
    state = LossState(1.0, torch.zeros(arguments.d_sae, dtype=torch.bool, device=device))

    def total(x: torch.Tensor) -> torch.Tensor:
        return sae.loss(x, step=state).total

    compiled = torch.compile(total)

    def run(loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
        loss(x).backward()
        sae.zero_grad(set_to_none=True)

    begin = time.perf_counter()
    try:
        run(compiled)
    except Exception as error:  # noqa: BLE001 - torch's own, whatever it is, and the result of this row
        print(f"| step of {name} | | | does not compile: {type(error).__name__}: {str(error).splitlines()[0]} | |")
        return
    row(f"step of {name}", lambda: run(total), lambda: run(compiled), time.perf_counter() - begin, arguments)


def row(
    name: str, eager: Callable[[], object], compiled: Callable[[], object], took: float, arguments: argparse.Namespace
) -> None:
    for each in (eager, compiled):
        each()
    pairs = [(seconds(eager, arguments), seconds(compiled, arguments)) for _ in range(arguments.rounds)]
    ratios = [one / other for one, other in pairs]
    one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"| {name} | {one * 1e3:.0f} ms | {other * 1e3:.0f} ms | {ratio} | {took:.0f} s |", flush=True)


def seconds(run: Callable[[], object], arguments: argparse.Namespace) -> float:
    import torch

    begin = time.perf_counter()
    run()
    if arguments.device.startswith("cuda"):
        torch.cuda.synchronize(arguments.device)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
