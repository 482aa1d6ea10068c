"""Extractions and SAEs as the cards, rows and headers of the extraction viewer, and the dialog *Start extraction*.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import ValidationError

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.validation import config_errors
from saewidgets.events import JobStatus
from saewidgets.feature_records import ExtractionRecord
from saewidgets.records import JobRecord, SAERecord
from saewidgets.render.labels import SOURCES, name_of
from saewidgets.widgets.extraction_viewer.feature_pages import version_label
from saewidgets.widgets.messages.features import (
    ExtractionCard,
    ExtractionField,
    LogitsJob,
    OpenExtraction,
    SaeChoice,
)
from saewidgets.widgets.messages.saes import Choice
from saewidgets.widgets.values import NAME_LENGTH, corpus_text, note_of, progress_of, shorten

VERSIONS = 50
_SHOWN = (JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.PAUSED)


def card_of(
    record: ExtractionRecord, logits: JobRecord | None = None, *, has_logits: bool = False
) -> ExtractionCard:
    """One extraction as the list of jobs shows it; `logits` is the newest job that computes them for all features."""
    completed, read = record.status is JobStatus.COMPLETED, record.progress.done if record.progress else 0
    done = record.tokens_total if completed else min(record.tokens_total, max(0, read))
    return ExtractionCard.of(
        record,
        name=shorten(record.name, NAME_LENGTH),
        source_label=name_of(SOURCES, record.source),
        model=shorten(record.model, NAME_LENGTH),
        status=record.status.value,
        tokens_done=done,
        fraction=min(1.0, done / record.tokens_total) if record.tokens_total > 0 else 0.0,
        note=note_of(record.error, record.note),
        has_logits=has_logits,
        logits=None if logits is None else logits_of(logits),
        **progress_of(record),
    )


def logits_of(job: JobRecord) -> LogitsJob | None:
    """A job that computes logit effects; None when there is nothing to say of it any more."""
    if job.status in (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.STOPPED):
        return None
    done, total = (job.progress.done, job.progress.total) if job.progress else (0, 0)
    progress = progress_of(job)
    del progress["rate"]
    return LogitsJob.of(
        job,
        status=job.status.value,
        fraction=min(1.0, done / total) if total > 0 else 0.0,
        done=done,
        total=total,
        note=note_of(job.error, job.note),
        **progress,
    )


def is_active(record: ExtractionRecord) -> bool:
    """It waits, runs, or holds a place to go on: what the tab Jobs counts."""
    return record.status in (JobStatus.QUEUED, JobStatus.STOPPING) or record.status.is_active


def open_of(
    record: ExtractionRecord,
    manifest: Any,
    versions: Iterable[ExtractionRecord],
    *,
    labelled: int,
    starred: int,
    live_note: str = "",
) -> OpenExtraction:
    """The extraction whose features are shown; `versions` are those of the same SAE that can be read, newest first."""
    return OpenExtraction.of(
        manifest,
        id=record.id,
        sae_id=record.sae_id,
        name=shorten(record.name, NAME_LENGTH),
        model=shorten(record.model, NAME_LENGTH),
        hook_name=shorten(record.hook_name, NAME_LENGTH),
        dead=record.dead or 0,
        dense=record.dense or 0,
        labelled=labelled,
        starred=starred,
        versions=tuple(Choice(value=each.id, label=version_label(each)) for each in list(versions)[:VERSIONS]),
        live=not live_note,
        live_note=shorten(live_note, 500),
    )


def choice_of(record: SAERecord, running: ExtractionRecord | None = None) -> SaeChoice:
    """A row of *Choose an SAE*; `running` is an extraction of it under way."""
    if running is not None and running.status in _SHOWN and running.seen:
        extracted = f"{running.seen:,} so far"
    else:
        extracted = f"{record.features_extracted:,}" if record.features_extracted else "none"
    return SaeChoice.of(
        record,
        name=shorten(record.name, NAME_LENGTH),
        source_label=name_of(SOURCES, record.source),
        model=shorten(record.model, NAME_LENGTH) if record.model else None,
        features_extracted=extracted,
        state="missing" if record.state == "missing" else "ok",
    )


def not_offered(rows: Iterable[SaeChoice], downloading: int) -> str:
    """ "1 has no files, 1 is being downloaded"; "" when all are offered."""
    missing = sum(row.state == "missing" for row in rows)
    parts = []
    if missing:
        parts.append(f"{missing:,} {'has' if missing == 1 else 'have'} no files")
    if downloading:
        parts.append(f"{downloading:,} {'is' if downloading == 1 else 'are'} being downloaded")
    return ", ".join(parts)


# field of `ExtractionConfig` → how it is typed, what stands below the box, what is said besides its description
_FIELDS: dict[str, tuple[Literal["text", "integer", "share", "boolean"], str, str]] = {
    "corpus": ("text", "empty: as in training", ' A public-domain text comes with the package: "demo".'),
    "tokens": ("integer", "rare features need more", ""),
    "context_size": ("integer", "empty: as in training", ""),
    "examples": ("integer", "", " At most two from one document."),
    "per_interval": ("integer", "16 activation intervals", ""),
    "min_activation": ("share", "", ""),
    "exclude_special_tokens": ("boolean", "", ""),
    "max_norm_ratio": ("boolean", "", ""),
    "model": ("text", "an id on Hugging Face, or a folder", ""),
    "batch_size": ("integer", "fewer take less memory", ""),
    "device": ("text", '"cpu", "cuda:0", …', ""),
}


def form_fields(data: Mapping[str, Any], *, again: bool, needs_model: bool) -> tuple[ExtractionField, ...]:
    """The fields of the dialog, with values from the data of an `ExtractionConfig`.

    `again`: an extraction is tried again, perhaps with less memory or elsewhere; `needs_model`: the SAE does not say
    which model it belongs to.
    """
    shown = {"model": needs_model, "batch_size": again, "device": again}
    return tuple(_field(name, data[name]) for name in _FIELDS if shown.get(name, True))


def _field(name: str, value: Any) -> ExtractionField:
    kind, hint, more = _FIELDS[name]
    info = ExtractionConfig.model_fields[name]
    label, ticked = str(info.title), True
    if name == "max_norm_ratio":  # a checkbox says whether there is a limit
        ticked = value or info.default
        label = f"Skip tokens with norm above {ticked:g} × median"
    if kind == "boolean":
        text: str | bool = bool(value)
    elif kind == "share":
        text = f"{float(Decimal(str(value)) * 100):.10g} % of max"
    elif name == "corpus":
        text = corpus_text(value) if value else ""
    else:
        text = "" if value is None else f"{value:,}" if kind == "integer" else str(value)
    return ExtractionField(
        name=name, label=label, kind=kind, value=text, ticked=ticked, hint=hint, help=f"{info.description}{more}"
    )


def config_of(values: Mapping[str, Any]) -> tuple[ExtractionConfig | None, dict[str, str]]:
    """What was typed as a configuration: ``(config, {})`` when good, ``(None, {field: sentence})`` when not."""
    try:
        return ExtractionConfig.model_validate(values), {}
    except ValidationError as error:
        return None, {name.split(".")[0]: text for name, text in config_errors(error, ExtractionConfig).items()}
