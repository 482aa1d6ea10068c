"""Several layers from one job: how long the language model works, against the deepest of them alone.

    python benchmarks/bench_group.py [--layers 1 2 3] [--tokens 65536] [--rounds 3] [--device cpu]

The embedded model, one topk autoencoder per layer, `run_group` of all layers and of the deepest in turns; the ratio is
the median over turns. The clock runs inside the model's forward only and is kept apart for what trains (with the
measuring of the scales) and for evaluations, of which each autoencoder needs its own. All other time is the
autoencoders' and the files'. On a CPU seconds are those of the processor, so that other programs do not count.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = 60  # of the embedded corpus: text repeats, packing is not what is measured


class Clock:
    """Seconds inside the forward of a model, by the phase that a run is in."""

    def __init__(self, model: Any) -> None:
        import torch

        self.phase, self.seconds, self.calls = "", {"training": 0.0, "evaluating": 0.0}, 0
        inner, cuda = model.forward, next(model.parameters()).is_cuda
        self.now = time.perf_counter if cuda else time.process_time

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = self.now()
            try:
                return inner(*args, **kwargs)
            finally:  # a forward is left by an exception at the deepest hook point
                if cuda:
                    torch.cuda.synchronize()
                of = "evaluating" if self.phase == "evaluating" else "training"
                self.seconds[of] += self.now() - begun
                self.calls += of == "training"

        model.forward = timed

    def emit(self, event: Any) -> None:
        """Follow the phases."""
        self.phase = getattr(event, "phase", self.phase)

    def take(self) -> dict[str, float]:
        """What was counted since the last time."""
        found = {**self.seconds, "calls": float(self.calls)}
        self.seconds, self.calls = dict.fromkeys(self.seconds, 0.0), 0
        return found


def configurations(arguments: argparse.Namespace) -> list[Any]:
    """One training per layer, shallow first."""
    from saewidgets import demo
    from saewidgets.config import TextCorpus, TrainingConfig
    from saewidgets.config.group import expand

    text = tuple(document.text for document in itertools.islice(demo.documents("train"), DOCUMENTS))
    base = TrainingConfig.model_validate({
        "model": "demo", "corpus": TextCorpus(strings=text), "context_size": 256, "tokens": arguments.tokens,
        "batch_size": 2048, "device": arguments.device,
        "sae": {"architecture": "topk", "d_sae": arguments.d_sae, "k": 16},
        "activations": {"model_batch_size": 16, "shuffle_tokens": 16_384, "norm_tokens": 4096},
        "evaluation": {"every_steps": 10**6, "tokens": 4096}, "checkpoints": {"every_steps": 10**6},
    })  # fmt: skip
    return expand(base, {"hook_name": [f"blocks.{layer}.hook_resid_post" for layer in sorted(arguments.layers)]})


def measured(configs: list[Any], lm: Any, clock: Clock, folder: Path, tokens_folder: Path) -> dict[str, float]:
    """Seconds in the model, and of the whole job."""
    from saewidgets.training import Task, run_group

    begun = clock.now()
    tasks = [Task(config, folder / str(number), clock.emit) for number, config in enumerate(configs)]
    run_group(tasks, tokens_folder=tokens_folder, model=lm)
    return {**clock.take(), "job": clock.now() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tokens", type=int, default=65_536)
    parser.add_argument("--d-sae", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from saewidgets.demo import resolve_model
    from saewidgets.lm import load_model

    configs = configurations(arguments)
    lm = load_model(resolve_model("demo"), device=arguments.device, name="demo")
    clock = Clock(lm.model)
    together, single = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured([configs[-1].replace(tokens=8192)], lm, clock, folder / "warm", folder / "tokens")
        for turn in range(arguments.rounds):
            single.append(measured(configs[-1:], lm, clock, folder / f"single{turn}", folder / "tokens"))
            together.append(measured(configs, lm, clock, folder / f"together{turn}", folder / "tokens"))
    number = len(configs)
    print(f"| seconds, median of {arguments.rounds} | layer {max(arguments.layers)} alone | {number} layers, one job "
          f"| ratio (range) |\n|---|---|---|---|")  # fmt: skip
    rows = {
        "language model, training": "training", "language model, evaluations": "evaluating", "whole job": "job",
        "forwards of training": "calls",
    }  # fmt: skip
    for label, key in rows.items():
        a, b = [each[key] for each in single], [each[key] for each in together]
        ratios = [y / x for x, y in zip(a, b, strict=True)]
        low, high = min(ratios), max(ratios)
        middle = statistics.median(ratios)
        print(f"| {label} | {statistics.median(a):.2f} | {statistics.median(b):.2f} "
              f"| {middle:.2f}x ({low:.2f} to {high:.2f}) |")  # fmt: skip


if __name__ == "__main__":
    main()
