"""Which runs the Pareto view shows, and what it says of each, from records. No widgets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord
from saewidgets.render.labels import ARCHITECTURES, name_of, short_float
from saewidgets.render.numbers import MINUS, metric
from saewidgets.widgets.messages.training import ParetoPoint, Scope, YAxis
from saewidgets.workspace.training.comparing import measured, pareto_front

ALL = ""
Y_NAMES: dict[YAxis, str] = {"fvu": "FVU", "ce_loss_score": "CE recovered"}
HIGHER_IS_BETTER: dict[YAxis, bool] = {"fvu": False, "ce_loss_score": True}
# Beyond these a run has collapsed or diverged. FVU is 1 for the mean of the activations, CE recovered 0 for none.
L0_FLOOR, FVU_CEILING, CE_FLOOR = 0.5, 2.0, -1.0
# What is reached without any latent: such a run is no trade-off, however sparse it is.
_NOTHING: dict[YAxis, float] = {"fvu": 1.0, "ce_loss_score": 0.0}
_ENDED_WELL = (JobStatus.COMPLETED, JobStatus.STOPPED)
_ON_HELD_OUT_TEXT: dict[YAxis, tuple[str, ...]] = {
    "fvu": ("val_l0", "val_fvu"),
    "ce_loss_score": ("val_l0", "ce_loss_score"),
}


def scope_of(record: TrainingRecord) -> str:
    """What must be the same for FVU and CE recovered of two runs to mean the same.

    A transcoder reconstructs what another hook point holds than the one it reads.
    """
    return "\n".join((record.model, record.hook_name, str(record.config.get("hook_name_out") or "")))


def _scope_label(record: TrainingRecord) -> str:
    written = record.config.get("hook_name_out")
    return f"{record.model} · {record.hook_name}" + (f" → {written}" if written else "")


def in_scope(records: Sequence[TrainingRecord], scope: str) -> tuple[list[TrainingRecord], tuple[Scope, ...]]:
    """The runs of `scope`, and all scopes that there are."""
    groups: dict[str, list[TrainingRecord]] = {}
    for record in records:
        groups.setdefault(scope_of(record), []).append(record)
    scopes = [Scope(value=value, label=_scope_label(found[0]), count=len(found)) for value, found in groups.items()]
    if len(scopes) > 1:
        scopes.append(Scope(value=ALL, label="All models and hooks", count=len(records)))
    return (list(records) if scope == ALL else groups.get(scope, [])), tuple(scopes)


def pareto_points(records: Iterable[TrainingRecord], y_axis: YAxis) -> tuple[ParetoPoint, ...]:
    """Runs with both numbers, the sparsest first.

    Those that are preliminary are not on the front and beat no other; nor are those that are no better than none.
    """
    found = []
    for record in records:
        l0, y = measured(record, "l0"), measured(record, y_axis)
        if l0 is not None and y is not None and l0 > 0:  # the axis is logarithmic
            found.append((l0, y, record, preliminary(record, y_axis)))
    found.sort(key=lambda item: (item[0], item[1]))
    higher, nothing = HIGHER_IS_BETTER[y_axis], _NOTHING[y_axis]
    firm = [
        (l0, y, record.id) for l0, y, record, why in found if not why and (y > nothing if higher else y < nothing)
    ]
    best = pareto_front([(l0, y) for l0, y, _ in firm], higher_is_better=higher)
    front = {training_id for (_, _, training_id), on_front in zip(firm, best, strict=True) if on_front}
    return tuple(
        ParetoPoint(
            id=record.id,
            name=record.name,
            architecture=record.architecture,
            kind=name_of(ARCHITECTURES, record.architecture),
            label=point_label(record),
            l0=l0,
            y=y,
            front=record.id in front,
            preliminary=why,
        )
        for l0, y, record, why in found
    )


def _outside(point: ParetoPoint, y_axis: YAxis) -> bool:
    return point.l0 < L0_FLOOR or (point.y < CE_FLOOR if HIGHER_IS_BETTER[y_axis] else point.y > FVU_CEILING)


def in_view(points: Sequence[ParetoPoint], y_axis: YAxis) -> Sequence[ParetoPoint]:
    """Those that the axes are fitted to: not a run that collapsed or diverged, beside which all others lie in a corner.

    All of them where there are no others.
    """
    return [point for point in points if not _outside(point, y_axis)] or points


def outside_words(points: Sequence[ParetoPoint], y_axis: YAxis) -> list[str]:
    """What the caption says of the runs that `in_view` leaves out."""
    count = len(points) - len(in_view(points, y_axis))
    if not count:
        return []
    limit = f"below {MINUS}{-CE_FLOOR:g}" if HIGHER_IS_BETTER[y_axis] else f"above {FVU_CEILING:g}"
    runs = f"{count} run{'s' * (count != 1)}"
    return [f"outside the axes: {runs} with L0 below {L0_FLOOR:g} or {Y_NAMES[y_axis]} {limit}"]


def preliminary(record: TrainingRecord, y_axis: YAxis) -> str:
    """Why a run's numbers do not stand beside those of others: it has not ended well, or nothing was held out.

    "" where they do.
    """
    if record.status not in _ENDED_WELL:
        return "stopped without saving" if record.status is JobStatus.CANCELLED else record.status.value
    held_out = all(name in record.latest for name in _ON_HELD_OUT_TEXT[y_axis])
    return "" if held_out else "training batches only"


def point_label(record: TrainingRecord) -> str:
    """ "k 32", "λ 1.5e-3": the setting that decides how sparse a run is."""
    sae = record.config.get("sae", {})
    for name, sign in (("k", "k"), ("l1_coefficient", "λ"), ("l0_coefficient", "λ")):
        value = sae.get(name)
        if isinstance(value, int | float):
            return f"{sign} {value:,}" if name == "k" else f"{sign} {short_float(float(value))}"
    return ""


def summary(points: Sequence[ParetoPoint], y_axis: YAxis) -> str:
    """The view in a sentence."""
    if not points:
        return "No run has both numbers yet."
    front = [point for point in points if point.front]
    named = ", ".join(f"{point.name} (L0 {metric('l0', point.l0)}, {metric(y_axis, point.y)})" for point in front[:8])
    more = f" and {len(front) - 8} more" if len(front) > 8 else ""
    open_ones = sum(bool(point.preliminary) for point in points)
    runs = f"{len(points)} run{'s' * (len(points) != 1)}" + (f", {open_ones} of them preliminary" if open_ones else "")
    best = f" No other run is better at the same sparsity than {named}{more}." if front else ""
    return f"L0 against {Y_NAMES[y_axis]}, {runs}.{best}"
