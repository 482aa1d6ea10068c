"""Turns records into the comparison of runs: settings side by side, results, the points of the Pareto view."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from saewidgets.config.base import put
from saewidgets.config.sae import Penalised
from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord
from saewidgets.render.labels import ARCHITECTURES, choice_label, name_of, short_float, target_of
from saewidgets.render.numbers import NONE, column, metric, tokens
from saewidgets.render.static_views import tile_values
from saewidgets.widgets.charts.drawing import HIGHER_IS_BETTER, Y_NAMES
from saewidgets.widgets.messages.training import CompareState, ParetoPoint, ResultRow, Scope, SettingRow, YAxis
from saewidgets.widgets.messages.wire import Setting
from saewidgets.widgets.training_panel.form import form_fields
from saewidgets.widgets.values import corpus_text, show_value
from saewidgets.workspace.training.estimates import config_of, dead_window_of
from saewidgets.workspace.training.run_tables import differs, measured, pareto_front, settings, throughput

ALL = ""
# The FVU without any latent: such a run is not a trade-off, however sparse it is.
_NOTHING: dict[YAxis, float] = {"fvu": 1.0, "ce_loss_score": 0.0}
_ENDED_WELL = (JobStatus.COMPLETED, JobStatus.STOPPED)
_ON_HELD_OUT_TEXT: dict[YAxis, tuple[str, ...]] = {
    "fvu": ("val_l0", "val_fvu"),
    "ce_loss_score": ("val_l0", "ce_loss_score"),
}


def scope_of(record: TrainingRecord) -> str:
    """What must be the same for FVU and CE recovered of two runs to mean the same."""
    return "\n".join((record.model, record.hook_name, str(record.config.get("hook_name_out") or "")))


_NEVER_FIRED = "Never fired"
# label, value, what it is written as, which is best, what runs share in which it means the same
_RESULTS: tuple[tuple[str, Callable[..., Any], str, Callable[..., float] | None, Callable[..., object]], ...] = (
    ("FVU", partial(measured, name="fvu"), "fvu", min, scope_of),
    ("L0", partial(measured, name="l0"), "l0", None, scope_of),
    ("CE recovered", partial(measured, name="ce_loss_score"), "ce_loss_score", max, scope_of),
    ("Loss", partial(measured, name="loss"), "loss", None, scope_of),  # of other losses: no best one
    ("Dead", lambda record: record.latest.get("dead"), "dead", min,
     lambda record: (scope_of(record), dead_window_of(record))),
    (_NEVER_FIRED, lambda record: tile_values(record)["val_dead"], "dead", min, scope_of),
    ("Throughput", throughput, "", max, scope_of),
)  # fmt: skip


def results(records: Sequence[TrainingRecord]) -> tuple[ResultRow, ...]:
    """The measured numbers of every run; the best ones are marked among those whose numbers mean the same."""
    rows = []
    for label, value_of, written, better, among in _RESULTS:
        values = [value_of(record) for record in records]
        if label == _NEVER_FIRED and values.count(None) == len(values):  # of every run more is known, or nothing
            continue
        kinds: dict[object, set[float]] = {}
        for record, value in zip(records, values, strict=True):
            if value is not None:
                kinds.setdefault(among(record), set()).add(value)
        best = {kind: better(known) for kind, known in kinds.items() if better is not None and len(known) > 1}
        shown = [NONE if value is None else f"{value:,.0f} tok/s" for value in values]
        rows.append(ResultRow(
            label=label, values=tuple(column(written, values) if written else shown),
            best=tuple(v is not None and v == best.get(among(r)) for r, v in zip(records, values, strict=True)),
        ))  # fmt: skip
    return tuple(rows)


def settings_of_run(record: TrainingRecord) -> tuple[Setting, ...]:
    """The settings of one run, as a comparison shows them, and what its schedule has made of the learning rate."""
    rows = [Setting(name=row.name, label=row.label, value=row.values[0]) for row in setting_rows([record])]
    if (rate := record.latest.get("lr")) is not None:
        at = next((i for i, row in enumerate(rows) if row.name == "optimizer.lr"), -1)
        rows.insert(at + 1, Setting(name="lr", label="Learning rate, newest", value=metric("lr", rate)))
    return tuple(rows)


def setting_rows(records: Sequence[TrainingRecord]) -> list[SettingRow]:
    """A row for every setting that any of the runs has, in the order of the form."""
    fields = form_fields()
    labels = {field.name: field.label for field in fields} | {"version": "Version of the defaults"}
    chosen = {field.name for field in fields if field.choices}
    order = {name: index for index, name in enumerate(labels)}
    # Runs may take their text from different kinds of corpora: one row says what the form would.
    texts = [corpus_text(record.config.get("corpus")) or record.corpus for record in records]
    whole = settings(
        [replace(r, config={**_in_use(r), "corpus": text}) for r, text in zip(records, texts, strict=True)]
    )
    whole.pop("name", None)  # the text above the column
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


def _in_use(record: TrainingRecord) -> dict[str, Any]:
    """The run's configuration, with what it made of the empty settings that depend on its size."""
    data, config = dict(record.config), config_of(record)
    if config is None:
        return data
    put(data, "dead_window_tokens", config.dead_window)
    put(data, "optimizer.lr", config.learning_rate)
    if isinstance(config.sae, Penalised) and config.sae.aims:
        put(data, "sae.target_l0", config.sae.aim)
    return data


