"""Schedules: pure functions from the number of a step to a multiplier.

Steps count from 0 (the first update) to `steps - 1` (the last). Nothing here has state, so a resumed run is at the
right place of every schedule by knowing its step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from saewidgets.config.base import MAX_COUNT
from saewidgets.config.training import OptimizerConfig, TrainingConfig, former_momentum
from saewidgets.errors import ConfigError

Shape = Literal["constant", "linear", "cosine", "cosine_restarts"]

FALL = 0.5  # share of a run in which a steered L0 comes down to its target
SHORT = 300  # steps: in a run of fewer nothing changes half-way, as it would not recover before its end
SHAPE_END = 0.1
"""Where all shapes but "constant" arrive before the final decay, as a share of the peak, unless `lr_end` says."""


@dataclass(frozen=True, slots=True)
class Schedules:
    """The schedules of one run with every length resolved to a number of steps."""

    steps: int
    shape: Shape
    lr_warm_up: int
    lr_decay: int
    sparsity_warm_up: int
    steering: int = 0
    shape_end: float = SHAPE_END
    cycles: int = 1

    @classmethod
    def resolve(
        cls, config: OptimizerConfig, steps: int, *, has_coefficient: bool = True, is_steered: bool = False
    ) -> Schedules:
        """Fill in what the configuration leaves empty. Warm-up: 5 % of the run, at most 1,000 steps. Decay: 20 %.
        Sparsity warm-up: 5 %, at most 10,000 steps; none without a sparsity coefficient (TopK)."""
        return cls(
            steps=steps,
            shape=config.lr_schedule,
            lr_warm_up=_first(config.lr_warm_up_steps, min(steps // 20, 1_000)),
            lr_decay=_first(config.lr_decay_steps, steps // 5),
            sparsity_warm_up=_first(config.sparsity_warm_up_steps, min(steps // 20, 10_000)) if has_coefficient else 0,
            steering=round(FALL * steps) if is_steered else 0,
            shape_end=SHAPE_END if config.lr_end is None or config.lr is None else config.lr_end / config.lr,
            cycles=config.lr_cycles if config.lr_schedule == "cosine_restarts" else 1,
        )

    def lr(self, step: int) -> float:
        start, end = self.lr_warm_up, self.steps - self.lr_decay
        middle = shape_factor(self.shape, step, start, end, self.shape_end, self.cycles)
        return middle * min(warm_up_factor(step, self.lr_warm_up), decay_factor(step, self.steps, self.lr_decay))

    def sparsity(self, step: int) -> float:
        return warm_up_factor(step, self.sparsity_warm_up)

    @property
    def settled(self) -> int:
        """The first step at which both warm-ups are over, and L0 is led down: from here on losses can be compared."""
        return max(self.lr_warm_up, self.sparsity_warm_up, self.steering)


def warm_up_factor(step: int, length: int) -> float:
    """Linear from ``1 / length`` at step 0 to 1 at step ``length - 1``: no step is wasted on a factor of 0."""
    return 1.0 if step >= length else (step + 1) / length


def decay_factor(step: int, steps: int, length: int) -> float:
    """1 until `length` steps before the end, then linear: ``1 / length`` at the last step, 0 just past it."""
    left = steps - step
    return 1.0 if left >= length else max(left, 0) / length


def shape_factor(shape: Shape, step: int, start: int, end: int, lowest: float = SHAPE_END, cycles: int = 1) -> float:
    """The curve between warm-up and final decay: 1 until `start`, `lowest` from `end` on.

    "cosine_restarts" falls `cycles` times, each time from 1 (Loshchilov and Hutter 2017, arXiv:1608.03983); a cycle has
    ``(end - start) // cycles`` steps, and where that leaves a rest another one begins, as in SAELens.
    """
    if shape == "constant" or step <= start:
        return 1.0
    if step >= end:
        return lowest
    length = max(1, (end - start) // cycles) if shape == "cosine_restarts" else end - start
    done = (step - start) % length / length
    fall = done if shape == "linear" else (1 - math.cos(math.pi * done)) / 2
    return 1 - (1 - lowest) * fall


def _first(value: int | None, default: int) -> int:
    return default if value is None else value


PER_RUN = 10  # evaluations (at most) and checkpoints per run where the configuration leaves the interval empty


def with_epochs(config: TrainingConfig, tokens_per_epoch: int) -> TrainingConfig:
    """`config` with its epochs converted to tokens, rounded to whole tokens; unchanged where it has none. Raises
    `ConfigError` where they do not fill one batch, or are more than can be counted."""
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
    changes: dict[str, Any] = {"tokens": tokens}
    if config.version == 1 and getattr(config.sae, "threshold_momentum", 0.0) is None:
        changes["sae.threshold_momentum"] = former_momentum(tokens // config.batch_size)
    return config.replace(**changes)


def checkpoint_interval(config: TrainingConfig) -> int:
    """Steps from one checkpoint to the next."""
    return config.checkpoints.every_steps or _tenth(config)


def evaluation_interval(config: TrainingConfig) -> int:
    """Steps from one evaluation to the next. `estimate.with_evaluations` fills it in when a run starts; runs of earlier
    versions that are resumed leave it empty and go on as they began, with ten evaluations or fewer."""
    return config.evaluation.every_steps or max(
        _tenth(config), math.ceil((config.evaluation.tokens or 0) / config.batch_size)
    )


def _tenth(config: TrainingConfig) -> int:
    return math.ceil(config.steps / PER_RUN)


def evaluations_left(config: TrainingConfig, step: int) -> int:
    """How many evaluations a run that is at `step` has before it: at the multiples of its interval, and at its end."""
    if step >= config.steps:
        return 0
    every = evaluation_interval(config)
    return (config.steps - 1) // every - step // every + 1
