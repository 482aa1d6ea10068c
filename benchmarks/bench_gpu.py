"""Training steps of topk on a GPU beside sae-lens and sparsify (with its Triton kernels), and the share of the limit.

    python benchmarks/bench_gpu.py [--d-in 2304 --d-sae 65536 --k 64 --batch 8192] [--precision bfloat16 float32]

Each side trains through its own trainer, in a process of its own (`make peers`), a few steps at a time in turns.
`--precision` is ours and sae-lens's; sparsify computes in what its trainer chooses. The limit is what no step with
float32 weights and Adam gets around, at the rates of a product and a copy measured in the same turns: the encoder's
product, every weight with its moments and its gradient read and written, and k decoder rows per token read.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = {name: ROOT / ".venvs" / name.replace("-", "") / "bin/python" for name in ("sae-lens", "sparsify")}
ENDLESS = 100_000  # steps of the run that a measurement is the beginning of
BYTES = 4 + 16 + 12  # per weight: its gradient written; it, gradient and two moments read; it and the moments written


class Finished(Exception):  # noqa: N818 - the way out of a foreign training loop
    """The parent wants no more steps."""


def clock() -> float:
    """The time, once the GPU has done everything."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def report(seconds: float, **more: float) -> None:
    peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
    print("TURN", json.dumps({"seconds": seconds, "peak": peak, **more}), file=sys.__stdout__, flush=True)


def feed(job: Any) -> Iterator[Tensor]:
    """Batches [batch, d_in] of low rank with noise, on the GPU already; between turns it waits."""
    shapes = (8 * job.batch, 64), (64, job.d_in), (8 * job.batch, job.d_in)
    a, b, noise = (torch.randn(shape, device=job.device) for shape in shapes)
    rows = (a @ b / 8 + 0.3 * noise).split(job.batch)
    while steps := int(sys.stdin.readline() or 0):
        started = clock()
        for number in range(steps):
            yield rows[number % 8]
        report((clock() - started) / steps)
    raise Finished


def ours(job: Any) -> None:
    sys.path.insert(0, str(ROOT))
    from saewidgets.config import TrainingConfig
    from saewidgets.events import NullControl, ignore
    from saewidgets.sae import build_sae
    from saewidgets.sae.scaler import RAW
    from saewidgets.training.loop import Trainer

    config = TrainingConfig.model_validate({
        "tokens": ENDLESS * job.batch, "batch_size": job.batch, "precision": job.precision,
        "sae": {"architecture": "topk", "d_sae": job.d_sae, "k": job.k}, "checkpoints": {"every_steps": ENDLESS},
    })  # fmt: skip
    stream: Any = SimpleNamespace(batches=lambda start, check=None: (x.clone() for x in feed(job)))
    sae = build_sae(config.sae, job.d_in).to(job.device)
    Trainer(config, sae, stream, Path(tempfile.mkdtemp()), scaler=RAW, emit=ignore, control=NullControl()).run()


def saelens(job: Any) -> None:
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=job.d_in, d_sae=job.d_sae, k=job.k, device=job.device))
    config = SAETrainerConfig(
        total_training_samples=ENDLESS * job.batch, train_batch_size_samples=job.batch, device=job.device, lr=3e-4,
        lr_end=3e-5, autocast=job.precision == "bfloat16", logger=LoggingConfig(log_to_wandb=False),
    )
    SAETrainer(config, sae, feed(job)).fit()


def sparsify(job: Any) -> None:
    """Its trainer hooks a language model: here one whose only layer puts out the next batch."""
    from datasets import Dataset
    from sparsify import SparseCoderConfig, TrainConfig, Trainer

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place, self.weight, self.batches = torch.nn.Identity(), torch.nn.Parameter(torch.zeros(1)), feed(job)
            self.device = torch.device(job.device)
            self.dummy_inputs = {"input_ids": torch.zeros(1, 3, dtype=torch.long, device=job.device)}
            self.base_model = SimpleNamespace(get_submodule=self.get_submodule, named_modules=self.named_modules)

        def forward(self, input_ids: Tensor) -> Any:
            is_batch = input_ids.shape[1] == job.batch
            other = torch.zeros(*input_ids.shape, job.d_in, device=job.device)
            return self.place(next(self.batches)[None] if is_batch else other)

    rows = Dataset.from_dict({"input_ids": torch.zeros(1000, job.batch, dtype=torch.int8).numpy()})
    config = TrainConfig(
        SparseCoderConfig(num_latents=job.d_sae, k=job.k), batch_size=1, optimizer="adam", hookpoints=["place"],
        log_to_wandb=False, save_dir=tempfile.mkdtemp(), save_every=10**9, run_name="run",
    )
    Trainer(config, rows.with_format("torch"), Model().to(job.device)).fit()


