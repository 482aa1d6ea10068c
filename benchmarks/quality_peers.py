"""Trains the autoencoders of other packages for `bench_quality.py`, in the environment of one of them (`make peers`).

    .venvs/PEER/bin/python benchmarks/quality_peers.py PEER < jobs

Every line of standard input is one training as JSON (`bench_quality.Job`); what it leaves is written to ``out`` as
.npz: the weights by SAELens' names, `kind` (relu, topk, jumprelu or gated) and `centred` (whether the encoder reads
x − b_dec). A line on standard output says that it is done. Data, batch order, number of steps, warm-up and decay
are those of the job; every other setting is the package's own default, unless a comment here says why not.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sides import fed_model
from torch import Tensor

Job = SimpleNamespace
Weights = dict[str, Any]


def batches(job: Job) -> Iterator[Tensor]:
    """The training batches in the order of this seed, as float32 tensors; see `bench_quality.batches`."""
    rows = np.load(job.data + "train.npy", mmap_mode="r")
    order = np.random.default_rng(job.seed).permutation(len(rows) // job.batch)
    for step in range(job.steps):
        number = order[step % len(order)]
        yield torch.from_numpy(np.array(rows[number * job.batch : (number + 1) * job.batch]))


def saelens(job: Job) -> Weights:
    import sae_lens.saes as lens
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    common = {"d_in": job.d_in, "d_sae": job.d_sae, "device": "cpu", "dtype": "float32"}
    if job.arch == "standard":
        sae: Any = lens.StandardTrainingSAE(lens.StandardTrainingSAEConfig(
            **common, l1_coefficient=job.coefficient, l1_warm_up_steps=job.warm_up))  # fmt: skip
    elif job.arch == "gated":
        sae = lens.GatedTrainingSAE(lens.GatedTrainingSAEConfig(
            **common, l1_coefficient=job.coefficient, l1_warm_up_steps=job.warm_up))  # fmt: skip
    elif job.arch == "jumprelu":
        sae = lens.JumpReLUTrainingSAE(lens.JumpReLUTrainingSAEConfig(
            **common, l0_coefficient=job.coefficient, l0_warm_up_steps=job.warm_up))  # fmt: skip
    elif job.arch == "topk":
        sae = lens.TopKTrainingSAE(lens.TopKTrainingSAEConfig(**common, k=job.k))
    elif job.arch == "batchtopk":
        sae = lens.BatchTopKTrainingSAE(lens.BatchTopKTrainingSAEConfig(**common, k=job.k))
    else:
        sae = lens.MatryoshkaBatchTopKTrainingSAE(lens.MatryoshkaBatchTopKTrainingSAEConfig(
            **common, k=job.k, matryoshka_widths=job.widths))  # fmt: skip
    config = SAETrainerConfig(
        total_training_samples=job.steps * job.batch, train_batch_size_samples=job.batch, device="cpu", lr=job.lr,
        lr_end=0.0, lr_warm_up_steps=job.warm_up, lr_decay_steps=job.decay, logger=LoggingConfig(log_to_wandb=False),
    )
    SAETrainer(config, sae, batches(job)).fit()
    weights = {name: value.detach().numpy() for name, value in sae.state_dict().items()}
    kind = {"standard": "relu", "gated": "gated", "topk": "topk"}.get(job.arch, "jumprelu")
    if "topk_threshold" in weights:
        weights["threshold"] = np.full(job.d_sae, float(weights.pop("topk_threshold")), np.float32)
    norms = np.linalg.norm(weights["W_dec"], axis=1)
    if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):  # latents compete by what they write
        weights |= {"W_enc": weights["W_enc"] * norms, "b_enc": weights["b_enc"] * norms,
                    "W_dec": weights["W_dec"] / norms[:, None]}  # fmt: skip
    return {**weights, "kind": kind, "centred": sae.cfg.apply_b_dec_to_input}


def dictionary_learning(job: Job) -> Weights:
    from dictionary_learning.trainers import batch_top_k as batch
    from dictionary_learning.trainers import gdm, jumprelu, standard, top_k
    from dictionary_learning.trainers import matryoshka_batch_top_k as matryoshka

    common = {
        "steps": job.steps, "activation_dim": job.d_in, "dict_size": job.d_sae, "layer": 0, "lm_name": "none",
        "device": "cpu", "seed": job.seed, "lr": job.lr, "warmup_steps": job.warm_up,
        "decay_start": job.steps - job.decay,
    }  # fmt: skip
    # Its threshold begins at step 1,000, which a short run does not reach.
    kept = {"k": job.k, "threshold_start_step": job.warm_up}
    penalised = {"sparsity_warmup_steps": job.warm_up}
    make: dict[str, Callable[[], Any]] = {
        "standard": lambda: standard.StandardTrainerAprilUpdate(**common, **penalised, l1_penalty=job.coefficient),
        "gated": lambda: gdm.GatedSAETrainer(**common, **penalised, l1_penalty=job.coefficient),
        "jumprelu": lambda: jumprelu.JumpReluTrainer(
            **common, **penalised, sparsity_penalty=job.coefficient, target_l0=float(job.k)
        ),
        "topk": lambda: top_k.TopKTrainer(**common, **kept),
        "batchtopk": lambda: batch.BatchTopKTrainer(**common, **kept),
        "matryoshka": lambda: matryoshka.MatryoshkaBatchTopKTrainer(**common, **kept, group_fractions=job.fractions),
    }
    torch.manual_seed(job.seed)
    trainer = make[job.arch]()
    for step, x in enumerate(batches(job)):
        trainer.update(step, x)
    found = {name: value.detach().numpy() for name, value in trainer.ae.state_dict().items()}
    if "W_enc" in found:  # jumprelu and matryoshka
        weights = {name: found[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    else:
        weights = {"W_enc": found["encoder.weight"].T, "W_dec": found["decoder.weight"].T}
        b_dec = next(found[name] for name in ("b_dec", "decoder_bias", "decoder.bias", "bias") if name in found)
        weights |= {"b_dec": b_dec}
        if "encoder.bias" in found:
            weights["b_enc"] = found["encoder.bias"]
    kind = {"standard": "relu", "gated": "gated", "topk": "topk"}.get(job.arch, "jumprelu")
    if kind == "jumprelu":
        weights["threshold"] = np.broadcast_to(found["threshold"], job.d_sae)
    if kind == "gated":
        weights |= {"b_gate": found["gate_bias"], "b_mag": found["mag_bias"], "r_mag": found["r_mag"]}
    return {**weights, "kind": kind, "centred": job.arch not in ("standard", "jumprelu")}


def sparsify(job: Job) -> Weights:
    from datasets import Dataset
    from sparsify import SparseCoderConfig, TrainConfig, Trainer

    rows = Dataset.from_dict({"input_ids": np.zeros((job.steps, job.batch), np.int8)}).with_format("torch")
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            SparseCoderConfig(num_latents=job.d_sae, k=job.k), batch_size=1, optimizer="adam", lr=job.lr,
            lr_warmup_steps=job.warm_up, hookpoints=["place"], init_seeds=[job.seed], log_to_wandb=False,
            save_dir=folder, save_every=10**9, run_name="run",
        )
        trainer = Trainer(config, rows, fed_model(batches(job), job.batch, job.d_in))
        trainer.fit()
    (sae,) = trainer.saes.values()
    return {
        "W_enc": sae.encoder.weight.detach().T.numpy(), "b_enc": sae.encoder.bias.detach().numpy(),
        "W_dec": sae.W_dec.detach().numpy(), "b_dec": sae.b_dec.detach().numpy(), "kind": "topk", "centred": True,
    }  # fmt: skip


def serve(train: Callable[[Job], Weights]) -> None:
    """Do the jobs of standard input, one after another."""
    answer, sys.stdout = sys.stdout, sys.stderr  # what a package prints is not an answer
    for line in sys.stdin:
        job = Job(**json.loads(line))
        torch.manual_seed(job.seed)
        np.savez(job.out, **train(job))
        print("done", file=answer, flush=True)


if __name__ == "__main__":
    os.environ |= {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
    serve({"saelens": saelens, "dictionary_learning": dictionary_learning, "sparsify": sparsify}[sys.argv[1]])
