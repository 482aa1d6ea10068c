"""How long a run is, once its text is known, and how often it evaluates and saves."""

from __future__ import annotations

import math

from saewidgets.config.base import MAX_COUNT
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import ConfigError

_PER_RUN = 10  # evaluations and checkpoints per run where the configuration leaves the interval empty


def with_epochs(config: TrainingConfig, tokens_per_epoch: int) -> TrainingConfig:
    """`config` with the tokens that its epochs stand for, rounded to whole tokens; unchanged where it has none.

    Args:
        config: the run.
        tokens_per_epoch: training tokens in one pass over its text.

    Raises:
        ConfigError: they do not fill one batch, or are more than can be counted.
    """
    if config.epochs is None:
        return config
    tokens = round(config.epochs * tokens_per_epoch)
    if not config.batch_size <= tokens <= MAX_COUNT:
        raise ConfigError(
            f"{config.epochs:g} epochs of {tokens_per_epoch:,} tokens are {tokens:,} tokens, with batches of "
            f"{config.batch_size:,}.",
            where="epochs",
            hint="Enter more epochs, give more text, or lower Batch size."
            if tokens < config.batch_size
            else "Enter fewer epochs.",
        )
    return config.replace(tokens=tokens)


def checkpoint_interval(config: TrainingConfig) -> int:
    """Steps from one checkpoint to the next."""
    return config.checkpoints.every_steps or _tenth(config)


def evaluation_interval(config: TrainingConfig) -> int:
    """Steps from one evaluation to the next.

    Where the configuration leaves it empty, training reads at least as many tokens in between as an evaluation does:
    a short run would spend nearly all of its time on them.
    """
    return config.evaluation.every_steps or max(
        _tenth(config), math.ceil(config.evaluation.tokens / config.batch_size)
    )


def _tenth(config: TrainingConfig) -> int:
    return math.ceil(config.steps / _PER_RUN)


def evaluations_left(config: TrainingConfig, step: int) -> int:
    """How many evaluations a run that is at `step` has before it: at the multiples of its interval, and at its end."""
    if step >= config.steps:
        return 0
    every = evaluation_interval(config)
    return (config.steps - 1) // every - step // every + 1
