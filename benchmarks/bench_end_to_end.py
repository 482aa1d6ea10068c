"""From packed text to trained autoencoder, side by side with the real sae-lens: tokens per second and their ratio.

    python benchmarks/bench_end_to_end.py [--arch topk] [--tokens 163840] [--rounds 2]

Both read the same contexts of the embedded corpus, run the embedded model up to the same hook, shuffle and train an
autoencoder of the same size with the same batch: ours through `run_training`, sae-lens through its own
`LanguageModelSAETrainingRunner`. Each has its own process and environment (`make peers`); they take turns, and the
ratio is the median over turns. The clock runs from the end of the first step to the end of the last one: loading,
packing, the first filling of the shuffle buffer and the export are left out on both sides.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from saelens_peer import ROOT, required_python, training_config

LAYER = 1


def ours(arguments: argparse.Namespace, folder: Path) -> float:
    """Seconds of training, from the run's own events."""
    sys.path.insert(0, str(ROOT))
    from saewidgets.config import DemoCorpus, TrainingConfig
    from saewidgets.events import Metrics
    from saewidgets.training import run_training

    seen: list[tuple[float, int]] = []

    def emit(event: Any) -> None:
        if isinstance(event, Metrics):
            seen.append((time.perf_counter(), event.tokens))

    settings = {"k": arguments.k} if "topk" in arguments.arch else {}
    config = TrainingConfig.model_validate({
        "model": "demo", "corpus": DemoCorpus(), "hook_name": f"blocks.{LAYER}.hook_resid_post",
        "context_size": 256, "tokens": arguments.tokens, "batch_size": arguments.batch, "log_every_steps": 1,
        "sae": {"architecture": arguments.arch, "d_sae": arguments.d_sae, **settings},
        "activations": {"model_batch_size": 32, "shuffle_tokens": 65_536},
        "evaluation": {"every_steps": 10**6, "tokens": 1024}, "checkpoints": {"every_steps": 10**6},
    })  # fmt: skip
    run_training(config, folder / f"run-{time.time_ns()}", emit=emit, tokens_folder=folder / "tokens")
    training = [item for item in seen if item[1] > 0]
    return (training[-1][0] - training[0][0]) / (training[-1][1] - training[0][1])


def peer(arguments: argparse.Namespace, folder: Path) -> float:
    """The same by sae-lens, on the contexts that ours packed."""
    os.environ |= {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    import numpy as np
    from datasets import Dataset
    from sae_lens import LanguageModelSAERunnerConfig, LoggingConfig
    from sae_lens.llm_sae_training_runner import LanguageModelSAETrainingRunner
    from sae_lens.training.sae_trainer import SAETrainer

    packed = next((folder / "tokens").glob("*/tokens.bin"))
    contexts = np.fromfile(packed, dtype="<u2").reshape(-1, 256)[: 2 * arguments.tokens // 256 + 512].astype(np.int64)
    sae = training_config(arguments.arch, 256, arguments.d_sae, arguments.k)
    config = LanguageModelSAERunnerConfig(
        sae=sae, model_name=str(ROOT / "saewidgets/demo/data/model"), model_class_name="AutoModelForCausalLM",
        hook_name=f"model.layers.{LAYER}", dataset_path="local", is_dataset_tokenized=True, context_size=256,
        prepend_bos=False, streaming=False, training_tokens=arguments.tokens,
        train_batch_size_tokens=arguments.batch, store_batch_size_prompts=32, n_batches_in_buffer=256, device="cpu",
        checkpoint_path=None, output_path=None, logger=LoggingConfig(log_to_wandb=False), verbose=False,
    )
    stamps: list[float] = []
    step = SAETrainer.step

    def stamped(trainer: Any, batch: Any) -> Any:
        result = step(trainer, batch)
        stamps.append(time.perf_counter())
        return result

    SAETrainer.step = stamped
    LanguageModelSAETrainingRunner(config, override_dataset=Dataset.from_dict({"input_ids": contexts})).run()
    return (stamps[-1] - stamps[0]) / ((len(stamps) - 1) * arguments.batch)


def gemm(arguments: argparse.Namespace) -> float:
    """GFLOP/s of a plain product of the encoder's size: the machine's limit."""
    import torch

    torch.set_num_threads(arguments.threads)
    x, weight = torch.randn(arguments.batch, 256), torch.randn(256, arguments.d_sae)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        x @ weight
        times.append(time.perf_counter() - started)
    return 2e-9 * arguments.batch * 256 * arguments.d_sae / statistics.median(times)


def turn(name: str, python: Path, arguments: argparse.Namespace, folder: Path) -> float:
    """Seconds per token of one side, in a process of its own."""
    command = [
        str(python), __file__, "--worker", name, "--folder", str(folder), "--arch", arguments.arch,
        "--k", str(arguments.k), "--tokens", str(arguments.tokens), "--batch", str(arguments.batch),
        "--d-sae", str(arguments.d_sae), "--threads", str(arguments.threads),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return float(json.loads(line[7:]))
    sys.exit(f"The {name} worker failed:\n{done.stderr[-3000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="topk", choices=("standard", "topk", "batchtopk", "jumprelu"))
    parser.add_argument("--tokens", type=int, default=163_840)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--d-sae", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        import torch

        torch.set_num_threads(arguments.threads)
        print("RESULT", {"ours": ours, "sae-lens": peer}[arguments.worker](arguments, arguments.folder), flush=True)
        return
    sides = {"ours": Path(sys.executable), "sae-lens": required_python()}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    print(f"embedded model, layer {LAYER}, 256 → {arguments.d_sae:,} {arguments.arch}, batch {arguments.batch:,}, "
          f"{arguments.tokens:,} tokens, {arguments.threads} threads, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            for name, python in sides.items():
                taken[name].append(turn(name, python, arguments, Path(folder)))
    ratios = [theirs / mine for mine, theirs in zip(taken["ours"], taken["sae-lens"], strict=True)]
    rates = {name: 1 / statistics.median(values) for name, values in taken.items()}
    peak = gemm(arguments)
    limit = peak * 1e9 / (10 * 256 * arguments.d_sae)
    print("| architecture | ours tok/s | sae-lens tok/s | ratio (range) | GEMM GFLOP/s | dense step's limit tok/s |")
    print("|---|---|---|---|---|---|")
    print(f"| {arguments.arch} | {rates['ours']:,.0f} | {rates['sae-lens']:,.0f} | {statistics.median(ratios):.2f}x "
          f"({min(ratios):.2f} to {max(ratios):.2f}) | {peak:,.0f} | {limit:,.0f} |")


if __name__ == "__main__":
    main()
