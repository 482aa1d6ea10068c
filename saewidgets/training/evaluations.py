"""Defines `Evaluations`, on held-out text: those of several trainings that are due at the same time take one pass.

Trainings that run together wait for each other before they evaluate (`Trainer.each_step`), so that whoever asks first
has all of them measured, and the others find their numbers. What the language model does without an SAE, or with zeros
in an activation's place, is measured once in a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saewidgets.activations.store_stream import StoredStream
from saewidgets.evaluation import Baseline, Evaluator, Subject
from saewidgets.evaluation.place import evaluate_rows
from saewidgets.lm.token_mask import TokenMask
from saewidgets.sae import SAE
from saewidgets.sae.scaler import RAW, Scaler
from saewidgets.training.prepare import Prepared

if TYPE_CHECKING:
    from saewidgets.training.member import Member

_SHOWN = {name: f"val_{name}" for name in ("fvu", "l0", "mse", "dead")} | {"ce_loss_score": "ce_loss_score"}
"""The numbers that training shows, and what they are called in charts."""


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """An SAE that waits to be evaluated, as it is.

    Attributes:
        sae: the autoencoder.
        scaler: what is not folded into it.
    """

    sae: SAE
    scaler: Scaler = RAW


class Evaluations:
    """Evaluates the trainings of one run, which share their text."""

    def __init__(self, trainings: Sequence[Member]) -> None:
        self._trainings = trainings
        self._evaluator: Evaluator | None = None
        self._baselines: dict[tuple[str, int], Baseline] = {}  # by place in the model, and tokens
        self._found: dict[Member, tuple[Due, Mapping[str, float]]] = {}

    def of(self, training: Member, check: Callable[[], None]) -> dict[str, float]:
        """The numbers of what is due of `training`, by their names in charts. `check` is called before every forward;
        what it raises ends the evaluation of all that are due."""
        due = training.due
        assert due is not None  # who asks has something
        known = self._found.pop(training, None)
        if known is not None and known[0] is due:
            return _shown(known[1])
        prepared, tokens = training.prepared, training.config.evaluation.tokens
        assert prepared is not None
        if prepared.lm is None:
            assert isinstance(prepared.stream, StoredStream)
            parts = prepared.stream.held_out(tokens, check)
            return _shown(evaluate_rows(due.sae, parts, scaler=due.scaler))
        together = {
            each: what for each in self._trainings
            if (what := each.due) is not None and each.config.evaluation.tokens == tokens
        }  # fmt: skip
        self._measure(together, prepared, check)
        return _shown(self._found.pop(training)[1])

    def forget(self, training: Member) -> None:
        """It has ended."""
        self._found.pop(training, None)

    def _measure(self, due: Mapping[Member, Due], prepared: Prepared, check: Callable[[], None]) -> None:
        assert prepared.lm is not None
        self._evaluator = self._evaluator or Evaluator(prepared.lm)
        config = next(iter(due)).config  # how text is read is the same for all
        tokens, settings = config.evaluation.tokens, config.activations
        subjects = [
            Subject(
                what.sae, each.config.hook_name, each.config.hook_name_out, what.scaler,
                self._baselines.get((each.config.hook_names[-1], tokens)),
            )
            for each, what in due.items()
        ]  # fmt: skip
        found = self._evaluator.evaluate(
            subjects, prepared.stream.evaluation_contexts(tokens), rule=TokenMask.of(settings),
            batch_size=settings.model_batch_size, check=check,
        )
        for (each, what), (metrics, _) in zip(due.items(), found, strict=True):
            self._found[each] = what, metrics
            if (baseline := Baseline.of(metrics)) is not None:
                self._baselines[each.config.hook_names[-1], tokens] = baseline


def _shown(found: Mapping[str, float]) -> dict[str, float]:
    return {ours: found[name] for name, ours in _SHOWN.items() if math.isfinite(found.get(name, math.nan))}
