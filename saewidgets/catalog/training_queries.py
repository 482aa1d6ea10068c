"""Defines `TrainingQueries`: the rows of training runs, and what a run reports while it runs."""

import builtins
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.orm import Session

from saewidgets.catalog.extraction_queries import remove_jobs
from saewidgets.catalog.filestate import Files
from saewidgets.catalog.origins import hand_over
from saewidgets.catalog.rows import (
    NO_JOB,
    RowsOfJobs,
    change,
    find,
    in_use,
    made,
    named,
    now,
    of_job,
    refuse_while_going,
    shared,
    statuses,
    unfinished,
)
from saewidgets.catalog.tables import CheckpointRow, DatasetRow, ExtractionRow, JobRow, ModelRow, SAERow, TrainingRow
from saewidgets.config.names import MAX_NAME, names_of, one_line, search_words, storable
from saewidgets.errors import NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.records import ErrorInfo, JobRecord, Records, TrainingRecord

_WITHOUT_JOB = NO_JOB.status.value
_ACTIVE = tuple(status.value for status in JobStatus if status.is_active)
_SHOWN_STATUS = func.coalesce(
    TrainingRow.own_status,
    case((and_(TrainingRow.own_command.is_not(None), JobRow.status.in_(_ACTIVE)), JobStatus.STOPPING.value)),
    JobRow.status,
    _WITHOUT_JOB,
)
_ALL: Any = select(TrainingRow, JobRow).outerjoin(JobRow, TrainingRow.job_id == JobRow.id)
_FACT_COLUMNS = frozenset({"d_in", "sae_path", "note", "tokens_total"})


