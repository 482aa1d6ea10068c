"""Writes `tests/golden/saelens_groups/NAME.json`: configurations of several SAEs by the real `sae-lens` package.

    .venvs/saelens/bin/python tools/golden_saelens_groups.py

`several` is what `MultiSAETrainingRunnerConfig.to_dict()` gives, `alone` what `LanguageModelSAERunnerConfig.to_dict()`
gives of the same settings for each of its SAEs: its runner trains each of them as the other would.
"""

import json
from pathlib import Path
from typing import Any

import sae_lens.saes as lens
from sae_lens import LanguageModelSAERunnerConfig, LoggingConfig
from sae_lens.multi_sae_training_runner import MultiSAETrainingRunnerConfig

OUT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "saelens_groups"
WIDTH: dict[str, Any] = {"d_in": 768, "d_sae": 1536, "device": "cpu"}
SHARED: dict[str, Any] = {
    "model_name": "gpt2", "dataset_path": "monology/pile-uncopyrighted", "context_size": 64, "training_tokens": 400_000,
    "train_batch_size_tokens": 2000, "lr": 4e-4, "lr_warm_up_steps": 7, "dead_feature_window": 500,
    "exclude_special_tokens": True, "n_checkpoints": 3, "checkpoint_path": None, "seed": 5,
}  # fmt: skip
GROUPS: dict[str, dict[str, Any]] = {
    "mixed": {
        "saes": {
            "wide": lens.StandardTrainingSAEConfig(l1_coefficient=3.0, l1_warm_up_steps=50, **WIDTH),
            "sparse": lens.TopKTrainingSAEConfig(k=16, **WIDTH),
            "head": lens.JumpReLUTrainingSAEConfig(
                d_in=64, d_sae=256, device="cpu", dtype="bfloat16", l0_coefficient=0.5, l0_warm_up_steps=20
            ),
        },
        "hook_names": {
            "wide": "blocks.2.hook_resid_post", "sparse": "blocks.6.hook_mlp_out", "head": "blocks.3.attn.hook_z",
        },
        "hook_head_indices": {"head": 5},
        "resume_from_checkpoint": "checkpoints/200000",
    },
    "sweep": {
        "saes": {f"k{k}": lens.BatchTopKTrainingSAEConfig(k=k, **WIDTH) for k in (8, 16, 32)},
        "hook_names": "blocks.6.hook_resid_pre",
    },
}  # fmt: skip


def write(name: str, own: dict[str, Any]) -> None:
    """One configuration of several SAEs, and those that train each of them alone."""
    several = MultiSAETrainingRunnerConfig(logger=LoggingConfig(log_to_wandb=False), **SHARED, **own)
    rest = {key: value for key, value in own.items() if key == "resume_from_checkpoint"}
    alone = {
        sae: LanguageModelSAERunnerConfig(
            sae=config, hook_name=several.hook_names_per_sae[sae], is_dataset_tokenized=False, verbose=False,
            hook_head_index=several.hook_head_indices_per_sae[sae], logger=LoggingConfig(log_to_wandb=False), **SHARED,
            **rest,
        ).to_dict()
        for sae, config in several.saes.items()
    }  # fmt: skip
    OUT.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"several": several.to_dict(), "alone": alone}, indent=1)
    (OUT / f"{name}.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    for each, settings in GROUPS.items():
        write(each, settings)
