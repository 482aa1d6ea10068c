"""Is a layer's SAE good enough to go on with? Four questions, each answered with a number and a goal.

The goals are those of the training itself where it has targets, else those of the guide that this package grew from:
50 to 100 active latents per token (for SAEs that keep k: k; of a few hundred latents fewer), fewer than 10 % dead, and
a loss that has settled. Its absolute reconstruction loss is replaced by FVU, which does not depend on the scale of the
activations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord
from saewidgets.workspace.training.advice import DEAD_GOAL, POINTS, UNEXPLAINED, advise, l0_goal
from saewidgets.workspace.training.comparing import measured

_CHECKS = {  # what is asked: the advice that a run gives by itself on it, and what else helps
    "reconstruction": (
        {"flat", "longer", "nan", "worse"},
        ("More variance is left than wanted. Train on more tokens (or epochs), raise Latents (d_sae), or allow more "
         "active latents: a larger k, or a smaller sparsity coefficient."),
    ),
    "active per token": (
        {"l0", "worse"},
        "Raise the sparsity coefficient for fewer active latents, lower it for more; of an SAE that keeps k, set k.",
    ),
    "dead share": (
        {"dead", "worse"},
        "Lower the sparsity coefficient, use more diverse text, or turn on resampling of dead latents.",
    ),
    "convergence": ({"flat", "longer", "nan", "worse"}, "Let it train to its end."),
}  # fmt: skip
_SETTLING = {
    "longer": "still falling", "flat": "flat, much unexplained", "nan": "diverged", "worse": "worse than the mean",
}  # fmt: skip
_TOO_SHORT = "too short to say"
_MORE = "Train on more tokens (or epochs): so few steps do not show whether the loss has settled."


@dataclass(frozen=True, slots=True)
class Check:
    """One question.

    Attributes:
        name: ``"reconstruction"``, ``"active per token"``, ``"dead share"`` or ``"convergence"``.
        value: what was measured, in words; ``"not measured"`` where nothing was.
        goal: what it should be, in words.
        passed: whether it is.
        number: what was measured; None where nothing was, and for convergence.
    """

    name: str
    value: str
    goal: str
    passed: bool
    number: float | None = None


@dataclass(frozen=True, slots=True)
class LayerReport:
    """What a pipeline has to say of one layer.

    Attributes:
        layer: its number.
        training_id: the run.
        status: of the run.
        checks: the four questions.
        advice: what to change, the gravest first.
    """

    layer: int
    training_id: str
    status: JobStatus
    checks: tuple[Check, ...]
    advice: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all are answered well."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """A flat row: layer, run, status; value, goal and whether it was reached for each check; advice."""
        row: dict[str, Any] = {"layer": self.layer, "training_id": self.training_id, "status": self.status.value}
        for check in self.checks:
            key = check.name.replace(" ", "_")
            row[key] = check.value if check.number is None else check.number
            row[f"{key}_goal"], row[f"{key}_passed"] = check.goal, check.passed
        return {**row, "passed": self.passed, "advice": list(self.advice)}


def report(layer: int, record: TrainingRecord, history: Mapping[str, Sequence[float]]) -> LayerReport:
    """Judge one run by its newest metrics (on held-out activations where they were measured there) and its curve."""
    advice = advise(record, history)
    points = sum(math.isfinite(value) for value in history.get("loss", ()))
    settled = _convergence(record, [a.kind for a in advice], points)
    checks = (_reconstruction(record), _active(record), _dead(record), settled)
    said: list[str] = []
    for check in (each for each in checks if not each.passed):
        kinds, otherwise = _CHECKS[check.name]
        if check.name == "dead share" and check.number is None:
            window = int(record.config.get("dead_window_tokens") or 0)
            otherwise = (
                f"Dead latents are not known before {window:,} tokens (dead_window_tokens): train on more, or shorten "
                "the window."
            )
        elif check.value == _TOO_SHORT:
            otherwise = _MORE
        said += [str(piece) for piece in advice if piece.kind in kinds] or [otherwise]
    said += [str(piece) for piece in advice if piece.kind == "memory"]
    return LayerReport(layer, record.id, record.status, checks, tuple(dict.fromkeys(said)))


def _reconstruction(record: TrainingRecord) -> Check:
    fvu, mse = _target(record, "fvu"), _target(record, "mse")
    goal = UNEXPLAINED if fvu is None else fvu
    value = measured(record, "fvu")
    check = _check("reconstruction", value, "FVU {:.3f}", f"FVU at most {goal:g}", value is not None and value <= goal)
    if mse is None:
        return check
    found = record.latest.get("val_mse")  # the target is about held-out text alone, in units of the activations
    loss = _check(
        check.name, found, "reconstruction loss {:.4g}", f"reconstruction loss at most {mse:g}",
        found is not None and found <= mse,
    )
    if fvu is None:
        return loss
    return replace(
        check, value=f"{check.value}, {loss.value}", goal=f"{check.goal}, {loss.goal}",
        passed=check.passed and loss.passed,
    )


def _active(record: TrainingRecord) -> Check:
    low, high = l0_goal(record)
    value = measured(record, "l0")
    fits = value is not None and (low is None or value >= low) and (high is None or value <= high)
    words = f"{low or 0:.0f} to {high:.0f}" if high is not None else f"at least {low:.0f}"
    return _check("active per token", value, "L0 {:.1f}", f"L0 {words}", fits)


def _dead(record: TrainingRecord) -> Check:
    # Of a run that ended before its window: what never fired on held-out text.
    value = next((found for key in ("dead", "val_dead") if (found := record.latest.get(key)) is not None), None)
    return _check(
        "dead share", value, "{:.1%}", f"less than {DEAD_GOAL:.0%}", value is not None and value < DEAD_GOAL
    )


def _convergence(record: TrainingRecord, kinds: Sequence[str], points: int) -> Check:
    ended = record.status in (JobStatus.COMPLETED, JobStatus.STOPPED)
    found = next((words for kind, words in _SETTLING.items() if kind in kinds), None)
    if ended and found is None and points < POINTS:
        found = _TOO_SHORT
    value = found or ("settled" if ended else record.status.value)
    return Check("convergence", value, "settled", ended and found is None)


def _check(name: str, value: float | None, form: str, goal: str, passed: bool) -> Check:
    return Check(name, "not measured" if value is None else form.format(value), goal, passed, value)


def _target(record: TrainingRecord, name: str) -> float | None:
    targets = record.config.get("targets")
    value = targets.get(name) if isinstance(targets, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
