"""Dead latents that start anew."""

from __future__ import annotations

from pydantic import Field

from saewidgets.config.base import MAX_COUNT, Config


class ResamplingConfig(Config):
    """Dead latents are pointed at inputs that are reconstructed badly (Bricken et al. 2023). Off by default.

    Which latents are dead is decided by `dead_window_tokens`.
    """

    every_steps: int | None = Field(
        default=None, ge=1, le=MAX_COUNT, title="Resample every (steps)",
        description="How often dead latents start anew from inputs that are reconstructed badly; empty means never.",
    )
    until_share: float = Field(
        default=0.5, gt=0, le=1, title="Resample until (share of the run)",
        description="No latent starts anew after this share of the run: a new one takes time to learn.",
    )
    encoder_scale: float = Field(
        default=0.2, gt=0, le=10, title="Encoder scale of resampled latents",
        description="Norm of their encoder vectors as a share of the mean norm of living latents. 0.2 is usual.",
    )
