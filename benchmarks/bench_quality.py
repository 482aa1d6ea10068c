"""How good the autoencoders are that training leaves, side by side with the real sae-lens: FVU at equal sparsity.

    python benchmarks/bench_quality.py [--tokens 1000000] [--seeds 0 1 2] [--archs topk batchtopk jumprelu standard]

Activations of the embedded model are captured once; both trainers then read the same batches in the same order, with
the same width, warm-up, decay and number of steps, and everything else at their own defaults. Each side takes the
learning rate of `--lrs` with which its first seed ends best. What they leave is saved in inference form, loaded by
this package and measured on the same held-out activations. Where a coefficient decides the sparsity, each side looks
for the one that gives the wanted L0 (at most `--tries` runs), and its FVU is read off at exactly that L0 along the
line through the nearest runs on both sides of it in log-log space. sae-lens's JumpReLU thresholds hardly move in a run
this short, so it also chooses where they start; "not reached" is said of what ends far from the wanted L0. `--ours
NAME=VALUE` changes a setting of ours. Needs `make peers`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from saelens_peer import ROOT, required_python, training_config

LAYER, HELD_OUT = 1, 65_536
COEFFICIENTS = {"standard": "l1_coefficient", "jumprelu": "l0_coefficient"}
NEAR = 0.02  # this close to the wanted L0 no further run is made
FAR = 0.15  # and a line through runs none of which came this close says nothing
PEER_STARTS = {"jumprelu": (0.01, 0.1, 0.3)}  # initial thresholds that sae-lens chooses from, the first its default


@dataclass(frozen=True)
class Job:
    """One training."""

    arch: str
    seed: int
    coefficient: float | None
    k: int
    d_sae: int
    batch: int
    steps: int
    lr: float
    data: str
    out: str
    changes: tuple[str, ...]  # to our configuration, as ``--set`` of the command line takes them
    threshold: float | None  # where sae-lens's thresholds start

    @property
    def warm_up(self) -> int:
        return min(1000, self.steps // 20)

    @property
    def decay(self) -> int:
        return self.steps // 5


class Found(NamedTuple):
    """What a training left at the wanted L0."""

    fvu: float  # at exactly that L0
    l0: float  # of the nearest run
    coefficient: float | None

    def reached(self, wanted: float) -> bool:
        """Whether a run came near the wanted L0."""
        return abs(self.l0 / wanted - 1) < FAR


def batches(job: Job) -> Iterator[Any]:
    """The training batches in the order of this seed, as float32 tensors."""
    import numpy as np
    import torch

    rows = np.load(Path(job.data) / "train.npy", mmap_mode="r")
    order = np.random.default_rng(job.seed).permutation(job.steps)
    for number in order:
        yield torch.from_numpy(np.array(rows[number * job.batch : (number + 1) * job.batch]))


def ours(job: Job) -> None:
    """Train with this package's loop."""
    sys.path.insert(0, str(ROOT))
    import torch

    from saewidgets.cli.configfile import assignment, build_config
    from saewidgets.events import NullControl, ignore
    from saewidgets.formats import save_sae
    from saewidgets.sae import build_sae
    from saewidgets.sae.scaler import Scaler
    from saewidgets.training.export import exported
    from saewidgets.training.loop import Trainer

    settings: dict[str, Any] = {"k": job.k} if "topk" in job.arch else {}
    if job.coefficient is not None:
        settings[COEFFICIENTS[job.arch]] = job.coefficient
    config = build_config({
        "tokens": job.steps * job.batch, "batch_size": job.batch, "seed": job.seed,
        "sae": {"architecture": job.arch, "d_sae": job.d_sae, **settings},
        "optimizer": {"lr": job.lr, "lr_warm_up_steps": job.warm_up, "lr_decay_steps": job.decay},
        "checkpoints": {"every_steps": 10**9},
    }, map(assignment, job.changes))  # fmt: skip

    class Stream:
        def batches(self, start: int, check: Any = None) -> Iterator[Any]:
            yield from batches(job)

    sample = next(batches(job))
    scaler = Scaler(sample.shape[1] ** 0.5 / float(sample.norm(dim=1).mean()))
    sae = build_sae(config.sae, sample.shape[1], generator=torch.Generator().manual_seed(job.seed))
    trainer = Trainer(
        config, sae, Stream(), Path(job.out) / "run", scaler=scaler, emit=ignore, control=NullControl(), evaluate=None
    )
    trainer.run()
    save_sae(exported(sae, scaler), Path(job.out) / "sae", format="saelens")


