"""How a package is driven through its own trainer, one process each: ours, sae-lens, dictionary_learning, sparsify.

    PYTHON benchmarks/sides.py SIDE JOB       # PYTHON: of that package's environment; JOB: JSON, see `Job` of `turns`

The trainer asks `Feed` for its batches, which hands them out in turns: a line on standard input says how many steps
the next turn has (0: no more), and a line on standard output how long one took. So a step is everything between two
requests for a batch. The first of a turn does not count: caches, and memory that others had meanwhile, are slow to get
back. The side "limits" measures what the machine can do: a product of the encoder's size, and a copy.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

Job = SimpleNamespace
Driven = tuple[Callable[[], object], Callable[[], Any]]  # trains until `Finished`; the autoencoder, to be read then
ROWS = 1024  # on which L0 is set and measured
ENDLESS = 100_000  # steps of the run that a measurement is the beginning of
KEEPS_K = ("topk", "batchtopk", "matryoshka")
FRACTIONS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32)  # of the latents in matryoshka's groups


class Finished(Exception):  # noqa: N818 - the way out of a foreign training loop
    """The parent wants no more steps."""


class Feed:
    """Batches [batch, d_in] for a training loop, which waits here between turns."""

    def __init__(self, x: Tensor, batch: int) -> None:
        self.x, self._batch, self._position = x, batch, 0
        self._left, self._steps, self._started = 0, 0, 0.0

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        if self._left == 0:
            if self._steps:
                report(seconds=(time.perf_counter() - self._started) / self._steps)
            self._steps = int(sys.stdin.readline() or 0)
            self._left = self._steps + 1
            if self._steps == 0:
                raise Finished
        elif self._left == self._steps:
            self._started = time.perf_counter()
        self._left -= 1
        if self._position + self._batch > len(self.x):
            self._position = 0
        self._position += self._batch
        return self.x[self._position - self._batch : self._position]


def report(**values: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print("TURN", json.dumps(values | {"peak_mb": peak}), file=sys.__stdout__, flush=True)


@torch.no_grad()
def start_at(sae: torch.nn.Module, x: Tensor, l0: float) -> None:
    """Give fresh `sae` the threshold, or biases of the encoder, with which `l0` latents of a row are active."""
    named = dict(sae.named_parameters())
    weight = named["W_enc"] if "W_enc" in named else named["encoder.weight"].T
    cut = float((x[:ROWS] @ weight).flatten().topk(round(l0 * ROWS)).values[-1])
    if "threshold" in named:
        named["threshold"].fill_(cut)
        return
    for name in {"b_enc", "b_gate", "b_mag", "encoder.bias", "gate_bias", "mag_bias"} & set(named):
        named[name].fill_(-cut)


# --- one function per side --------------------------------------------------------------------------------------------


def ours(job: Job, feed: Feed) -> Driven:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from saewidgets.config import TrainingConfig
    from saewidgets.events import NullControl, ignore
    from saewidgets.sae import build_sae
    from saewidgets.sae.scaler import RAW
    from saewidgets.training.loop import Trainer

    sae: dict[str, Any] = {"architecture": job.arch, "d_sae": job.d_sae}
    if job.arch in KEEPS_K:
        sae["k"] = job.k
    else:  # as the others start, and with their coefficients
        sae |= {"start_from_data": False, ("l0" if job.arch == "jumprelu" else "l1") + "_coefficient": 1.0}
    out = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    config = TrainingConfig.model_validate({
        "tokens": ENDLESS * job.batch, "batch_size": job.batch, "precision": job.precision, "sae": sae,
        "optimizer": {"lr": job.lr}, "checkpoints": {"every_steps": ENDLESS},
        **(out if job.arch == "transcoder" else {}),
    })  # fmt: skip
    model = build_sae(config.sae, job.d_in, generator=torch.Generator().manual_seed(0))
    if job.l0:
        start_at(model, feed.x, job.l0)

    def batches(start: int, check: object = None) -> Iterator[Any]:
        for x in feed:
            yield (x.clone(), target(x)) if job.arch == "transcoder" else x.clone()  # theirs to change

    stream: Any = SimpleNamespace(batches=batches)
    trainer = Trainer(
        config, model, stream, Path(tempfile.mkdtemp()), scaler=RAW, emit=ignore, control=NullControl()
    )
    return trainer.run, lambda: model


def target(x: Tensor) -> Tensor:
    """What a transcoder reconstructs for `x`."""
    return x.flip(1)


def saelens(job: Job, feed: Feed) -> Driven:
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = saelens_sae(job)
    if job.l0:
        start_at(sae, feed.x, job.l0)
    config = SAETrainerConfig(
        total_training_samples=ENDLESS * job.batch, train_batch_size_samples=job.batch, device="cpu", lr=job.lr,
        lr_end=job.lr, autocast=job.precision == "bfloat16", logger=LoggingConfig(log_to_wandb=False),
    )
    return SAETrainer(config, sae, feed).fit, lambda: sae


def saelens_sae(job: Job) -> Any:
    """The autoencoder of a job at sae-lens's own defaults."""
    import sae_lens.saes as lens

    name = {"standard": "Standard", "topk": "TopK", "batchtopk": "BatchTopK", "matryoshka": "MatryoshkaBatchTopK",
            "jumprelu": "JumpReLU", "gated": "Gated"}[job.arch]  # fmt: skip
    more: dict[str, Any] = {"k": job.k} if job.arch in KEEPS_K else {}
    if job.arch == "matryoshka":
        more["matryoshka_widths"] = [round(sum(FRACTIONS[: i + 1]) * job.d_sae) for i in range(len(FRACTIONS))]
    config = getattr(lens, f"{name}TrainingSAEConfig")(d_in=job.d_in, d_sae=job.d_sae, device="cpu", **more)
    return getattr(lens, f"{name}TrainingSAE")(config)


