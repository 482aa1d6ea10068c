"""Records of the workspace as the cards, notes and rows that the page draws. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from saewidgets.activation_records import ActivationStoreRecord
from saewidgets.events import JobStatus
from saewidgets.records import CheckpointRecord, TemplateRecord, TrainingRecord
from saewidgets.render.labels import architecture_label, choice_label
from saewidgets.render.static_views import tile_values
from saewidgets.widgets.messages.training import Card, CheckpointRow, StoreRow, TemplateRow, Tile
from saewidgets.widgets.values import finite, note_of, number, progress_of
from saewidgets.workspace.training.advice import advise

BEST = "checkpoints.best_metric"
HELD_OUT = {"fvu": "val_fvu", "mse": "val_mse", "ce_loss_score": "ce_loss_score"}
"""Metrics that are measured on held-out text, and what they are recorded as."""


def _retry(record: TrainingRecord) -> dict[str, Any] | None:
    if record.error is None or record.error.resumes:
        return None
    return next((dict(advice.changes) for advice in advise(record)), {})


def card_of(record: TrainingRecord, series: int | None = None, earlier: str | None = None) -> Card:
    """One training as the list shows it; `earlier` is the name of the run that it goes on from, or repeats."""
    source = record.facts.get("continued_from")
    done = max(record.tokens_done, 0)
    return Card.of(
        record,
        status=record.status.value,
        hook_name_out=record.config.get("hook_name_out"),
        stored=dict(record.config.get("corpus") or {}).get("kind") == "activations",
        architecture=architecture_label(record.config.get("sae", {}), record.architecture),
        tokens_done=done,
        fraction=min(1.0, done / record.tokens_total) if record.tokens_total > 0 else 0.0,
        **progress_of(record),
        tiles=Tile(**{name: number(value) for name, value in tile_values(record).items()}),
        note=note_of(record.error, record.note),
        dead_window_tokens=int(record.config.get("dead_window_tokens", 1_000_000)),
        series=series,
        retry_of=earlier if source is None else None,
        continued_from=earlier if source is not None else None,
        continued_step=int(source["step"]) if source else None,
        retry=_retry(record),
        advice=next((advice.title for advice in advise(record)), None) if record.error is None else None,
    )


def checkpoint_rows(
    records: Iterable[CheckpointRecord], best_metric: str, columns: Mapping[str, Any]
) -> tuple[CheckpointRow, ...]:
    """The table of checkpoints, newest first; one that was kept for two reasons says both.

    Args:
        records: the checkpoints of a run, with the newest metrics of when they were written.
        best_metric: what the best one is chosen by: on held-out text, where that is measured.
        columns: the metrics `HELD_OUT` of the run, as `Trainings.metric_columns` has them.
    """
    at: dict[int, dict[str, float]] = {}
    for metric, column in HELD_OUT.items():
        for step, value in zip(columns["step"], columns[column], strict=True):
            if math.isfinite(value):
                at.setdefault(int(step), {})[metric] = float(value)
    words = {"best": f"best {choice_label(BEST, best_metric)}", "manual": "saved by you"}
    rows = []
    for record in sorted(records, key=lambda row: (row.step, row.created_at), reverse=True):
        number_of_step = f"step {record.step:,}"
        held_out = at.get(record.step, {})
        chosen = record.metrics if not at or best_metric == "loss" else held_out
        kinds = [number_of_step if kind == "every" else words.get(kind, kind) for kind in record.kinds]
        row = CheckpointRow.of(
            record,
            label=", ".join(kinds) or number_of_step,
            best="best" in record.kinds,
            fvu=finite(record.metrics.get("fvu")),
            val_fvu=finite(held_out.get("fvu")),
            best_by=None if best_metric == "fvu" else finite(chosen.get(best_metric)),
            saved_at=record.created_at,
        )
        rows.append(row)
    return tuple(rows)


def store_row(record: ActivationStoreRecord, settings: dict[str, Any], *, two_hooks: bool = False) -> StoreRow:
    """One store as the form lists it.

    Args:
        record: the store.
        settings: what a training takes from it, by dotted name.
        two_hooks: the autoencoder reads one hook point and reconstructs another.
    """
    return StoreRow.of(
        record,
        model=record.model or "",
        tokens=record.n_tokens if record.n_tokens is not None else record.tokens_total,
        problem=problem_of(record, two_hooks),
        values={**settings, "corpus": record.id},
    )


def problem_of(record: ActivationStoreRecord, two_hooks: bool) -> str:
    """Why a training cannot read it, as a sentence or two; ``""`` if it can."""
    if not record.is_whole:
        status = record.status
        if status in (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.STOPPED):
            ended = "failed" if status is JobStatus.FAILED else f"was {status.value}"
            return f"Its capture {ended}. Capture the activations again."
        if status in (JobStatus.INTERRUPTED, JobStatus.PAUSED):
            verb = "is" if status is JobStatus.PAUSED else "was"
            return f"Its capture {verb} {status.value}. Resume it: saewidgets activations resume {record.id}."
        return f"Its capture is {status.value}. Wait until it has completed."
    if record.state != "ok":
        return record.state_note
    if two_hooks and len(record.hook_names) < 2:
        return "A transcoder reads one hook point and reconstructs another; this store holds only one."
    return ""


def template_row(record: TemplateRecord) -> TemplateRow:
    """One template as the list shows it."""
    sae = record.config.get("sae", {})
    return TemplateRow.of(record, architecture=architecture_label(dict(sae), record.architecture))