def peer(job: Job) -> None:
    """Train with sae-lens's own trainer."""
    os.environ |= {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
    import torch
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes import sae as base
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(job.seed)
    sample = next(batches(job))
    config = training_config(job.arch, sample.shape[1], job.d_sae, job.k)
    if job.coefficient is not None:
        setattr(config, COEFFICIENTS[job.arch], job.coefficient)
    if job.threshold is not None:
        config.jumprelu_init_threshold = job.threshold
    if job.arch == "standard":
        config.l1_warm_up_steps = job.warm_up
    if job.arch == "jumprelu":
        config.l0_warm_up_steps = job.warm_up
    sae = base.TrainingSAE.get_sae_class_for_architecture(job.arch)(config)
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=job.steps * job.batch, train_batch_size_samples=job.batch, lr=job.lr, lr_end=0.0,
            lr_warm_up_steps=job.warm_up, lr_decay_steps=job.decay,
        ),
        sae, batches(job),
    )
    trainer.activation_scaler.scaling_factor = sample.shape[1] ** 0.5 / float(sample.norm(dim=1).mean())
    sae.cfg.normalize_activations = "expected_average_only_in"
    trained = trainer.fit()
    trained.save_inference_model(str(Path(job.out) / "sae"))


def capture(arguments: argparse.Namespace, folder: Path) -> None:
    """Held-out and training activations of the embedded model, shuffled as in training."""
    import numpy as np

    from saewidgets.activations import ActivationStream, open_corpus, pack
    from saewidgets.config import TrainingConfig
    from saewidgets.demo import resolve_model
    from saewidgets.lm import load_model

    config = TrainingConfig.model_validate({
        "hook_name": f"blocks.{LAYER}.hook_resid_post", "batch_size": arguments.batch, "tokens": arguments.tokens,
        "context_size": 256, "activations": {"model_batch_size": 32, "shuffle_tokens": 65_536},
    })  # fmt: skip
    lm = load_model(resolve_model("demo"), name="demo")
    packed = pack(open_corpus(config.corpus), lm.tokenizer, folder=folder, context_size=256,
                  validation_share=0.02)  # fmt: skip
    stream = ActivationStream(lm, packed, config, 0)
    held = HELD_OUT // arguments.batch
    steps = arguments.tokens // arguments.batch
    train = np.lib.format.open_memmap(folder / "train.npy", "w+", np.float32, (steps * arguments.batch, stream.d_in))
    test = np.empty((held * arguments.batch, stream.d_in), np.float32)
    for number, batch in enumerate(stream.batches(0)):
        place = slice(number * arguments.batch, (number + 1) * arguments.batch)
        if number < steps:
            train[place] = batch.numpy()
        elif number < steps + held:
            test[slice(place.start - len(train), place.stop - len(train))] = batch.numpy()
        else:
            break
    train.flush()
    np.save(folder / "test.npy", test)


def measure(folder: Path, data: Path) -> tuple[float, float]:
    """(FVU, L0) of the saved SAE on the held-out activations, in their own units."""
    import numpy as np
    import torch

    from saewidgets.formats import load_sae

    sae = load_sae(folder / "sae")
    x = torch.from_numpy(np.load(data / "test.npy"))
    residual, active = 0.0, 0.0
    with torch.no_grad():
        for part in x.split(4096):
            latents = sae.encode(part)
            residual += float((sae.decode(latents, part).double() - part.double()).pow(2).sum())
            active += float((latents != 0).sum())
    return residual / float((x.double() - x.double().mean(0)).pow(2).sum()), active / len(x)


def train(side: str, job: Job) -> tuple[float, float]:
    """One training in a process of its own, measured here."""
    Path(job.out).mkdir(parents=True)
    python = sys.executable if side == "ours" else str(required_python())
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [python, __file__, "--worker", side, "--job", json.dumps(asdict(job))], capture_output=True, text=True,
        env=environment, check=False,
    )
    if done.returncode:
        sys.exit(f"The {side} worker failed:\n{done.stderr[-3000:]}")
    return measure(Path(job.out), Path(job.data))


