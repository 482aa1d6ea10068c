"""What a run should reach, and what happens then."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from saewidgets.config.base import Config
from saewidgets.errors import ConfigError


class TargetsConfig(Config):
    """Goals of a run, judged by every evaluation on held-out text after the warm-ups (so `evaluation.every_steps` says
    how often). Empty ones are not looked at; all others must hold at once.
    """

    fvu: float | None = Field(
        default=None, gt=0, lt=1, title="Target FVU",
        description="Largest fraction of variance unexplained on held-out text that is good enough.",
    )
    mse: float | None = Field(
        default=None, gt=0, title="Target reconstruction loss",
        description="Largest squared error on held-out text that is good enough: mean over tokens, summed over d_in.",
    )
    l0_min: float | None = Field(
        default=None, ge=0, title="Least L0", description="Fewest active latents per token on held-out text."
    )
    l0_max: float | None = Field(
        default=None, gt=0, title="Largest L0", description="Most active latents per token on held-out text."
    )
    evaluations: int = Field(
        default=1, ge=1, le=1000, title="Evaluations in a row",
        description="How many evaluations in a row must agree before the targets count as reached or missed.",
    )
    action: Literal["warn", "stop"] = Field(
        default="warn", title="When the targets are reached",
        description="warn: the log says so, and warns of an L0 outside its range. stop: the run also ends there.",
    )

    @property
    def any(self) -> bool:
        """Whether there is anything to reach."""
        return any(value is not None for value in (self.fvu, self.mse, self.l0_min, self.l0_max))

    @model_validator(mode="after")
    def _fit_together(self) -> TargetsConfig:
        if self.l0_min is not None and self.l0_max is not None and self.l0_min > self.l0_max:
            raise ConfigError(
                f"The range of L0 is empty: from {self.l0_min:g} to {self.l0_max:g}.", where="l0_min",
                hint="Enter at most Largest L0.",
            )
        if self.action == "stop" and not self.any:
            raise ConfigError(
                "There is no target at which the run could stop.", where="action",
                hint="Set a target, or choose warn.",
            )
        return self
