"""What the comparison of a panel shows, from records: settings side by side, results. No widgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from saewidgets.records import TrainingRecord
from saewidgets.render.labels import choice_label
from saewidgets.render.numbers import NONE, column
from saewidgets.render.runs import tile_values
from saewidgets.widgets.charts.pareto_points import in_scope, pareto_points, scope_of, summary
from saewidgets.widgets.messages.runs import ComparisonData, SettingRow
from saewidgets.widgets.messages.training import CompareState, ResultRow, YAxis
from saewidgets.widgets.messages.wire import Setting
from saewidgets.widgets.training_panel.form import form_fields
from saewidgets.widgets.values import corpus_text, show_value
from saewidgets.workspace.training.comparing import differs, measured, settings, throughput


@dataclass(frozen=True, slots=True)
class _Result:
    """A row of the results."""

    label: str
    value: Callable[[TrainingRecord], float | None]
    texts: Callable[[Sequence[float | None]], Sequence[str]]
    better: Callable[..., float] | None = None
    among: Callable[[TrainingRecord], object] = lambda record: None  # what runs share in which it means the same


def _metric(label: str, name: str, better: Callable[..., float] | None = None, **more: Any) -> _Result:
    return _Result(label, lambda record: measured(record, name), lambda values: column(name, values), better, **more)


def _rates(values: Sequence[float | None]) -> list[str]:
    return [NONE if value is None else f"{value:,.0f} tok/s" for value in values]


def _dead_among(record: TrainingRecord) -> object:
    return scope_of(record), record.config.get("dead_window_tokens")


_NEVER_FIRED = "Never fired (held-out text)"
_RESULTS = (
    _metric("FVU", "fvu", min, among=scope_of),
    _metric("L0", "l0"),
    _metric("CE recovered", "ce_loss_score", max, among=scope_of),
    _metric("Loss", "loss"),  # of other losses: no best one
    # As the card has it: what fired in none of a few held-out tokens need not be dead.
    _Result("Dead", lambda record: record.latest.get("dead"), lambda values: column("dead", values), min, _dead_among),
    _Result(
        _NEVER_FIRED, lambda record: tile_values(record)["val_dead"], lambda values: column("dead", values), min,
        scope_of,
    ),
    _Result("Throughput", throughput, _rates, max, scope_of),
)


def results(records: Sequence[TrainingRecord]) -> tuple[ResultRow, ...]:
    """The measured numbers of every run; the best ones are marked among those whose numbers mean the same."""
    rows = []
    for row in _RESULTS:
        values = [row.value(record) for record in records]
        if row.label == _NEVER_FIRED and values.count(None) == len(values):  # of every run more is known, or nothing
            continue
        kinds = [row.among(record) for record in records]
        rows.append(
            ResultRow(
                label=row.label,
                values=tuple(row.texts(values)),
                best=tuple(
                    _is_best(v, [other for other, of in zip(values, kinds, strict=True) if of == kind], row.better)
                    for v, kind in zip(values, kinds, strict=True)
                ),
            )
        )
    return tuple(rows)


def _is_best(value: float | None, others: Sequence[float | None], better: Callable[..., float] | None) -> bool:
    known = {other for other in others if other is not None}
    return better is not None and value is not None and len(known) > 1 and value == better(known)


def comparison(records: Sequence[TrainingRecord]) -> ComparisonData:
    """The settings of runs side by side, under the names that the form gives them."""
    return ComparisonData(
        training_ids=tuple(record.id for record in records),
        names=tuple(record.name for record in records),
        rows=tuple(setting_rows(records)),
    )


def settings_of_run(record: TrainingRecord) -> tuple[Setting, ...]:
    """The settings of one run, as `comparison` shows them."""
    return tuple(Setting(name=row.name, label=row.label, value=row.values[0]) for row in setting_rows([record]))


def setting_rows(records: Sequence[TrainingRecord]) -> list[SettingRow]:
    """A row for every setting that any of the runs has, in the order of the form."""
    fields = form_fields()
    labels = {field.name: field.label for field in fields}
    chosen = {field.name for field in fields if field.choices}
    order = {name: index for index, name in enumerate(labels)}
    # Runs may take their text from different kinds of corpora: one row says what the form would.
    whole = settings(
        [
            replace(
                record, config={**record.config, "corpus": corpus_text(record.config.get("corpus")) or record.corpus}
            )
            for record in records
        ]
    )
    whole.pop("name", None)  # stands above the column
    shared = Counter(labels.get(name, name) for name in whole)
    rows = [
        SettingRow(
            name=name,
            # "Sparsity coefficient" is one field in the form of each architecture, but two settings.
            label=f"{label} ({name.rsplit('.', 1)[-1]})" if shared[label] > 1 else label,
            values=tuple(_shown(name, value, name in chosen) for value in values),
            differs=differs(values),
        )
        for name, values in whole.items()
        for label in [labels.get(name, name)]
    ]
    return sorted(rows, key=lambda row: order.get(row.name, len(order)))


def _shown(name: str, value: object, is_choice: bool) -> str:
    if is_choice and isinstance(value, str):
        return choice_label(name, value)
    if (name, value) == ("device", "auto"):
        return "Automatic"  # the form also says which one that is
    if name == "seed" and isinstance(value, int):
        return str(value)  # identifiers have no separators
    return show_value(value)


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
    everything = list(records)
    shown, scopes = in_scope(everything, scope)
    points = pareto_points(shown, y_axis)
    return CompareState(
        training_ids=tuple(record.id for record in compared),
        names=tuple(record.name for record in compared),
        series=tuple(series.get(record.id) for record in compared),
        results=results(compared),
        y_axis=y_axis,
        scope=scope,
        scopes=scopes,
        points=points,
        left_out=len(shown) - len(points),
        summary=summary(points, y_axis),
        zoomed=zoomed,
    )