class TrainingQueries(RowsOfJobs[TrainingRecord]):
    """`catalog.trainings`."""

    table, record, noun, query = TrainingRow, TrainingRecord, "training", _ALL

    def create_all(
        self,
        runs: Sequence[Mapping[str, Any]],
        free_name: Callable[[str, Collection[str]], str] | None = None,
    ) -> None:
        """Insert the runs of one job, all or none. Each gives the columns of its row. `free_name` makes another name of
        that of a run whose `name_given` is false, and of that of their group (the job has it), where it is among those
        given. They are chosen where they are written, so that what begins at once is called differently."""

        def write(session: Session) -> None:
            job = session.get(JobRow, runs[0].get("job_id")) if free_name else None
            if free_name and job is not None and "group_name" in job.payload:
                grouped = select(TrainingRow.job_id).where(TrainingRow.group_id.is_not(None))
                others = session.scalars(select(JobRow.payload).where(JobRow.id.in_(grouped)))
                taken = {str(p["group_name"]): p.get("group_id", "") for p in others if "group_name" in p}
                mine = [name for name, group_id in taken.items() if group_id == job.payload.get("group_id")]
                name = mine[0] if mine else free_name(job.payload["group_name"], taken)
                job.payload = {**job.payload, "group_name": name}
            names: set[str] = set()  # of these
            for run in runs:
                values = {
                    "tokens_done": 0, "step": 0, "latest": {}, "host": self._host, "created_at": now(session), **run,
                    "config": dict(run["config"]), "facts": dict(run.get("facts") or {}),
                    "folder": self._files.stored(run["folder"]),
                }  # fmt: skip
                if not values.pop("name_given", True) and free_name:
                    values["name"] = free_name(values["name"], names | _names_like(session, values["name"]))
                names.add(values["name"])
                values["model_id"] = named(session, ModelRow, values["model"])
                values["dataset_id"] = named(session, DatasetRow, values.get("dataset_id") or values["corpus"])
                session.add(TrainingRow(**values))

        self._database.write(write)

    def names_like(self, wanted: str) -> set[str]:
        """Names of runs that begin as `wanted` does: all that one with a number behind it could meet are among them."""
        with self._database.read() as session:
            return _names_like(session, wanted)

    def list(self, *, limit: int | None = None, offset: int = 0, **filters: Any) -> Records[TrainingRecord]:
        """Runs that fit all `filters` (see `_conditions`), newest first."""
        return self._read(*_conditions(**filters), limit=limit, offset=offset)

    def not_imported(self) -> dict[str, str]:
        """See `Trainings.not_imported`."""
        query = (
            select(TrainingRow.id, TrainingRow.name)
            .outerjoin(JobRow, TrainingRow.job_id == JobRow.id)
            .outerjoin(SAERow, SAERow.training_id == TrainingRow.id)
            .where(SAERow.id.is_(None), TrainingRow.sae_path.is_not(None), *_conditions(status=JobStatus.COMPLETED))
            .order_by(TrainingRow.created_at.desc(), TrainingRow.id.desc())
        )
        with self._database.read() as session:
            return dict(session.execute(query).all())

    def update(self, row_id: str, *, facts: Mapping[str, Any] | None = None, **changes: Any) -> TrainingRecord:
        """Change columns of the row; `facts` are merged into those that are there."""

        def write(session: Session) -> None:
            row = find(session, TrainingRow, row_id)
            if "sae_path" in changes and changes["sae_path"] is not None:
                changes["sae_path"] = self._files.stored(changes["sae_path"])
            change(row, changes)
            if facts:
                apply_facts(row, facts, self._files)

        self._database.write(write)
        return self.get(row_id)

    def commands(self, job_id: str) -> dict[str, str]:
        """Requests to single trainings of a job: their ids, and "stop" or "cancel"."""
        query = select(TrainingRow.id, TrainingRow.own_command).where(TrainingRow.job_id == job_id)
        with self._database.read() as session:
            return {i: command for i, command in session.execute(query) if command is not None}

    def rename_group(self, group_id: str, name: str) -> None:
        def write(session: Session) -> None:
            mine = select(TrainingRow.job_id).where(TrainingRow.group_id == group_id)
            jobs = session.scalars(select(JobRow).where(JobRow.id.in_(mine))).all()
            if not jobs:
                raise NotFoundError(f"There is no group {group_id!r}.", hint="Its runs may have been deleted.")
            for job in jobs:
                job.payload = {**job.payload, "group_name": name}
                job.updated_at = now(session)  # other processes look at what changed

        self._database.write(write)

    def delete(self, row_id: str) -> Path:
        """Delete the run with its metrics, checkpoints and job; an SAE imported from it stays, and gets its extractions
        and the labels of its latents. Returns its folder, really inside the workspace, for the caller to remove."""

        def write(session: Session) -> Path:
            row = find(session, TrainingRow, row_id)
            job = refuse_while_going(session, row, row.name, "Stop it first.")
            reading = unfinished(row_id).where(JobRow.id != (row.job_id or ""))
            if (reads := session.scalars(reading.limit(1)).first()) is not None:
                raise in_use(row.name, row_id, reads)
            folder = self._files.owned(row.folder)
            for sae in session.scalars(select(SAERow).where(SAERow.training_id == row_id)):
                if Path(self._files.absolute(sae.path)).is_relative_to(folder):
                    raise StateError(
                        f"The SAE {sae.name} has its files in the folder of this training.", where=sae.id,
                        hint="Delete that SAE first.",
                    )
            hand_over(session, row_id)
            remove_jobs(session, ExtractionRow.training_id == row_id)
            session.delete(row)
            session.flush()
            if job is not None and not session.scalar(select(TrainingRow.id).where(TrainingRow.job_id == job.id)):
                session.delete(job)
            return folder

        return self._database.write(write)

    def _records(
        self, session: Session, rows: Sequence[Any], jobs: Mapping[str | None, JobRecord]
    ) -> builtins.list[TrainingRecord]:
        ids = [row.id for row, _ in rows]
        imported = select(SAERow.training_id, func.min(SAERow.id)).where(SAERow.training_id.in_(ids))
        saes = dict(session.execute(imported.group_by(SAERow.training_id)).all())
        checkpoints = select(
            CheckpointRow.training_id, func.count(), func.sum(CheckpointRow.size_bytes),
            func.max(CheckpointRow.step), func.max(CheckpointRow.tokens),
        ).where(CheckpointRow.training_id.in_(ids))  # fmt: skip
        kept = {
            training_id: (int(count), int(size), int(step), int(tokens))
            for training_id, count, size, step, tokens in session.execute(
                checkpoints.group_by(CheckpointRow.training_id)
            )
        }
        return [_record(row, jobs.get(row.job_id), kept.get(row.id), saes.get(row.id), self._files) for row, _ in rows]


