"""How much of a long text a training needs."""

from __future__ import annotations

from saewidgets.config import TrainingConfig


def positions_needed(config: TrainingConfig) -> int | None:
    """Positions that the stream of activations reads: whole windows (see `stream`), and enough for the input scale.

    None where a number of epochs was asked for: an epoch is all of the text.
    """
    if config.epochs is not None:
        return None
    settings = config.activations
    window = config.batch_size * max(1, round(settings.shuffle_tokens / config.batch_size))
    windows = -(-config.steps * config.batch_size // window)
    scale = settings.norm_tokens if settings.normalize != "none" else 0
    return max(windows * window, scale)