def dictionary_learning(job: Job, feed: Feed) -> Driven:
    from dictionary_learning.trainers import batch_top_k, gdm, jumprelu, matryoshka_batch_top_k, standard, top_k

    kind = {
        "standard": standard.StandardTrainerAprilUpdate, "topk": top_k.TopKTrainer, "gated": gdm.GatedSAETrainer,
        "batchtopk": batch_top_k.BatchTopKTrainer, "jumprelu": jumprelu.JumpReluTrainer,
        "matryoshka": matryoshka_batch_top_k.MatryoshkaBatchTopKTrainer,
    }[job.arch]  # fmt: skip
    more: dict[str, Any] = {"k": job.k} if job.arch in KEEPS_K else {}
    if job.arch == "matryoshka":
        more["group_fractions"] = list(FRACTIONS)
    trainer = kind(
        steps=ENDLESS, activation_dim=job.d_in, dict_size=job.d_sae, layer=0, lm_name="none", device="cpu", lr=job.lr,
        **more,
    )
    if job.l0:
        start_at(trainer.ae, feed.x, job.l0)

    def train() -> None:
        for step, x in enumerate(feed):
            trainer.update(step, x)

    return train, lambda: trainer.ae


def sparsify(job: Job, feed: Feed) -> Driven:
    """Its transcoders keep the largest latents: here as many as others have active."""
    from datasets import Dataset
    from sparsify import SparseCoderConfig, TrainConfig, Trainer

    is_transcoder = job.arch == "transcoder"
    model = fed_model(feed, job.batch, job.d_in, target if is_transcoder else lambda x: x)
    rows = Dataset.from_dict({"input_ids": np.zeros((1000, job.batch), np.int8)}).with_format("torch")
    config = TrainConfig(
        SparseCoderConfig(num_latents=job.d_sae, k=round(job.l0 or job.k), transcode=is_transcoder), batch_size=1,
        optimizer="adam", lr=job.lr, hookpoints=["place"], log_to_wandb=False, save_dir=tempfile.mkdtemp(),
        save_every=10**9, run_name="run",
    )
    return Trainer(config, rows, model).fit, lambda: None


def fed_model(feed: Iterator[Tensor], batch: int, d_in: int, layer: Callable[[Tensor], Tensor] = lambda x: x) -> Any:
    """A language model for sparsify's trainer, whose only layer, "place", reads the next batch of `feed`."""

    class Place(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return layer(x)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place, self.weight = Place(), torch.nn.Parameter(torch.zeros(1))
            self.device, self.dummy_inputs = torch.device("cpu"), {"input_ids": torch.zeros(1, 3, dtype=torch.long)}

        @property
        def base_model(self) -> Any:
            return self

        def forward(self, input_ids: Tensor) -> Any:
            is_batch = input_ids.shape[1] == batch
            return self.place(next(feed)[None] if is_batch else torch.zeros(*input_ids.shape, d_in))

    return Model()


def limits(job: Job) -> None:
    """Seconds of the encoder's product in both formats, by the fastest that torch has here, and of a copy per byte that
    it reads or writes."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from saewidgets.products import product

    given = [
        (torch.randn(job.batch, job.d_in).to(dtype), torch.randn(job.d_in, job.d_sae).to(dtype))
        for dtype in (torch.float32, torch.bfloat16)
    ]
    source = torch.ones(1 << 26)  # 256 MiB: far more than a cache
    copy = torch.empty_like(source)

    def seconds(run: Callable[[], object], times: int) -> float:
        run()
        started = time.perf_counter()
        for _ in range(times):
            run()
        return (time.perf_counter() - started) / times

    while times := int(sys.stdin.readline() or 0):
        found = [seconds(lambda of=of: [product(rows, of[1]) for rows in of[0].split(256)], times) for of in given]
        of_copy = seconds(lambda: copy.copy_(source), times)
        report(seconds=found[0], bfloat16=found[1], byte=of_copy / (2 * source.nbytes))
    report()


def main() -> None:
    side, job = sys.argv[1], Job(**json.loads(sys.argv[2]))
    os.environ |= {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    sys.stdout = sys.stderr  # what a package prints is not an answer
    if side == "limits":
        limits(job)
        return
    feed = Feed(torch.from_numpy(np.load(job.data)), job.batch)
    drivers = {"ours": ours, "sae-lens": saelens, "dictionary_learning": dictionary_learning, "sparsify": sparsify}
    train, trained = drivers[side](job, feed)
    try:
        train()
    except Finished:
        sae, l0 = trained(), job.l0 or job.k
        if sae is not None and job.arch not in KEEPS_K:
            with torch.no_grad():
                l0 = float((sae.encode(feed.x[:ROWS]) > 0).sum(1).float().mean())
        report(l0=l0)


if __name__ == "__main__":
    main()
