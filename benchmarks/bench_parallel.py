"""Training steps on one and two workers, and the cost model of docs/scale.md beside what was measured.

    python benchmarks/bench_parallel.py [--d-in 512] [--latents 1024 4096 16384] [--batches 1024 4096] [--steps 8]

Workers are processes with one thread each, so that two of them have twice the processor of one; rows are random, the
architecture is topk with k = 32. The model: a step on two workers takes half of one worker's time, and its bytes over
the bandwidth that an all-reduce of 64 MB has here; by data, what does not grow with the batch (Adam) is not halved.
Parts of the latents are trained by plain torch operations, as on a GPU, so their one worker is, too. Times are medians
over steps.
"""

import argparse
import multiprocessing as mp
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

K = 32
MESHES = [(2, 1), (1, 2)]
PROBE = 1 << 24  # numbers of the all-reduce that shows the bandwidth


class Rows:
    """Random batches, the same on every worker."""

    def __init__(self, batch: int, d_in: int) -> None:
        self.batch, self.d_in = batch, d_in

    def batches(self, start: int, check: Any = None) -> Any:
        import torch

        generator = torch.Generator().manual_seed(start)
        while True:
            yield torch.randn(self.batch, self.d_in, generator=generator)


Shapes = list[tuple[int, int, int]]  # d_in, d_sae, rows of a batch


def work(
    rank: int, port: int, data: int, latents: int, shapes: Shapes, steps: int, out: Any, plain: bool
) -> None:
    import torch

    from saewidgets.config import TrainingConfig
    from saewidgets.events import NullControl
    from saewidgets.sae import SAE, build_sae
    from saewidgets.sae.mesh import ALONE, Mesh, dist
    from saewidgets.sae.scaler import RAW
    from saewidgets.training.loop import Trainer

    torch.set_num_threads(1)
    if plain:
        SAE._fast_path = lambda self, x, target: False  # type: ignore[method-assign]
    mesh = ALONE
    if data * latents > 1:
        store = dist.TCPStore("127.0.0.1", port, is_master=rank == 0, wait_for_workers=False)
        mesh = Mesh.join(store, rank, data, latents, "cpu")
    found: dict[Any, float] = {}
    for d_in, d_sae, batch in shapes:
        sae = {"architecture": "topk", "d_sae": d_sae, "k": K}
        config = TrainingConfig(sae=sae, tokens=batch * 100, batch_size=batch, log_every_steps=1000)
        model = build_sae(config.sae, d_in, initialise=False, mesh=mesh)
        model.reset_parameters(torch.Generator().manual_seed(0))
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                config, model, Rows(batch, d_in), Path(folder), scaler=RAW, emit=lambda event: None,  # type: ignore[arg-type]
                control=NullControl(),
            )
            each, times = trainer.each_step(), []
            for _ in range(steps + 1):
                begun = time.perf_counter()
                next(each)
                times.append(time.perf_counter() - begun)
        found[d_in, d_sae, batch] = statistics.median(times[1:])
    if mesh.size > 1:
        probe, times = torch.ones(PROBE), []
        for _ in range(5):
            begun = time.perf_counter()
            mesh.world.add(probe)
            times.append(time.perf_counter() - begun)
        found["bytes per second"] = 4 * PROBE / statistics.median(times)
    if rank == 0:
        out.put(found)


def run(data: int, latents: int, shapes: Shapes, steps: int, port: int, plain: bool = False) -> dict[Any, float]:
    context = mp.get_context("spawn")
    out = context.Queue()
    workers = [
        context.Process(target=work, args=(rank, port, data, latents, shapes, steps, out, plain))
        for rank in range(data * latents)
    ]  # fmt: skip
    for worker in workers:
        worker.start()
    found: dict[Any, float] = out.get()
    for worker in workers:
        worker.join()
    return found


def wire(data: int, latents: int, d_in: int, d_sae: int, batch: int) -> int:
    """Bytes that are summed over the workers in a step: gradients, or reconstructions and each row's candidates."""
    gradients = 4 * 2 * d_in * d_sae if data > 1 else 0
    codes = 4 * batch * (d_in + K) if latents > 1 else 0
    return gradients + codes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--d-in", type=int, default=512)
    parser.add_argument("--latents", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--batches", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    shapes = [(given.d_in, d_sae, batch) for d_sae in given.latents for batch in given.batches]
    one = {mesh: run(1, 1, shapes, given.steps, 0, plain=mesh[1] > 1) for mesh in MESHES}
    found = {mesh: run(*mesh, shapes, given.steps, 29_570 + number) for number, mesh in enumerate(MESHES)}
    speed = found[2, 1]["bytes per second"]
    print(f"all-reduce of {4 * PROBE >> 20} MB over 2 workers: {speed / 1e9:.2f} GB/s\n")
    print("| d_sae | batch | one worker | data=2 | expected | one worker, plain | latents=2 | expected |")
    print("|---|---|---|---|---|---|---|---|")
    few, many = min(given.batches), max(given.batches)
    for d_in, d_sae, batch in shapes:
        times = []
        for mesh in MESHES:
            alone, fixed = one[mesh][d_in, d_sae, batch], 0.0
            if mesh[0] > 1 and many > few:
                first, last = (one[mesh][d_in, d_sae, rows] for rows in (few, many))
                fixed = max(0.0, (first * many - last * few) / (many - few))
            expected = fixed + (alone - fixed) / 2 + wire(*mesh, d_in, d_sae, batch) / speed
            times += [alone, found[mesh][d_in, d_sae, batch], expected]
        print(f"| {d_sae:,} | {batch:,} | {' | '.join(f'{1e3 * each:.0f} ms' for each in times)} |")


if __name__ == "__main__":
    main()