def _conditions(
    *, status: JobStatus | str | Collection[JobStatus | str] | None = None, model: str | None = None,
    search: str | None = None, group_id: str | None = None,
) -> list[ColumnElement[bool]]:
    """For a query that joins the jobs. `gpt2` also finds runs on `openai-community/gpt2`; `search` is text in one of
    the columns, upper or lower case alike."""
    found: list[ColumnElement[bool]] = []
    if status is not None:
        found.append(_SHOWN_STATUS.in_(sorted(statuses(status))))
    if model is not None:
        found.append(TrainingRow.model.in_(names_of(model)))
    if group_id is not None:
        found.append(TrainingRow.group_id == group_id)
    if search_words(search):
        columns = (
            TrainingRow.name, TrainingRow.model, TrainingRow.corpus, TrainingRow.hook_name, TrainingRow.architecture,
            TrainingRow.id,
        )  # fmt: skip
        found.append(or_(*(c.icontains(storable(search or "").strip(), autoescape=True) for c in columns)))
    return found


def apply_facts(row: TrainingRow, facts: Mapping[str, Any], files: Files) -> None:
    """Merge what a run found out; ``d_in sae_path note tokens_total`` have columns of their own."""
    if facts.get("resume_note"):  # why a continuation is not bit-identical is shown on the run's card
        facts = {**facts, "note": facts["resume_note"]}
    for name in _FACT_COLUMNS.intersection(facts):
        value = facts[name]
        setattr(row, name, files.stored(value) if name == "sae_path" and value is not None else value)
    rest = {k: v for k, v in facts.items() if k not in _FACT_COLUMNS}
    if rest:
        row.facts = {**row.facts, **rest}


def _record(
    row: TrainingRow, own_job: JobRecord | None, kept: tuple[int, int, int, int] | None, sae_id: str | None,
    files: Files,
) -> TrainingRecord:
    job = own_job or NO_JOB
    own = row.own_status is not None
    stopping = row.own_command is not None and job.status.is_active
    status = JobStatus(row.own_status or (JobStatus.STOPPING if stopping else job.status))  # as in `_SHOWN_STATUS`
    alone = {
        "progress": None, "error": made(ErrorInfo, row.own_error), "queue_position": None, "finished_at": row.ended_at,
    }  # fmt: skip
    return TrainingRecord(**{
        **shared(TrainingRecord, row), **of_job(row, own_job, files), **(alone if own else {}),
        "status": status, "lane": row.lane if own_job is None else job.lane,
        "checkpoint_count": kept[0] if kept else 0, "checkpoint_bytes": kept[1] if kept else 0,
        "last_checkpoint_step": kept[2] if kept else None, "last_checkpoint_tokens": kept[3] if kept else None,
        "sae_id": sae_id, "sae_path": files.absolute(row.sae_path) if row.sae_path is not None else None,
        "heartbeat_at": job.heartbeat_at, "ended_alone": own, "group_name": job.payload.get("group_name"),
    })  # fmt: skip


def _names_like(session: Session, wanted: str) -> set[str]:
    likely = one_line(wanted)[: MAX_NAME // 2]  # of what may be shortened to make room for a number
    return set(session.scalars(select(TrainingRow.name).where(TrainingRow.name.startswith(likely, autoescape=True))))
