"""Extractions and SAEs as the cards, rows and headers of the extraction viewer. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from saewidgets.events import JobStatus
from saewidgets.feature_records import ExtractionRecord
from saewidgets.records import JobRecord, SAERecord
from saewidgets.render.labels import SOURCES, name_of
from saewidgets.widgets.extraction_viewer.feature_pages import version_label
from saewidgets.widgets.messages.effects import LogitsJob
from saewidgets.widgets.messages.features import ExtractionCard, OpenExtraction, SaeChoice
from saewidgets.widgets.messages.saes import Choice
from saewidgets.widgets.values import NAME_LENGTH, finite, note_of, shorten

VERSIONS = 50
_SHOWN = (JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.PAUSED)


def card_of(
    record: ExtractionRecord, logits: JobRecord | None = None, *, has_logits: bool = False
) -> ExtractionCard:
    """One extraction as the list of jobs shows it.

    Args:
        record: the extraction.
        logits: the newest job that computes the logit effects of all its features.
        has_logits: they are stored.
    """
    progress = record.progress
    running = record.status is JobStatus.RUNNING
    done = tokens_done(record)
    return ExtractionCard(
        id=record.id,
        sae_id=record.sae_id,
        training_id=record.training_id,
        name=shorten(record.name, NAME_LENGTH),
        source=record.source,
        source_label=name_of(SOURCES, record.source),
        model=shorten(record.model, NAME_LENGTH),
        d_sae=record.d_sae,
        status=record.status.value,
        tokens_total=record.tokens_total,
        tokens_done=done,
        fraction=min(1.0, done / record.tokens_total) if record.tokens_total > 0 else 0.0,
        rate=finite(progress.rate) if progress and running else None,
        eta_seconds=finite(progress.eta_seconds) if progress and running else None,
        phase=progress.phase if progress and record.status.is_active else None,
        queue_position=record.queue_position,
        seen=record.seen,
        dead=record.dead,
        dense=record.dense,
        size_bytes=record.size_bytes,
        seconds_running=record.seconds_running,
        created_at=record.created_at,
        note=note_of(record.error, record.note),
        has_logits=has_logits,
        logits=None if logits is None else logits_of(logits),
    )


def logits_of(job: JobRecord) -> LogitsJob | None:
    """A job that computes logit effects; None when there is nothing to say of it any more."""
    if job.status in (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.STOPPED):
        return None
    progress = job.progress
    running = job.status is JobStatus.RUNNING
    done, total = (progress.done, progress.total) if progress else (0, 0)
    return LogitsJob(
        status=job.status.value,
        fraction=min(1.0, done / total) if total > 0 else 0.0,
        done=done,
        total=total,
        eta_seconds=finite(progress.eta_seconds) if progress and running else None,
        phase=progress.phase if progress and job.status.is_active else None,
        queue_position=job.queue_position,
        note=note_of(job.error, job.note),
    )


def tokens_done(record: ExtractionRecord) -> int:
    """Tokens that were read; of a finished one all of them."""
    if record.status is JobStatus.COMPLETED:
        return record.tokens_total
    return min(record.tokens_total, max(0, record.progress.done)) if record.progress else 0


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
    """The extraction whose features are shown.

    Args:
        record: the extraction; it can be read.
        manifest: of its store.
        versions: extractions of the same SAE that can be read, newest first.
        labelled, starred: features of the SAE with a label, with a star.
        live_note: why nothing can be read with the model here; "" if it can.
    """
    return OpenExtraction(
        id=record.id,
        sae_id=record.sae_id,
        name=shorten(record.name, NAME_LENGTH),
        model=shorten(record.model, NAME_LENGTH),
        hook_name=shorten(record.hook_name, NAME_LENGTH),
        d_sae=int(manifest.d_sae),
        n_tokens=int(manifest.n_tokens),
        n_contexts=int(manifest.n_contexts),
        context_size=int(manifest.context_size),
        n_documents=int(manifest.n_documents),
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
    return SaeChoice(
        id=record.id,
        name=shorten(record.name, NAME_LENGTH),
        source=record.source,
        source_label=name_of(SOURCES, record.source),
        model=shorten(record.model, NAME_LENGTH) if record.model else None,
        layer=record.layer,
        d_sae=record.d_sae,
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


def choices_of(facets: Mapping[str, Mapping[Any, int]], name: str) -> tuple[Choice, ...]:
    """The values of the filter `name` with their counts."""
    label = (lambda text: name_of(SOURCES, text)) if name == "source" else (lambda text: text)
    return tuple(
        Choice(value=str(value), label=shorten(label(str(value)), 120), count=count)
        for value, count in facets.get(name, {}).items()
        if value not in (None, "")
    )
