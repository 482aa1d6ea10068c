"""What the benchmarks against sae-lens share: where its environment is, and the configuration of each architecture."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venvs" / "saelens" / "bin" / "python"


def required_python() -> Path:
    """The interpreter of sae-lens's environment; leaves with what to do when there is none."""
    if not PYTHON.exists():
        sys.exit(f"There is no {PYTHON.relative_to(ROOT)}: run `make peers` first.")
    return PYTHON


def training_config(arch: str, d_in: int, d_sae: int, k: int) -> Any:
    """sae-lens's own configuration for training, at its defaults. For its environment only."""
    import sae_lens.saes as lens

    common = {"d_in": d_in, "d_sae": d_sae, "device": "cpu", "dtype": "float32"}
    if arch == "standard":
        return lens.StandardTrainingSAEConfig(**common, l1_coefficient=5.0)
    if arch == "topk":
        return lens.TopKTrainingSAEConfig(**common, k=k)
    if arch == "batchtopk":
        return lens.BatchTopKTrainingSAEConfig(**common, k=k)
    return lens.JumpReLUTrainingSAEConfig(**common)
