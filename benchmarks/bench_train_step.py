"""One training step, side by side with the real sae-lens: tokens/s, ratio, peak memory, and the machine's limit.

    python benchmarks/bench_train_step.py [--arch topk standard jumprelu batchtopk] [--d-in 768 --d-sae 16384]

Both run in one go, each in its own process and environment (`make peers` builds the other one), on the same
activations and with two threads. They take turns, a few steps at a time, so that whatever else the machine does meets
both; the ratio is the median over turns. sae-lens is driven through its own trainer. Ours is what the training loop
does per step: loss, backward, projection, clipping, fused Adam, normalisation. A plain matrix product of the encoder's
size takes turns too: a dense step is five of them, so its rate bounds every method that computes all latents.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from saelens_peer import PYTHON, ROOT, required_python, training_config

ROWS = 16_384


# --- a worker: one library in one process -----------------------------------------------------------------------------


class Finished(Exception):  # noqa: N818 - the way out of a foreign training loop
    """The parent asked for no more steps."""


class Feed:
    """Batches for a training loop, handed out in turns: at the end of a turn it reports and waits for the next."""

    def __init__(self, x: Any, batch: int) -> None:
        self.x, self.batch, self.position = x, batch, 0
        self.left, self.steps, self.started = 0, 0, 0.0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.left == 0:
            if self.steps:
                report(seconds=time.perf_counter() - self.started, steps=self.steps)
            self.left = self.steps = int(sys.stdin.readline() or 0)
            if self.steps == 0:
                raise Finished
            self.started = time.perf_counter()
        self.left -= 1
        if self.position + self.batch > len(self.x):
            self.position = 0
        block = self.x[self.position : self.position + self.batch]
        self.position += self.batch
        return block


def report(**values: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print("TURN", json.dumps(values | {"peak_mb": peak}), flush=True)


def worker(arguments: argparse.Namespace) -> None:
    import numpy as np
    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    feed = Feed(torch.from_numpy(np.load(arguments.data)), arguments.batch)
    run: Callable[[argparse.Namespace, Feed], None] = {"ours": ours, "sae-lens": peer, "gemm": gemm}[arguments.worker]
    try:
        run(arguments, feed)
    except Finished:
        return


def ours(arguments: argparse.Namespace, feed: Feed) -> None:
    sys.path.insert(0, str(ROOT))
    import torch

    from saewidgets.sae import LossState, create_sae

    settings = {"k": arguments.k} if "topk" in arguments.arch[0] else {}
    sae = create_sae(arguments.arch[0], arguments.d_in, d_sae=arguments.d_sae, **settings)
    optimizer = torch.optim.Adam(sae.param_groups(3e-4), fused=True)
    since_fired = torch.zeros(sae.d_sae, dtype=torch.int64)
    for x in feed:
        loss = sae.loss(x, step=LossState(1.0, since_fired > 1_000_000))
        since_fired = torch.where(loss.fired, 0, since_fired + len(x))
        loss.total.backward()
        sae.before_step()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        sae.after_step()


def peer(arguments: argparse.Namespace, feed: Feed) -> None:
    os.environ.setdefault("WANDB_MODE", "disabled")
    import sae_lens.saes as lens
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    kind = {
        "standard": lens.StandardTrainingSAE, "topk": lens.TopKTrainingSAE, "batchtopk": lens.BatchTopKTrainingSAE,
        "jumprelu": lens.JumpReLUTrainingSAE,
    }[arguments.arch[0]]
    sae = kind(training_config(arguments.arch[0], arguments.d_in, arguments.d_sae, arguments.k))
    config = SAETrainerConfig(
        total_training_samples=10**9, train_batch_size_samples=arguments.batch, device="cpu", lr=3e-4, lr_end=3e-5,
        autocast=False, dead_feature_window=1000, logger=LoggingConfig(log_to_wandb=False),
    )
    SAETrainer(config, sae, feed).fit()


def gemm(arguments: argparse.Namespace, feed: Feed) -> None:
    import torch

    weight = torch.randn(arguments.d_in, arguments.d_sae)
    out = torch.empty(arguments.batch, arguments.d_sae)
    for x in feed:
        torch.mm(x, weight, out=out)


# --- the parent -------------------------------------------------------------------------------------------------------


class Runner:
    """A worker process that waits for its turns."""

    def __init__(self, name: str, python: Path, arguments: argparse.Namespace, arch: str, data: Path) -> None:
        command = [
            str(python), __file__, "--worker", name, "--arch", arch, "--data", str(data),
            "--batch", str(arguments.batch), "--d-in", str(arguments.d_in), "--d-sae", str(arguments.d_sae),
            "--k", str(arguments.k), "--threads", str(arguments.threads),
        ]
        # threads wait asleep: spinning at a barrier whose other thread was descheduled measures the neighbours
        environment = os.environ | {
            "OMP_NUM_THREADS": str(arguments.threads), "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1",
        }
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment,
        )

    def turn(self, steps: int) -> dict[str, float]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("TURN "):
                result: dict[str, float] = json.loads(line[5:])
                return result
        sys.exit(f"The {self.name} worker ended with exit code {self.process.wait()}.")

    def close(self) -> None:
        self.process.communicate("0\n")


def compare(arch: str, arguments: argparse.Namespace, data: Path) -> None:
    here = Path(sys.executable)
    runners = [Runner("ours", here, arguments, arch, data), Runner("sae-lens", PYTHON, arguments, arch, data),
               Runner("gemm", here, arguments, arch, data)]
    seconds: dict[str, list[float]] = {runner.name: [] for runner in runners}
    peak: dict[str, float] = {}
    for number in range(arguments.rounds + 1):
        for runner in runners:
            result = runner.turn(arguments.steps)
            peak[runner.name] = result["peak_mb"]
            if arguments.verbose:
                print(f"  turn {number} {runner.name}: {result['seconds']:.2f} s", file=sys.stderr, flush=True)
            if number > 0:  # the first turn warms up
                seconds[runner.name].append(result["seconds"] / result["steps"])
    for runner in runners:
        runner.close()

    ratios = [theirs / mine for mine, theirs in zip(seconds["ours"], seconds["sae-lens"], strict=True)]
    rate = {name: arguments.batch / statistics.median(values) for name, values in seconds.items()}
    gflops = 2 * arguments.d_in * arguments.d_sae * rate["gemm"] / 1e9
    print(
        f"| {arch} | {rate['ours']:,.0f} | {rate['sae-lens']:,.0f} | {statistics.median(ratios):.2f}x "
        f"({min(ratios):.2f} to {max(ratios):.2f}) | {peak['ours']:,.0f} | {peak['sae-lens']:,.0f} | "
        f"{peak['ours'] / peak['sae-lens']:.0%} | {gflops:,.0f} | {rate['gemm'] / 5:,.0f} |", flush=True,
    )


def activations(path: Path, d_in: int) -> None:
    """Low-rank structure plus noise, mean norm √d_in."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 64)) @ rng.standard_normal((64, d_in)) / 8 + 0.3 * rng.standard_normal((ROWS, d_in))
    x *= d_in**0.5 / np.linalg.norm(x, axis=1).mean()
    np.save(path, x.astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", default=["topk", "standard", "jumprelu", "batchtopk"])
    parser.add_argument("--d-in", type=int, default=768)
    parser.add_argument("--d-sae", type=int, default=16_384)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns that count, after one that warms up")
    parser.add_argument("--steps", type=int, default=1, help="steps per turn")
    parser.add_argument("--verbose", action="store_true", help="print every turn")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return
    required_python()
    print(f"{arguments.d_in} → {arguments.d_sae:,}, batch {arguments.batch:,}, {arguments.threads} threads, float32, "
          f"load {os.getloadavg()[0]:.1f}")
    print("| architecture | ours tok/s | sae-lens tok/s | ratio (range) | ours peak MB | sae-lens peak MB | memory "
          "| GEMM GFLOP/s | dense limit tok/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "activations.npy"
        activations(data, arguments.d_in)
        for arch in arguments.arch:
            compare(arch, arguments, data)


if __name__ == "__main__":
    main()
