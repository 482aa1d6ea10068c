"""The optimiser: Adam, its schedules, and what happens to the decoder around each of its steps."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from saewidgets.config.base import MAX_COUNT, Config, CountOrNone, require

_Steps = Annotated[int | None, Field(ge=0, le=MAX_COUNT)]


class OptimizerConfig(Config):
    """Adam and its schedules. Steps are optimiser steps (`batch_size` tokens each)."""

    lr: float = Field(default=3e-4, gt=0, le=1, title="Learning rate", description="Adam's peak learning rate.")
    beta1: float = Field(
        default=0.9, ge=0, lt=1, title="Beta 1",
        description="How slowly Adam's running mean of the gradient changes. 0.9 is usual.",
    )
    beta2: float = Field(
        default=0.999, ge=0, lt=1, title="Beta 2",
        description="How slowly Adam's running mean of the squared gradient changes. 0.999 is usual.",
    )
    eps: float = Field(
        default=1e-8, gt=0, title="Epsilon",
        description="Added to the divisor of Adam's step, so that tiny gradients make no large steps. 1e-8 is usual.",
    )
    weight_decay: float = Field(default=0.0, ge=0, title="Weight decay", description="Decoupled (AdamW) weight decay.")
    grad_clip: float | None = Field(
        default=1.0, gt=0, title="Gradient clip", description="Largest norm of the gradient; empty turns clipping off."
    )
    normalize_decoder_every: CountOrNone = Field(
        default=1, title="Normalise decoder every (steps)",
        description="How often decoder rows are brought back to norm one; empty means never, as in SAELens.",
    )
    project_decoder_grad: bool = Field(
        default=True, title="Project decoder gradient",
        description="Remove the part of the decoder's gradient that would only change the norm of its rows.",
    )
    lr_schedule: Literal["constant", "linear", "cosine", "cosine_restarts"] = Field(
        default="constant", title="Learning-rate schedule", description="Shape between warm-up and the final decay."
    )
    lr_end: float | None = Field(
        default=None, ge=0, le=1, title="Learning rate at the end",
        description="Where all schedules but constant arrive before the final decay; empty means a tenth of the peak.",
    )
    lr_cycles: int = Field(
        default=1, ge=1, le=10_000, title="Cosine cycles",
        description="How many times cosine_restarts falls from the peak; other schedules have one fall.",
    )
    lr_warm_up_steps: _Steps = Field(
        default=None, title="Warm-up steps",
        description="Linear warm-up; empty means 5 % of the run, at most 1,000.",
    )
    lr_decay_steps: _Steps = Field(
        default=None, title="Decay steps",
        description="Linear decay to zero at the end; empty means 20 % of the run.",
    )
    sparsity_warm_up_steps: _Steps = Field(
        default=None, title="Sparsity warm-up steps",
        description="The sparsity coefficient grows linearly over these steps; empty: 5 % of the run, at most 10,000.",
    )

    @model_validator(mode="after")
    def _schedule_falls(self) -> Self:
        end = self.lr_end or 0.0
        decays_to_zero = self.lr_schedule != "constant" and self.lr_end == 0
        require(
            (end <= self.lr, "lr_end", f"The learning rate would rise from {self.lr:g} to {end:g}.",
             "Enter at most Learning rate, or leave it empty."),
            (not decays_to_zero or self.lr_decay_steps == 0, "lr_end",
             "The schedule ends at zero, so nothing would be learned in the decay after it.",
             "Set Decay steps to 0, or leave this empty."),
        )  # fmt: skip
        return self
