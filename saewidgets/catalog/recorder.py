"""What running jobs emit, written in one transaction per batch: progress, metrics, checkpoints, facts, log lines.

An event of a training's job belongs to that training: to the one named as its subject, else to the job's only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from saewidgets.catalog.checkpoints import save_checkpoint
from saewidgets.catalog.files import Files
from saewidgets.catalog.metrics import save_metrics
from saewidgets.catalog.queue import now
from saewidgets.catalog.tables import JobLogRow, JobRow, TrainingRow
from saewidgets.catalog.trainings import apply_facts
from saewidgets.events import CheckpointSaved, Event, Facts, LogLine, Metrics, Progress


class Recorder:
    """Turns events into rows."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def record(self, session: Session, owner: str, batch: Sequence[tuple[str, str | None, Event]]) -> None:
        """Write `batch`. Events of jobs that are not `owner`'s, or whose training is deleted, are dropped.

        What there is to say of a job that has ended, and so is nobody's, still goes into its log.
        """
        ids = {job_id for job_id, _, _ in batch}
        near = select(JobRow).where(JobRow.id.in_(ids), or_(JobRow.owner == owner, JobRow.owner.is_(None)))
        jobs = {row.id: row for row in session.scalars(near)}
        trainings: dict[str, list[TrainingRow]] = {}
        for training in session.scalars(select(TrainingRow).where(TrainingRow.job_id.in_(jobs))):
            trainings.setdefault(str(training.job_id), []).append(training)
        moment = now(session)
        metrics: dict[str, list[Metrics]] = {}
        for job_id, subject, event in batch:
            job = jobs.get(job_id)
            if job is None or (job.owner is None and not isinstance(event, LogLine)):
                continue
            job.updated_at = moment
            mine = [t for t in trainings.get(job_id, ()) if subject is None or t.id == subject]
            match event:
                case Progress():
                    job.progress = asdict(event)
                    for training in mine:
                        training.tokens_done = event.done
                        training.step = training.step if event.step is None else event.step
                case Metrics():
                    for training in mine:
                        metrics.setdefault(training.id, []).append(event)
                        training.latest = {**training.latest, **event.values}
                case CheckpointSaved():
                    for training in mine:
                        save_checkpoint(session, self._files, training.id, event)
                case Facts():
                    for training in mine:
                        apply_facts(training, event.values, self._files)
                    if not mine:
                        job.result = {**(job.result or {}), **event.values}
                case LogLine():
                    session.add(
                        JobLogRow(
                            job_id=job_id, time=event.time, level=event.level, message=event.message,
                            training_id=subject,
                        )
                    )
        for training_id, events in metrics.items():
            save_metrics(session, training_id, events)
