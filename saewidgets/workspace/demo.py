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
    """A TopK autoencoder on the middle of the embedded model."""
    return TrainingConfig(
        model="demo",
        corpus=DemoCorpus(),
        hook_name="blocks.1.hook_resid_post",
        context_size=256,
        sae=TopKConfig(d_sae=4096, k=32),
        tokens=1_900_000,
        batch_size=1024,
        optimizer=OptimizerConfig(lr=2e-3),
        activations=ActivationsConfig(model_batch_size=16, shuffle_tokens=65_536),
        evaluation=EvaluationConfig(tokens=16_384),
    )
