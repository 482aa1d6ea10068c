"""What the comparison of a panel shows, from records: settings side by side, results, the Pareto view. No widgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from saewidgets.records import TrainingRecord
from saewidgets.render.labels import ARCHITECTURES, name_of, short_float
from saewidgets.render.numbers import NONE, metric
from saewidgets.widgets.cards import show_value
from saewidgets.widgets.form import corpus_text, form_fields
from saewidgets.widgets.messages import CompareState, ParetoPoint, ResultRow, Scope, YAxis
from saewidgets.widgets.messages_runs import ComparisonData, SettingRow
from saewidgets.workspace.training.comparing import differs, measured, pareto_front, settings

ALL = ""
Y_NAMES: dict[YAxis, str] = {"fvu": "FVU", "ce_loss_score": "CE recovered"}
HIGHER_IS_BETTER: dict[YAxis, bool] = {"fvu": False, "ce_loss_score": True}

# (label, value of a run, text of the value, which is better)
_Result = tuple[str, Callable[[TrainingRecord], float | None], Callable[[float], str], Callable[..., float] | None]


def throughput(record: TrainingRecord) -> float | None:
    """Mean tokens per second over all the time it ran."""
    return record.tokens_done / record.seconds_running if record.seconds_running > 0 else None


_RESULTS: tuple[_Result, ...] = (
    ("FVU", lambda r: measured(r, "fvu"), lambda v: metric("fvu", v), min),
    ("L0", lambda r: measured(r, "l0"), lambda v: metric("l0", v), None),
    ("CE recovered", lambda r: measured(r, "ce_loss_score"), lambda v: metric("ce_loss_score", v), max),
    ("Loss", lambda r: measured(r, "loss"), lambda v: metric("loss", v), None),  # of other losses: no best one
    ("Dead", lambda r: measured(r, "dead"), lambda v: metric("dead", v), min),
    ("Throughput", throughput, lambda v: f"{v:,.0f} tok/s", max),
)


def results(records: Sequence[TrainingRecord]) -> tuple[ResultRow, ...]:
    """The measured numbers of every run; the best of a row is marked where there is one."""
    rows = []
    for label, value, text, better in _RESULTS:
        values = [value(record) for record in records]
        known = [v for v in values if v is not None]
        best = better(known) if better is not None and len(set(known)) > 1 else None
        rows.append(
            ResultRow(
                label=label,
                values=tuple(NONE if v is None else text(v) for v in values),
                best=tuple(v is not None and v == best for v in values),
            )
        )
    return tuple(rows)


def comparison(records: Sequence[TrainingRecord]) -> ComparisonData:
    """The settings of runs side by side, under the names that the form gives them."""
    labels = {field.name: field.label for field in form_fields()}
    order = {name: index for index, name in enumerate(labels)}
    # Runs may take their text from different kinds of corpora: one row says what the form would.
    whole = settings([
        replace(record, config={**record.config, "corpus": corpus_text(record.config.get("corpus")) or record.corpus})
        for record in records
    ])
    rows = [
        SettingRow(
            name=name,
            label=labels.get(name, name),
            values=tuple(_shown(name, value) for value in values),
            differs=differs(values),
        )
        for name, values in whole.items()
        if name != "name"  # stands above the column
    ]
    rows.sort(key=lambda row: order.get(row.name, len(order)))
    return ComparisonData(
        training_ids=tuple(record.id for record in records),
        names=tuple(record.name for record in records),
        rows=tuple(rows),
    )


def _shown(name: str, value: object) -> str:
    if name == "sae.architecture" and isinstance(value, str):
        return name_of(ARCHITECTURES, value)
    if name == "seed" and isinstance(value, int):
        return str(value)  # identifiers have no separators
    return show_value(value)


def scope_of(record: TrainingRecord) -> str:
    """What must be the same for FVU and CE recovered of two runs to mean the same."""
    return f"{record.model}\n{record.hook_name}"


def compare_state(
    records: Iterable[TrainingRecord],
    compared: Sequence[TrainingRecord],
    series: Mapping[str, int],
    *,
    y_axis: YAxis,
    scope: str,
    zoomed: bool,
) -> CompareState:
    """All that the page draws of a comparison, but the settings.

    Args:
        records: all runs of the workspace, for the Pareto view.
        compared: those side by side.
        series: training id → number of its line.
        y_axis, scope, zoomed: how the Pareto view stands.
    """
    groups: dict[str, list[TrainingRecord]] = {}
    everything = list(records)
    for record in everything:
        groups.setdefault(scope_of(record), []).append(record)
    scopes = [
        Scope(value=value, label=value.replace("\n", " · "), count=len(found)) for value, found in groups.items()
    ]
    if len(scopes) > 1:
        scopes.append(Scope(value=ALL, label="All models and hooks", count=len(everything)))
    shown = everything if scope == ALL else groups.get(scope, [])
    points = pareto_points(shown, y_axis)
    return CompareState(
        training_ids=tuple(record.id for record in compared),
        names=tuple(record.name for record in compared),
        series=tuple(series.get(record.id) for record in compared),
        results=results(compared),
        y_axis=y_axis,
        scope=scope,
        scopes=tuple(scopes),
        points=points,
        left_out=len(shown) - len(points),
        summary=summary(points, y_axis),
        zoomed=zoomed,
    )


def pareto_points(records: Iterable[TrainingRecord], y_axis: YAxis) -> tuple[ParetoPoint, ...]:
    """Runs with both numbers, the sparsest first."""
    found = []
    for record in records:
        l0, y = measured(record, "l0"), measured(record, y_axis)
        if l0 is not None and y is not None and l0 > 0:  # the axis is logarithmic
            found.append((l0, y, record))
    found.sort(key=lambda item: (item[0], item[1]))
    front = pareto_front([(l0, y) for l0, y, _ in found], higher_is_better=HIGHER_IS_BETTER[y_axis])
    return tuple(
        ParetoPoint(
            id=record.id,
            name=record.name,
            architecture=name_of(ARCHITECTURES, record.architecture),
            label=point_label(record),
            l0=l0,
            y=y,
            front=on_front,
        )
        for (l0, y, record), on_front in zip(found, front, strict=True)
    )


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
    runs = f"{len(points)} run{'s' * (len(points) != 1)}"
    return f"L0 against {Y_NAMES[y_axis]}, {runs}. No other run is better at the same sparsity than {named}{more}."