def _shown(name: str, value: object, is_choice: bool) -> str:
    if is_choice and isinstance(value, str):
        return choice_label(name, value)
    if (name, value) == ("device", "auto"):
        return "Automatic"  # the form also says which one that is
    if name == "seed" and isinstance(value, int):
        return str(value)  # identifiers have no separators
    return show_value(value)


def compare_state(
    records: Sequence[TrainingRecord],
    compared: Sequence[TrainingRecord],
    series: Mapping[str, int],
    *,
    y_axis: YAxis,
    scope: str,
    zoomed: bool,
) -> CompareState:
    """All that the page draws of a comparison, but the settings; `records` are all runs, for the Pareto view."""
    shown, scopes = in_scope(records, scope)
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


def in_scope(records: Sequence[TrainingRecord], scope: str) -> tuple[list[TrainingRecord], tuple[Scope, ...]]:
    """The runs of `scope`, and all scopes that there are."""
    groups: dict[str, list[TrainingRecord]] = {}
    for record in records:
        groups.setdefault(scope_of(record), []).append(record)
    scopes = []
    for value, found in groups.items():
        model, read, written = value.split("\n")
        label = f"{model} · {read}" + (f" → {written}" if written else "")
        scopes.append(Scope(value=value, label=label, count=len(found)))
    if len(scopes) > 1:
        scopes.append(Scope(value=ALL, label="All models and hooks", count=len(records)))
    return (list(records) if scope == ALL else groups.get(scope, [])), tuple(scopes)


def pareto_points(records: Iterable[TrainingRecord], y_axis: YAxis) -> tuple[ParetoPoint, ...]:
    """Runs with both numbers, sparsest first. Preliminary ones and those no better than no latents are never front."""
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
    labels = point_labels([record for _, _, record, _ in found])
    return tuple(
        ParetoPoint.of(
            record, kind=name_of(ARCHITECTURES, record.architecture), label=label, l0=l0, y=y,
            front=record.id in front, preliminary=why,
        )
        for (l0, y, record, why), label in zip(found, labels, strict=True)
    )


def preliminary(record: TrainingRecord, y_axis: YAxis) -> str:
    """Why a run's numbers are not compared with those of others; "" if they are."""
    if record.status not in _ENDED_WELL:
        return "stopped without saving" if record.status is JobStatus.CANCELLED else record.status.value
    held_out = all(name in record.latest for name in _ON_HELD_OUT_TEXT[y_axis])
    return "" if held_out else "training batches only"


# What tells two runs with the same label apart, the first of these that differs.
_APART: tuple[Callable[[TrainingRecord], str], ...] = (
    lambda record: name_of(ARCHITECTURES, record.architecture),
    lambda record: f"{record.d_sae:,}",
    lambda record: record.hook_name.removeprefix("blocks."),
    lambda record: f"{tokens(record.tokens_total)} tokens",
    lambda record: f"seed {record.config.get('seed')}",
    lambda record: record.name,
    lambda record: record.id,
)


def point_labels(records: Sequence[TrainingRecord]) -> list[str]:
    """What each run is called in the Pareto view; no two runs are called the same."""
    labels = [point_label(record) for record in records]
    for part in _APART:
        parts: dict[str, set[str]] = {}
        for label, record in zip(labels, records, strict=True):
            parts.setdefault(label, set()).add(part(record))
        labels = [
            ", ".join(filter(None, (label, part(record)))) if len(parts[label]) > 1 else label
            for label, record in zip(labels, records, strict=True)
        ]
    return labels


def point_label(record: TrainingRecord) -> str:
    """ "k 32", "λ 1.5e-3": the setting that decides how sparse a run is."""
    sae = record.config.get("sae", {})
    for name, sign in (("k", "k"), ("l1_coefficient", "λ"), ("l0_coefficient", "λ")):
        value = sae.get(name)
        if isinstance(value, int | float):
            return f"{sign} {value:,}" if name == "k" else f"{sign} {short_float(float(value))}"
    return f"target {short_float(target)}" if (target := target_of(sae)) is not None else ""


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
