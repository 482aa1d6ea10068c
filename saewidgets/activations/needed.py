"""How much of a long text a training needs."""

from __future__ import annotations

from dataclasses import replace

from saewidgets.config import TrainingConfig
from saewidgets.lm.token_mask import Kept


def positions_needed(config: TrainingConfig) -> int | None:
    """Positions that the stream of activations reads: whole windows (see `stream`), and enough for the input scale.

    None where a number of epochs was asked for: an epoch is all of the text.
    """
    if config.epochs is not None:
        return None
    settings = config.activations
    window = config.batch_size * max(1, round(settings.shuffle_tokens / config.batch_size))
    windows = -(-config.steps * config.batch_size // window)
    scale = settings.norm_tokens if settings.is_measured else 0
    return max(windows * window, scale)


def counted_positions(config: TrainingConfig) -> Kept:
    """Which positions of a text count as needed: never special tokens, so that it does not decide how much is read
    whether they are trained on."""
    return replace(Kept.of(config.activations), exclude_special=True)
