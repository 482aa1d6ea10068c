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
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import sides
import torch
from turns import Case, activations, machine_limits

from saewidgets.sae import topk
from saewidgets.sae.kernels import select, sparse


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"d-in": 768, "d-sae": 16_384, "k": 32, "batch": 4096, "steps": 12}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    a = parser.parse_args()
    torch.set_num_threads(2)
    case = Case("topk", (), a.precision, d_in=a.d_in, d_sae=a.d_sae, batch=a.batch, k=a.k)
    clock, ends = Clock(), []

    with tempfile.TemporaryDirectory() as folder:
        data = activations(Path(folder), a.d_in)
        limits = machine_limits(case, data)
        rows = torch.from_numpy(np.load(data))

        def batches() -> Iterator[torch.Tensor]:
            for step in range(a.steps + 3):
                ends.append(time.perf_counter())
                clock.steps.append(defaultdict(float))
                yield rows[step % (len(rows) // a.batch) * a.batch :][: a.batch]
            raise sides.Finished

        run, model = sides.ours(sides.Job(**case.job(data)), batches())
        trainer, sae = run.__self__, model()
        for place, name, part in (
            (topk, "topk_code", "encoder's product"), (select, "grouped_topk", "selection"),
            (sparse, "bag_sum", "sums of rows"), (sparse, "bag_sum_and_dots", "sums of rows"),
            (sae, "before_step", "projection"), (trainer.adam, "clip", "norm and clipping"),
            (trainer.adam.optimizer, "step", "Adam"), (sae, "after_step", "decoder norms"),
        ):  # fmt: skip
            clock.wrap(place, name, part)
        with suppress(sides.Finished):
            run()
    whole = median(end - start for start, end in pairwise(ends[3:]))

    operations = 2 * a.batch * a.d_in * a.d_sae
    peak = operations / min(each["seconds" if a.precision == "float32" else "bfloat16"] for each in limits)
    bandwidth = 1 / min(each["byte"] for each in limits)
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
