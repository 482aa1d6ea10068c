"""Several layers from one job: how long the language model works, against the deepest of them alone.

    python benchmarks/bench_group.py [--layers 1 2 3] [--tokens 65536] [--evaluations 10] [--evaluation-tokens 2048]
                                     [--rounds 3] [--device cpu]

The embedded model, one topk autoencoder per layer, `run_group` of all layers and of the deepest in turns; ratios are
medians over turns. The clock runs inside the model's blocks only and is kept apart for what trains (with the measuring
of the scales) and for evaluations, of which there are many more per token than by default, so that they can be
measured; one row weighs both as a run of the default length does. On a CPU seconds are those of the processor, so that
other programs count little; the load is printed.
"""

import argparse
import functools
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BATCH = 2048
DOCUMENTS = 60  # of the embedded corpus: text repeats, packing is not what is measured


class Clock:
    """Seconds inside the blocks of a model, by the phase that a run is in.

    What is hooked behind a block (an autoencoder in place of its output, say) does not count.
    """

    def __init__(self, model: Any) -> None:
        import torch

        from saewidgets.lm import find_blocks

        self.phase, self.seconds, self.calls = "", {"training": 0.0, "evaluating": 0.0}, 0
        self._cuda = next(model.parameters()).is_cuda
        self._wait = torch.cuda.synchronize
        self.now = time.perf_counter if self._cuda else time.process_time
        for number, block in enumerate(find_blocks(model)):
            block.forward = functools.partial(self._timed, block.forward, number)

    def _timed(self, inner: Any, number: int, *args: Any, **kwargs: Any) -> Any:
        begun = self.now()
        found = inner(*args, **kwargs)
        if self._cuda:
            self._wait()
        of = "evaluating" if self.phase == "evaluating" else "training"
        self.seconds[of] += self.now() - begun
        self.calls += of == "training" and number == 0
        return found

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

    every = max(1, arguments.tokens // BATCH // arguments.evaluations)
    text = tuple(document.text for document in itertools.islice(demo.documents("train"), DOCUMENTS))
    base = TrainingConfig.model_validate({
        "model": "demo", "corpus": TextCorpus(strings=text), "context_size": 256, "tokens": arguments.tokens,
        "batch_size": BATCH, "device": arguments.device,
        "sae": {"architecture": "topk", "d_sae": arguments.d_sae, "k": 16},
        "activations": {"model_batch_size": 16, "shuffle_tokens": 16_384, "norm_tokens": 4096},
        "evaluation": {"every_steps": every, "tokens": arguments.evaluation_tokens},
        "checkpoints": {"every_steps": 10**6},
    })  # fmt: skip
    return expand(base, {"hook_name": [f"blocks.{layer}.hook_resid_post" for layer in sorted(arguments.layers)]})


def measured(configs: list[Any], lm: Any, clock: Clock, folder: Path, tokens_folder: Path) -> dict[str, float]:
    """Seconds in the model, and of the whole job."""
    from saewidgets.training import Task, run_group

    begun = clock.now()
    tasks = [Task(config, folder / str(number), clock.emit) for number, config in enumerate(configs)]
    run_group(tasks, tokens_folder=tokens_folder, model=lm)
    return {**clock.take(), "job": clock.now() - begun}


def with_sums(seconds: dict[str, float], arguments: argparse.Namespace) -> dict[str, float]:
    """Also training and evaluations together: as they were, and as often as a run of the default length evaluates."""
    from saewidgets.config import TrainingConfig

    usual = TrainingConfig()
    training, evaluating = seconds["training"], seconds["evaluating"]
    longer, wider = usual.tokens / arguments.tokens, usual.evaluation.tokens / arguments.evaluation_tokens
    return {**seconds, "both": training + evaluating, "usual": training * longer + evaluating * wider}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tokens", type=int, default=65_536)
    parser.add_argument("--evaluations", type=int, default=10, help="on the way; one more at the end")
    parser.add_argument("--evaluation-tokens", type=int, default=2048)
    parser.add_argument("--d-sae", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import torch

    from saewidgets.lm import load_model

    configs = configurations(arguments)
    lm = load_model("demo", device=arguments.device)
    clock = Clock(lm.model)
    together, single = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured([configs[-1].replace(tokens=8192)], lm, clock, folder / "warm", folder / "tokens")
        for turn in range(arguments.rounds):
            for found, some, kind in ((single, configs[-1:], "single"), (together, configs, "together")):
                seconds = measured(some, lm, clock, folder / f"{kind}{turn}", folder / "tokens")
                found.append(with_sums(seconds, arguments))
    number = len(configs)
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    print(f"| seconds, median of {arguments.rounds} | layer {max(arguments.layers)} alone | {number} layers, one job "
          f"| ratio (range) |\n|---|---|---|---|")  # fmt: skip
    rows = {
        "language model, training": "training", "language model, evaluations": "evaluating",
        "language model, both": "both", "both, in a run of the default length": "usual", "whole job": "job",
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
