"""What to change in a run that does not go well, read off its configuration, newest metrics and loss curve.

The limits are those of the training guide this package grew from: fewer than 10 % dead latents is the goal and more
than half is a fault; 50 to 100 active latents per token are usual where the configuration names no number of its own;
a loss that no longer falls while much variance is left unexplained needs another configuration, not more patience. Its
absolute loss (0.01) is replaced by FVU, which does not depend on the scale of the activations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from saewidgets.config.optimizer import OptimizerConfig
from saewidgets.config.sparsity import coefficient_name, expected_l0, factor_for
from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord
from saewidgets.render.numbers import metric, tokens
from saewidgets.workspace.training.estimates import config_of

Kind = Literal["dead", "flat", "l0", "longer", "nan", "memory", "worse"]

DEAD_SHARE = 0.5
"""From this share of dead latents on something is wrong."""
DEAD_GOAL = 0.1
"""A run that has ended should have fewer."""
WORSE = 1.02
"""An SAE without any latent reaches an FVU of 1 (its bias is the mean). What lies above comes of wild steps."""
USUAL_L0 = (50.0, 100.0)
"""Active latents per token where the configuration has no target."""
BEGINS_BELOW, FEW_STEPS = 2.0, 200
"""An SAE begins with an FVU between 1 and this; fewer steps than these hardly move it."""
L0_STEPS = 1000
"""Before so many steps L0 may be far above what a coefficient leads to: thresholds and biases move slowly."""
DENSE = 0.25
"""From this share of active latents on a code is not sparse, however few latents there are."""
FAR = 1.5
"""L0 is far from a target when it is so many times larger or smaller."""
UNEXPLAINED = 0.2
"""A flat loss is worth a word while this share of the variance is left."""
FLAT = 0.01
"""A loss that fell by less than this share of itself over the last third of a run is flat."""
FALLING = 0.03
"""A loss that still fell by more than this over the last fifth of a run is worth more tokens."""
POINTS = 20
"""Fewer values say nothing about a curve."""

USUAL_RATE = float(OptimizerConfig.model_fields["lr"].default)
"""What a rate far above is lowered to; one that is near it goes down to a third."""

HISTORY = ("loss", "fvu")
"""What of the recorded metrics is looked at."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to change.

    Attributes:
        kind: what it is about.
        title: what was found, with its number.
        text: what to change and to what.
        why: why that helps.
        severity: ``"warning"`` where something is wrong, ``"info"`` where it could be better.
        changes: the same as settings, dotted name → value: `run.config.replace(**advice.changes)`. Empty where no
            single value can be named.
    """

    kind: Kind
    title: str
    text: str
    why: str
    severity: Literal["warning", "info"] = "warning"
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.title} {self.text}"


def advise(record: TrainingRecord, history: Mapping[str, Sequence[float]] | None = None) -> list[Advice]:
    """What to change, the gravest first; empty when nothing stands out.

    Args:
        record: the run.
        history: columns ``step``, ``loss``, ``fvu`` of its recorded metrics (NaN where one was not recorded), as
            `Trainings.metric_columns` returns them. Without it only what the newest values show is said.
    """
    # Dead latents and a wrong L0 follow from steps that are too large: where these are, nothing else is said.
    worse = list(_worse(record))
    alone = bool(worse) or _diverged(record)
    found = [*_failure(record), *worse]
    sparsity = [] if alone else list(_sparsity(record))
    said = {name for advice in sparsity for name in advice.changes}  # L0 decides on the coefficient: one value of it
    if not alone:
        found += [*_dead(record, said), *sparsity]
    if history is not None and record.status is not JobStatus.FAILED and not alone:
        found += _curve(record, history, said)
    return sorted(found, key=lambda advice: advice.severity != "warning")


# ------------------------------------------------------------------------------------------------ failures


def _diverged(record: TrainingRecord) -> bool:
    error = record.error
    return record.status is JobStatus.FAILED and error is not None and error.kind in ("nan", "diverged")


def _failure(record: TrainingRecord) -> Iterator[Advice]:
    if record.status is not JobStatus.FAILED or record.error is None:
        return
    config = record.config
    if _diverged(record):
        changes, words = _smaller_steps(config)
        if changes:
            yield Advice(
                "nan", record.error.what, words,
                "Steps that are too large throw the weights to where the loss grows; smaller ones stay in the valley.",
                changes=changes,
            )  # fmt: skip
    if record.error.kind == "out_of_memory":
        contexts = int(_value(config, "activations.model_batch_size") or 1)
        parts = int(_value(config, "gradient_accumulation") or 1)
        changes = {"activations.model_batch_size": max(1, contexts // 2)}
        words = f"Lower Contexts per forward from {contexts} to {max(1, contexts // 2)}"
        batch = int(_value(config, "batch_size") or 0)
        if batch and batch % (2 * parts) == 0:
            changes["gradient_accumulation"] = 2 * parts
            words += f", and raise Gradient accumulation from {parts} to {2 * parts}"
        yield Advice(
            "memory", record.error.what, f"{words}. Fewer latents (d_sae) or bf16 save more.",
            "The model's forward and the matrix of latents are what fills the memory; both work in smaller pieces with"
            " the same result.",
            changes=changes,
        )  # fmt: skip


def _smaller_steps(config: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """A lower learning rate, and a clip where there is none; nothing where the configuration names no rate."""
    rate = _value(config, "optimizer.lr")
    if not rate:
        return {}, ""
    wanted = USUAL_RATE if rate > 10 * USUAL_RATE else _rounded(rate / 3)
    changes: dict[str, Any] = {"optimizer.lr": wanted}
    words = f"Lower Learning rate from {rate:g} to about {wanted:g}"
    if _value(config, "optimizer.grad_clip") is None:
        changes["optimizer.grad_clip"] = 1.0
        words += ", and set Gradient clip to 1"
    return changes, f"{words}."


def _worse(record: TrainingRecord) -> Iterator[Advice]:
    fvu = _latest(record, "val_fvu", "fvu")
    if fvu is None or fvu < WORSE or record.status is JobStatus.FAILED:
        return
    if record.tokens_done < 0.2 * record.tokens_total:  # it begins above 1 and has to come down first
        return
    steps = _steps(record)
    usual = float(_value(record.config, "optimizer.lr") or 0) <= 10 * USUAL_RATE
    if usual and fvu < BEGINS_BELOW and steps < FEW_STEPS:
        yield _begun(record, fvu, steps)
        return
    changes, words = _smaller_steps(record.config)
    if not changes:
        return
    yield Advice(
        "worse", f"FVU is {metric('fvu', fvu)}: the mean of the activations would explain more.", words,
        "An FVU above 1 is worse than no latent at all. Steps that are too large throw the weights about; latents that"
        " die and an L0 far from its target follow from that.",
        changes=changes,
    )  # fmt: skip


def _begun(record: TrainingRecord, fvu: float, steps: int) -> Advice:
    batch = int(_value(record.config, "batch_size") or 1)
    wanted = max(2 * record.tokens_total, 5 * FEW_STEPS * batch)
    return Advice(
        "longer", f"FVU is {metric('fvu', fvu)} after {steps:,} steps.",
        f"Train longer, to about {tokens(wanted)} tokens ({wanted // batch:,} steps).",
        "That is where an SAE begins: so few steps hardly move it, and say nothing of the other settings.",
        changes=_for_longer(record, wanted),
    )  # fmt: skip


def _for_longer(record: TrainingRecord, wanted: int) -> dict[str, Any]:
    return {"tokens": wanted, **({"epochs": None} if record.config.get("epochs") else {})}


# ------------------------------------------------------------------------------------------------ dead latents


def _dead(record: TrainingRecord, said: Set[str]) -> Iterator[Advice]:
    share = _latest(record, "dead")
    window = int(_value(record.config, "dead_window_tokens") or 0)
    if share is None or record.tokens_done < window:  # no latent can have been silent for a whole window yet
        return
    grave = share > DEAD_SHARE
    if not grave and not (share > DEAD_GOAL and record.status.is_final):
        return
    changes, words = _for_dead(record, said)
    title = f"Dead latents {100 * share:.0f} % after {tokens(record.tokens_done)} tokens."
    yield Advice(
        "dead", title, f"{words} More varied text helps, too.",
        "A latent that does not fire gets no gradient, so it stays dead. What revives it is an auxiliary loss that"
        " trains dead latents on what the others miss, less pressure to be sparse, a lower threshold, or smaller steps"
        " that kill fewer.",
        "warning" if grave else "info",
        changes,
    )  # fmt: skip


def _for_dead(record: TrainingRecord, said: Set[str]) -> tuple[dict[str, Any], str]:
    sae = _sae(record)
    rate = _value(record.config, "optimizer.lr")
    slower = f", or lower Learning rate (now {rate:g})." if rate else "."
    if "aux_k" in sae:
        usual = max(1, (record.d_in or 512) // 2)
        now = sae["aux_k"]
        if not sae.get("aux_coefficient"):
            return (
                {"sae.aux_coefficient": 1 / 32},
                f"Set Auxiliary coefficient (now 0) to 1/32{slower}",
            )
        if now is not None and now < usual:
            return {"sae.aux_k": usual}, f"Raise Auxiliary k (now {now:,}) to about {usual:,}{slower}"
        stronger = 2 * sae["aux_coefficient"]
        return (
            {"sae.aux_coefficient": stronger},
            f"Raise Auxiliary coefficient from {sae['aux_coefficient']:g} to about {stronger:g}{slower}",
        )
    changes: dict[str, Any] = {}
    parts = []
    if threshold := sae.get("initial_threshold"):
        changes["sae.initial_threshold"] = _rounded(threshold / 2)
        parts.append(f"Threshold at the start from {threshold:g} to about {_rounded(threshold / 2):g}")
    name = coefficient_name(sae)
    if name is not None and f"sae.{name}" not in said:
        changes[f"sae.{name}"] = _rounded(sae[name] / 2)
        parts.append(f"Sparsity coefficient from {sae[name]:g} to about {_rounded(sae[name] / 2):g}")
    if not parts:
        lower = f"Lower Learning rate from {rate:g} to about {_rounded(rate / 3):g}." if rate else ""
        return {"optimizer.lr": _rounded(rate / 3)} if rate else {}, lower
    return changes, f"Lower {' and '.join(parts)}{slower}"


# ------------------------------------------------------------------------------------------------ L0


def _sparsity(record: TrainingRecord) -> Iterator[Advice]:
    found = _latest(record, "val_l0", "l0")
    sae = _sae(record)
    # Warm-ups make L0 large at first: nothing is said in the first fifth.
    if found is None or found <= 0 or record.tokens_done < 0.2 * record.tokens_total:
        return
    low, high, words = _target(record, sae, found)
    if low / FAR <= found <= high * FAR:
        return
    many = found > high
    name = coefficient_name(sae)
    changes: dict[str, Any] = {}
    if "k" in sae:
        text = (
            "The threshold lets more through than k: give it longer to settle, or lower Threshold momentum."
            if many
            else "Fewer latents are positive than may be kept. Revive dead latents (Auxiliary k), or lower k."
        )
    elif many and (settled := _settled_l0(record)) is not None and settled <= high * FAR:
        length = max(2 * record.tokens_total, L0_STEPS * _batch(record))
        text = (
            f"Train longer, to about {tokens(length)} tokens: a Sparsity coefficient of {sae[str(name)]:g} usually "
            f"leads to about {metric('l0', settled)}, but not in {_steps(record):,} steps."
        )
        changes.update(_for_longer(record, length))
    elif name is not None:
        # A penalty with a target of its own holds L0 there the better the more it weighs, from both sides.
        own = sae.get("sparsity_loss") == "quadratic"
        wanted = _rounded(sae[name] * (2.0 if own else factor_for(sae, found, math.sqrt(low * high))))
        changes[f"sae.{name}"] = wanted
        verb = "Raise" if wanted > sae[name] else "Lower"
        text = f"{verb} Sparsity coefficient from {sae[name]:g} to about {wanted:g}."
    else:
        text = "Change the sparsity settings." if many else "Loosen the sparsity settings."
    side = "above" if many else "below"
    yield Advice(
        "l0", f"L0 is {metric('l0', found)}, far {side} {words}.", text,
        "The coefficient weighs sparsity against reconstruction: the larger it is, the fewer latents stay active."
        if name is not None
        else "With k fixed, L0 differs from it only through the threshold or through latents that are never positive.",
        "warning" if many or name is None else "info",
        changes,
    )  # fmt: skip


def _settled_l0(record: TrainingRecord) -> float | None:
    """What L0 would come down to in a longer run, of one that is too short for it; None of others, and where nobody
    knows."""
    if record.d_in is None or _steps(record) >= L0_STEPS:
        return None
    config = config_of(record)
    return expected_l0(config, _sae(record).get("d_out") or record.d_in) if config is not None else None


def _steps(record: TrainingRecord) -> int:
    return record.tokens_done // _batch(record)


def _batch(record: TrainingRecord) -> int:
    return max(1, int(_value(record.config, "batch_size") or 1))


def l0_goal(record: TrainingRecord) -> tuple[float | None, float | None]:
    """From how many to how many latents should be active per token: what the targets say, near `target_l0` or k, or
    the usual number, which is smaller where so many of the latents would not be sparse. None: no bound.
    """
    bounds = [_value(record.config, f"targets.{name}") for name in ("l0_min", "l0_max")]
    if any(bounds):
        return bounds[0], bounds[1]
    if (wanted := _sae(record).get("target_l0") or _sae(record).get("k")) is not None:
        return wanted / FAR, wanted * FAR
    return _usual_l0(record)


def _usual_l0(record: TrainingRecord) -> tuple[float, float]:
    most = min(USUAL_L0[1], DENSE * record.d_sae / FAR)
    return min(USUAL_L0[0], most / 2), most


def _target(record: TrainingRecord, sae: Mapping[str, Any], found: float) -> tuple[float, float, str]:
    """The range that L0 (`found`) is compared with, and its words."""
    low, high = (_value(record.config, f"targets.{name}") for name in ("l0_min", "l0_max"))
    if low or high:
        words = " to ".join(f"{bound:g}" for bound in (low, high) if bound)
        return float(low or high / 2), float(high or low * 2), f"the {words} that it should be"
    if (wanted := sae.get("target_l0")) is not None:
        return float(wanted), float(wanted), f"its target of {wanted:g}"
    if (k := sae.get("k")) is not None:
        return float(k), float(k), f"k = {int(k):,}"
    # Without a target only what is an order of magnitude away is remarkable: the usual range is wide.
    widest = min(USUAL_L0[1] * 2, DENSE * record.d_sae / FAR)
    words = "the usual {:.0f} to {:.0f}".format(*_usual_l0(record))
    if widest < USUAL_L0[1] * 2 and found > widest * FAR:  # so few that the usual number could be all of them
        words = f"what is sparse among {record.d_sae:,} latents"
    return min(USUAL_L0[0] / 3, widest / 4), widest, words


# ------------------------------------------------------------------------------------------------ the loss curve


def _curve(record: TrainingRecord, history: Mapping[str, Sequence[float]], said: Set[str]) -> Iterator[Advice]:
    loss = _finite(history.get("loss", ()))
    fvu = _latest(record, "val_fvu", "fvu")
    if len(loss) < POINTS or fvu is None:
        return
    if record.tokens_done < 0.4 * record.tokens_total:
        return
    # Of a warm-up of the sparsity, or of the learning rate's decay at the end, the shape says nothing: a third and a
    # fifth of the whole are longer than either usually is.
    if fvu > UNEXPLAINED and abs(_fall(loss, 3)) < FLAT:
        yield _flat(record, fvu, said)
    elif record.status is JobStatus.COMPLETED and _fall(loss, 5) > FALLING:
        share = 100 * _fall(loss, 5)
        yield Advice(
            "longer", f"The loss still fell by {share:.0f} % over the last fifth of the run.",
            f"Train longer, to about {tokens(2 * record.tokens_total)} tokens.",
            "A curve that has not levelled off has something left to learn.",
            "info", _for_longer(record, 2 * record.tokens_total),
        )  # fmt: skip


def _flat(record: TrainingRecord, fvu: float, said: Set[str]) -> Advice:
    sae = _sae(record)
    changes: dict[str, Any] = {"sae.d_sae": 2 * record.d_sae}
    parts = [f"raise Latents (d_sae) from {record.d_sae:,} to {2 * record.d_sae:,}"]
    name = coefficient_name(sae)
    if "k" in sae:
        changes["sae.k"] = min(2 * int(sae["k"]), 2 * record.d_sae)
        parts.append(f"raise Active latents (k) from {sae['k']:,} to {changes['sae.k']:,}")
    elif name is not None and f"sae.{name}" not in said:
        changes[f"sae.{name}"] = _rounded(sae[name] / 2)
        parts.append(f"lower Sparsity coefficient from {sae[name]:g} to about {changes[f'sae.{name}']:g}")
    rate = _value(record.config, "optimizer.lr")
    slower = f" If it oscillates, lower Learning rate (now {rate:g})." if rate else ""
    text = f"{' and '.join(parts)}, or train on more tokens.{slower}"
    return Advice(
        "flat", f"The loss is flat at FVU {metric('fvu', fvu)}.", text[0].upper() + text[1:],
        "So many latents at this sparsity cannot express more: more of them, or more of them at once, can.",
        changes=changes,
    )  # fmt: skip


def _fall(values: np.ndarray[Any, Any], part: int) -> float:
    """By which share of itself a curve fell over its last 1/`part`, by the medians of that part's two halves.

    The halves' middles lie half of that part apart, so their difference is doubled.
    """
    tail = values[-max(4, len(values) // part) :]
    half = len(tail) // 2
    first, second = float(np.median(tail[:half])), float(np.median(tail[half:]))
    return 2 * (first - second) / abs(first) if first else 0.0


def _finite(values: Sequence[float]) -> np.ndarray[Any, Any]:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


# ------------------------------------------------------------------------------------------------ configuration


def _sae(record: TrainingRecord) -> Mapping[str, Any]:
    found: Mapping[str, Any] = record.config.get("sae", {})
    return found


def _value(config: Mapping[str, Any], name: str) -> Any:
    found: Any = config
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _latest(record: TrainingRecord, *names: str) -> float | None:
    for name in names:
        value = record.latest.get(name)
        if value is not None and math.isfinite(value):
            return float(value)
    return None


def _rounded(value: float) -> float:
    """Two significant digits: nobody wants 0.00015000000000000001."""
    return float(f"{value:.2g}")
