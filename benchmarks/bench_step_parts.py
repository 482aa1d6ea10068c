"""What one training step of ours is made of: milliseconds, bytes or operations, and the share of the machine's limit.

    python benchmarks/bench_step_parts.py [--d-in 768 --d-sae 16384 --k 32] [--precision bfloat16]

topk through the real trainer, two threads. The limit is the rate of the encoder's product by itself, and for all else
that of a copy of memory; tables that fit into a cache pass it.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from saewidgets.config import TrainingConfig
from saewidgets.events import NullControl, ignore
from saewidgets.products import product
from saewidgets.sae import build_sae, topk
from saewidgets.sae.kernels import select, sparse
from saewidgets.sae.scaler import RAW
from saewidgets.training.loop import Trainer


class Enough(Exception):  # noqa: N818 - the way out of the training loop
    """All steps were taken."""


class Clock:
    """Seconds per step of the calls that it wraps, each without those inside of it."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._inner = [0.0]

    def wrap(self, place: Any, name: str, part: str) -> None:
        real: Callable[..., Any] = getattr(place, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            self._inner.append(0.0)
            try:
                return real(*args, **kwargs)
            finally:
                took = time.perf_counter() - started
                self.steps[-1][part] += took - self._inner.pop()
                self._inner[-1] += took

        setattr(place, name, timed)


def seconds(run: Callable[[], object]) -> float:
    found = []
    for _ in range(6):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"d-in": 768, "d-sae": 16_384, "k": 32, "batch": 4096, "steps": 12}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    a = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    rows = torch.randn(4 * a.batch, 64) @ torch.randn(64, a.d_in) / 8 + 0.3 * torch.randn(4 * a.batch, a.d_in)
    config = TrainingConfig.model_validate({
        "tokens": 100_000 * a.batch, "batch_size": a.batch, "precision": a.precision, "log_every_steps": 1000,
        "checkpoints": {"every_steps": 100_000}, "sae": {"architecture": "topk", "d_sae": a.d_sae, "k": a.k},
    })  # fmt: skip
    clock, ends = Clock(), []

    def batches(start: int, check: object = None) -> Iterator[torch.Tensor]:
        for step in range(a.steps + 3):
            ends.append(time.perf_counter())
            clock.steps.append(defaultdict(float))
            yield rows[step % 4 * a.batch :][: a.batch].clone()
        raise Enough

    sae = build_sae(config.sae, a.d_in, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        stream: Any = SimpleNamespace(batches=batches)
        trainer = Trainer(config, sae, stream, Path(folder), scaler=RAW, emit=ignore, control=NullControl())
        for place, name, part in (
            (topk, "topk_code", "encoder's product"), (select, "grouped_topk", "selection"),
            (sparse, "bag_sum", "sums of rows"), (sparse, "bag_sum_and_dots", "sums of rows"),
            (sae, "before_step", "projection"), (trainer.adam, "clip", "norm and clipping"),
            (trainer.adam.optimizer, "step", "Adam"), (sae, "after_step", "decoder norms"),
        ):  # fmt: skip
            clock.wrap(place, name, part)
        with suppress(Enough):
            trainer.run()
    whole = median(end - start for start, end in pairwise(ends[3:]))

    dtype = getattr(torch, a.precision)
    x, weight, memory = rows[: a.batch].to(dtype), sae.W_enc.detach().to(dtype), torch.ones(1 << 26)
    operations = 2 * a.batch * a.d_in * a.d_sae
    peak = operations / seconds(lambda: [product(part, weight) for part in x.split(256)])
    other = torch.empty_like(memory)
    bandwidth = 2 * memory.nbytes / seconds(lambda: other.copy_(memory))
    matrix, read = 4 * a.d_in * a.d_sae, 4 * a.batch * a.k * a.d_in
    moved = {  # by the least passes that the part could do with
        "selection": 4 * a.batch * a.d_sae, "sums of rows": 5 * read + 2 * matrix, "projection": 3 * matrix,
        "norm and clipping": 4 * matrix, "Adam": 14 * matrix, "decoder norms": 2 * matrix,
    }
    print(f"topk {a.d_in} → {a.d_sae:,}, k = {a.k}, batch {a.batch:,}, {a.precision}: {1e3 * whole:.0f} ms a step, "
          f"{a.batch / whole:,.0f} tokens/s; product {peak / 1e9:,.0f} GFLOP/s, copy {bandwidth / 1e9:.0f} GB/s")
    print("| part | ms | of the step | moves or computes | of the limit |\n|---|---|---|---|---|")
    rest = whole
    for part in ("encoder's product", *moved):
        took = median(step[part] for step in clock.steps[2:])
        if took < 5e-5:  # of some architectures, and in some part of a run
            continue
        rest -= took
        work, limit = (f"{moved[part] / 1e6:,.0f} MB", moved[part] / bandwidth) if part in moved else (
            f"{operations / 1e9:,.0f} GFLOP", operations / peak)
        print(f"| {part} | {1e3 * took:.0f} | {took / whole:.0%} | {work} | {limit / took:.0%} |")
    print(f"| everything else | {1e3 * rest:.0f} | {rest / whole:.0%} | | |")


if __name__ == "__main__":
    main()