def at_l0(side: str, base: Job, start: float | None, wanted: float, tries: int) -> Found:
    """What training leaves at the wanted L0; the coefficient is looked for from `start` on (None: there is none)."""
    if start is None:
        fvu, l0 = train(side, base)
        print(f"  {side} {base.arch} seed {base.seed} lr {base.lr:g}: FVU {fvu:.4f}", file=sys.stderr, flush=True)
        return Found(fvu, l0, None)
    found: list[tuple[float, float, float]] = []  # log coefficient, log L0, log FVU
    coefficient = start
    for number in range(tries):
        fvu, l0 = train(side, replace(base, coefficient=coefficient, out=f"{base.out}-{number}"))
        found.append((math.log(coefficient), math.log(max(l0, 1e-3)), math.log(fvu)))
        print(f"  {side} {base.arch} seed {base.seed} lr {base.lr:g}: coefficient {coefficient:.4g} → L0 {l0:.1f}, "
              f"FVU {fvu:.4f}", file=sys.stderr, flush=True)  # fmt: skip
        found.sort(key=lambda run: abs(run[1] - math.log(wanted)))
        if len(found) > 1 and abs(math.exp(found[0][1]) / wanted - 1) < NEAR:
            break
        slope = -1.0
        if len(found) > 1 and found[0][1] != found[1][1]:
            slope = (found[0][0] - found[1][0]) / (found[0][1] - found[1][1])
        slope = min(-0.2, max(-3.0, slope))
        step = max(-2.0, min(2.0, slope * (math.log(wanted) - found[0][1])))  # one run may lie on a plateau
        coefficient = math.exp(found[0][0] + (step if abs(step) > 0.02 else math.copysign(0.05, step)))
    found.sort(key=lambda run: abs(run[1] - math.log(wanted)))
    a = found[0]
    # The nearest run on its other side, if there is one: two runs close to each other make a line of noise.
    b = next((run for run in found if (run[1] > math.log(wanted)) != (a[1] > math.log(wanted))), found[1])
    along = (math.log(wanted) - a[1]) / (b[1] - a[1]) if b[1] != a[1] else 0.0
    return Found(math.exp(a[2] + along * (b[2] - a[2])), math.exp(a[1]), math.exp(a[0]))


def side_by_seed(side: str, arch: str, arguments: argparse.Namespace, folder: Path) -> tuple[str, list[Found]]:
    """The learning rate (and threshold) with which the first seed ends best, and what each seed leaves with it."""
    first, *others = arguments.seeds
    start = {"standard": 2.0, "jumprelu": 0.7}.get(arch)
    thresholds = PEER_STARTS.get(arch, (None,)) if side == "sae-lens" else (None,)

    def run(seed: int, lr: float, threshold: float | None, start: float | None) -> Found:
        steps = arguments.tokens // arguments.batch
        out = folder / f"{arch}-{seed}-{side}-{lr:g}-{threshold}"
        job = Job(arch, seed, None, arguments.k, arguments.d_sae, arguments.batch, steps, lr, str(folder), str(out),
                  tuple(arguments.ours), threshold)  # fmt: skip
        return at_l0(side, job, start, float(arguments.k), arguments.tries)

    tried: dict[tuple[float, float | None], Found] = {}
    for threshold in thresholds:
        for lr in arguments.lrs:
            found = tried[lr, threshold] = run(first, lr, threshold, start)
            if found.coefficient is not None and found.reached(arguments.k):
                start = found.coefficient
    best = min(tried, key=lambda settings: (not tried[settings].reached(arguments.k), tried[settings].fvu))
    said = f"{best[0]:g}" if best[1] is None else f"{best[0]:g} (threshold {best[1]:g})"
    return said, [tried[best], *(run(seed, *best, tried[best].coefficient) for seed in others)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", default=["topk", "batchtopk", "jumprelu", "standard"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--lrs", nargs="+", type=float, default=[2e-3, 4e-3, 8e-3], help="to choose from")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--d-sae", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32, help="active latents, and the L0 at which the others are compared")
    parser.add_argument("--tries", type=int, default=4)
    parser.add_argument("--ours", nargs="*", default=[], metavar="NAME=VALUE", help="changes to our settings")
    parser.add_argument("--worker", choices=("ours", "sae-lens"), help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        {"ours": ours, "sae-lens": peer}[arguments.worker](Job(**json.loads(arguments.job)))
        return
    sys.path.insert(0, str(ROOT))
    required_python()
    steps = arguments.tokens // arguments.batch
    print(f"embedded model, layer {LAYER}, 256 → {arguments.d_sae:,}, batch {arguments.batch:,}, {steps:,} steps;")
    print(f"FVU at L0 {arguments.k} on {HELD_OUT:,} held-out activations {' '.join(arguments.ours)}\n")
    print("| architecture | seed | ours | sae-lens | ratio | learning rates | L0 |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        capture(arguments, folder)
        for arch in arguments.archs:
            lr, found = side_by_seed("ours", arch, arguments, folder)
            peer_lr, peers = side_by_seed("sae-lens", arch, arguments, folder)
            for seed, a, b in zip(arguments.seeds, found, peers, strict=True):
                print(f"| {arch} | {seed} | {a.fvu:.4f} | {b.fvu:.4f} | {a.fvu / b.fvu:.3f} | {lr}, {peer_lr} | "
                      f"{a.l0:.1f}, {b.l0:.1f} |", flush=True)  # fmt: skip
            if not all(each.reached(arguments.k) for each in (*found, *peers)):
                print(f"| {arch} | | not reached: see L0 | | | | |", flush=True)
                continue
            ratio = statistics.median(a.fvu / b.fvu for a, b in zip(found, peers, strict=True))
            print(f"| {arch} | median | | | **{ratio:.3f}** | | |", flush=True)


if __name__ == "__main__":
    main()
