"""The demo run: minutes on two CPU cores, nothing to download."""

from __future__ import annotations

from saewidgets.config import (
    ActivationsConfig,
    DemoCorpus,
    EvaluationConfig,
    OptimizerConfig,
    TopKConfig,
    TrainingConfig,
)


def demo_config() -> TrainingConfig:
    """A TopK autoencoder on what the first block of the embedded model passes on."""
    return TrainingConfig(
        model="demo",
        corpus=DemoCorpus(),
        hook_name="blocks.0.hook_resid_post",
        context_size=256,
        sae=TopKConfig(d_sae=4096, k=32),
        tokens=2_600_000,
        batch_size=1024,
        optimizer=OptimizerConfig(lr=2.5e-3),
        activations=ActivationsConfig(model_batch_size=16, shuffle_tokens=65_536),
        evaluation=EvaluationConfig(tokens=16_384),
    )
