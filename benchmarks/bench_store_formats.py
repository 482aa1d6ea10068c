"""What the number format of a store costs: rounding as a share of the variance, and the FVU of SAEs trained from it.

The same rows are captured in every format; SAEs of the same configuration and seed are trained from each store and
measured on the held-out rows of the one in float32 (and, as a run itself reports it, on those of its own).

    python benchmarks/bench_store_formats.py                                    # the demo model
    python benchmarks/bench_store_formats.py --model FOLDER --hook blocks.3.hook_resid_post --context 128
"""

import argparse
import tempfile
from pathlib import Path

import torch

from saewidgets.activations import open_corpus, pack
from saewidgets.activations.store import StoredActivations
from saewidgets.activations.store_stream import StoredStream
from saewidgets.activations.store_write import CaptureSettings, bytes_per_token, capture_store
from saewidgets.config import ActivationCorpus, DemoCorpus, TrainingConfig
from saewidgets.demo import model_path
from saewidgets.evaluation.place import evaluate_rows
from saewidgets.formats import load_sae
from saewidgets.lm import load_model
from saewidgets.training import run_training

SAES = ({"architecture": "topk", "k": 32}, {"architecture": "standard", "target_l0": 32})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--model", default=str(model_path()))
    parser.add_argument("--hook", default="blocks.2.hook_resid_post")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--formats", nargs="+", default=["float32", "bfloat16", "float16", "int8"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        lm = load_model(asked.model)
        packed = pack(open_corpus(DemoCorpus()), lm.tokenizer, folder=Path(home) / "t", context_size=asked.context)
        for dtype in dict.fromkeys(("float32", *asked.formats)):
            facts = capture_store(lm, packed, CaptureSettings((asked.hook,), asked.tokens, dtype), Path(home) / dtype)
            print(dtype, f"{bytes_per_token([facts.hooks[asked.hook].width], dtype)} bytes per token", end="")
            first = configuration(asked, Path(home) / dtype, 0, SAES[0])
            rows, own = (rows_of(Path(home) / name, first) for name in ("float32", dtype))
            exact, found = (torch.cat([part for (part,) in each]).double() for each in (rows, own))
            noise = (found - exact).square().sum() / (exact - exact.mean(dim=0)).square().sum()
            print(f", rounding {noise:.1e} of the variance", flush=True)
            for sae in SAES:
                for seed in range(asked.seeds):
                    config = configuration(asked, Path(home) / dtype, seed, sae)
                    with tempfile.TemporaryDirectory() as run:
                        trained = load_sae(run_training(config, Path(run)).sae_path or "")
                    float32, itself = (
                        evaluate_rows(trained, rows_of(Path(home) / name, config))[0] for name in ("float32", dtype)
                    )
                    print(f"  {sae['architecture']} seed {seed}: FVU {float32['fvu']:.4f} (own rows "
                          f"{itself['fvu']:.4f}), L0 {float32['l0']:.1f}", flush=True)  # fmt: skip


def configuration(asked: argparse.Namespace, store: Path, seed: int, sae: dict[str, object]) -> TrainingConfig:
    never = {"every_steps": 10**9}
    return TrainingConfig.model_validate({
        "corpus": ActivationCorpus(str(store)), "hook_name": asked.hook, "context_size": asked.context, "seed": seed,
        "sae": {"d_sae": 1024, **sae}, "tokens": asked.steps * 1024, "batch_size": 1024, "device": "cpu",
        "evaluation": {"tokens": 4096, **never}, "checkpoints": never,
    })  # fmt: skip


def rows_of(store: Path, config: TrainingConfig) -> list[tuple[torch.Tensor, ...]]:
    return list(StoredStream(StoredActivations(store), config).held_out(32_768))


if __name__ == "__main__":
    main()