def limits(job: Any) -> None:
    """Seconds of the encoder's product, and of a copy per byte that it reads or writes."""
    x, weight = (torch.randn(shape, device=job.device, dtype=getattr(torch, job.precision))
                 for shape in ((job.batch, job.d_in), (job.d_in, job.d_sae)))  # fmt: skip
    out, source = torch.mm(x, weight), torch.ones(1 << 28, device=job.device)
    copy = torch.empty_like(source)
    while steps := int(sys.stdin.readline() or 0):
        times = [clock()]
        for run in (lambda: torch.mm(x, weight, out=out), lambda: copy.copy_(source)):
            for _ in range(steps):
                run()
            times.append(clock())
        report((times[1] - times[0]) / steps, byte=(times[2] - times[1]) / steps / (2 * source.nbytes))


SIDES = {"ours": ours, "sae-lens": saelens, "sparsify": sparsify, "limits": limits}


def compare(arguments: argparse.Namespace, precision: str) -> None:
    job, sides = json.dumps({**vars(arguments), "precision": precision}), {}
    for name in SIDES:
        command = [PYTHONS.get(name, sys.executable), __file__, "SIDE", name, job]
        sides[name] = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    found: dict[str, list[Any]] = {name: [] for name in SIDES}
    for steps in [arguments.steps] * (arguments.rounds + 1) + [0]:
        for name, side in sides.items():
            print(steps, file=side.stdin, flush=True)
            line = next((line for line in side.stdout if line.startswith("TURN ")), None) if steps else ""
            if line is None:
                sys.exit(f"{name} ended with exit code {side.wait()}; why stands above.")
            found[name] += [json.loads(line[5:])] if steps else []
    seconds = {name: [each["seconds"] for each in turns[1:]] for name, turns in found.items()}  # the first warms up
    copied = arguments.batch * arguments.k * arguments.d_in * getattr(torch, precision).itemsize
    copied += BYTES * 2 * arguments.d_in * arguments.d_sae
    least = [each["seconds"] + copied * each["byte"] for each in found["limits"][1:]]
    for name in ("ours", *PYTHONS):
        rates = [arguments.batch / each for each in seconds[name]]
        ratio, share = (statistics.median(a / b for a, b in zip(*pair, strict=True))
                        for pair in ((seconds[name], seconds["ours"]), (least, seconds[name])))  # fmt: skip
        print(f"| {precision} | {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) "
              f"| {ratio:.2f}x | {found[name][-1]['peak']:.1f} | {share:.0%} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("d-in", 2304), ("d-sae", 65_536), ("k", 64), ("batch", 8192), ("rounds", 5), ("steps", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", nargs="+", default=["bfloat16", "float32"], choices=["bfloat16", "float32"])
    parser.add_argument("--device", default="cuda", help="cpu: to try the script itself")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device here: nothing to measure.")
        return
    if missing := [python for python in PYTHONS.values() if not python.exists()]:
        sys.exit(f"There is no {missing[0].relative_to(ROOT)}: run `make peers` first.")
    where = "the CPU" if arguments.device == "cpu" else torch.cuda.get_device_name()
    print(f"{time.strftime('%Y-%m-%d')}, {where}, torch {torch.__version__}: {arguments.d_in}→{arguments.d_sae:,}, "
          f"k {arguments.k}, batch {arguments.batch:,}\n\n| precision | side | tokens/s (range) | ours to it | peak GB "
          "| of the limit |\n|---|---|---|---|---|---|")  # fmt: skip
    for precision in arguments.precision:
        compare(arguments, precision)


if __name__ == "__main__":
    if sys.argv[1:2] != ["SIDE"]:
        main()
    else:
        os.environ |= {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
        sys.stdout = sys.stderr  # what a package prints is not an answer
        try:
            SIDES[sys.argv[2]](SimpleNamespace(**json.loads(sys.argv[3])))
        except Finished:
            pass
