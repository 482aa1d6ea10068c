"""Writes `tests/golden/saelens_runs/NAME.{json,safetensors}`: short trainings by the real `sae-lens` package.

    .venvs/saelens/bin/python tools/golden_saelens_runs.py [NAME …]

The JSON file is what `LanguageModelSAERunnerConfig.to_dict()` gives; the tensors are the weights before the first step
(`before.*`), the batches (`batches`, [steps, batch, d_in]), the weights after the last step (`after.*`) and the loss of
every step (`losses`). `SAETrainer` makes the steps: what is recorded is its optimiser, schedules, clipping and loss. Of
a run on whitened activations also the whitening (`whitening.*`), which it measures on all the batches before it trains
on them; the weights `after.*` are those of the trained SAE, `folded.*` those that it leaves, which take raw
activations.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import sae_lens.saes as lens
import torch
from sae_lens import LanguageModelSAERunnerConfig, LoggingConfig
from sae_lens.registry import get_sae_training_class
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "saelens_runs"
D_IN, D_SAE, BATCH, STEPS = 12, 32, 24, 30
COMMON: dict[str, Any] = {"d_in": D_IN, "d_sae": D_SAE, "device": "cpu"}
SAES = {
    "standard": lens.StandardTrainingSAEConfig(l1_coefficient=0.7, **COMMON),
    "gated": lens.GatedTrainingSAEConfig(l1_coefficient=0.3, **COMMON),
    "topk": lens.TopKTrainingSAEConfig(k=4, rescale_acts_by_decoder_norm=False, **COMMON),
    "matryoshka": lens.MatryoshkaBatchTopKTrainingSAEConfig(
        k=4, matryoshka_widths=[8, 32], rescale_acts_by_decoder_norm=False, **COMMON
    ),
    "layer_norm": lens.StandardTrainingSAEConfig(l1_coefficient=0.7, normalize_activations="layer_norm", **COMMON),
    "whitened": lens.StandardTrainingSAEConfig(
        l1_coefficient=0.7, normalize_activations="covariance_whitening", apply_b_dec_to_input=False, **COMMON
    ),
    "whitened_gated": lens.GatedTrainingSAEConfig(
        l1_coefficient=0.3, normalize_activations="covariance_whitening", **COMMON
    ),
    "rescaled": lens.TopKTrainingSAEConfig(
        k=4, rescale_acts_by_decoder_norm=False, normalize_activations="constant_norm_rescale", **COMMON
    ),
    "dying": lens.TopKTrainingSAEConfig(k=1, rescale_acts_by_decoder_norm=False, **COMMON),
}
DEAD_WINDOWS = {"dying": 3}  # steps, after which the auxiliary loss acts; elsewhere longer than the run


def run(name: str, sae_config: Any) -> None:
    """Train and write one."""
    config = LanguageModelSAERunnerConfig(
        sae=sae_config, model_name="gpt2", hook_name="blocks.6.hook_resid_pre", dataset_path="Skylion007/openwebtext",
        is_dataset_tokenized=False, training_tokens=STEPS * BATCH, train_batch_size_tokens=BATCH, lr=3e-3,
        lr_scheduler_name="cosineannealing", lr_warm_up_steps=5, lr_decay_steps=8, lr_end=1e-3,
        dead_feature_window=DEAD_WINDOWS.get(name, 10_000),
        logger=LoggingConfig(log_to_wandb=False), verbose=False, checkpoint_path=None,
    )
    torch.manual_seed(0)
    sae = get_sae_training_class(sae_config.architecture())[0](sae_config)
    before = {f"before.{key}": value.detach().clone() for key, value in sae.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    directions = torch.randn(40, D_IN, generator=generator)
    strengths, active = (torch.rand(STEPS, BATCH, 40, generator=generator) for _ in range(2))
    batches = (strengths * (active < 0.1)) @ directions + 0.3
    trainer_config = config.to_sae_trainer_config()
    trainer_config.n_batches_for_norm_estimate = STEPS
    measured = batches if sae_config.normalize_activations == "covariance_whitening" else batches[:0]
    trainer = SAETrainer(trainer_config, sae, itertools.chain(measured, batches))
    losses = []
    step = trainer._train_step

    def watched(sae: Any, sae_in: torch.Tensor) -> Any:
        output = step(sae, sae_in)
        losses.append(float(output.loss))
        return output

    trainer._train_step = watched  # type: ignore[method-assign]
    normalize = sae_config.normalize_activations  # folding a whitening forgets it
    whitening: dict[str, torch.Tensor] = {}
    fold = sae.fold_activation_whitening

    def noted(mean: torch.Tensor, whitening_matrix: torch.Tensor, unwhitening_matrix: torch.Tensor) -> None:
        maps = {"mean": mean, "matrix": whitening_matrix, "inverse_matrix": unwhitening_matrix}
        whitening.update({f"whitening.{key}": value for key, value in maps.items()})
        whitening.update({f"after.{key}": value.detach().clone() for key, value in sae.state_dict().items()})
        fold(mean, whitening_matrix, unwhitening_matrix)

    sae.fold_activation_whitening = noted
    trainer.fit()
    last = "folded" if whitening else "after"
    after = whitening | {f"{last}.{key}": value.detach().clone() for key, value in sae.state_dict().items()}
    sae_config.normalize_activations = normalize
    OUT.mkdir(parents=True, exist_ok=True)
    tensors = {**before, **after, "batches": batches.contiguous(), "losses": torch.tensor(losses)}
    save_file(tensors, OUT / f"{name}.safetensors")
    (OUT / f"{name}.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")


if __name__ == "__main__":
    for each in sys.argv[1:] or SAES:
        run(each, SAES[each])
