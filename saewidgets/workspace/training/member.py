"""One run of a group: ended, waited for and answered for by itself, although its job is that of all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from saewidgets.errors import NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus
from saewidgets.jobs.states import Command, plan
from saewidgets.records import ErrorInfo, TrainingRecord

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

_CLOSING = 10.0
"""Seconds that a job has to end when the last of its runs has: it closes files and writes one row."""


def end_alone(workspace: Workspace, training_id: str, save: bool) -> bool:
    """End one run of a group; False where it is the last one (or has no group), so that its job is what to end.

    While the job works the run ends within half a second after its current step, and its status is `stopping` until
    then. While nobody works on it, it has ended at once.

    Raises:
        StateError: it has ended in a way that cannot be changed.
    """
    trainings = workspace.catalog.trainings
    record = trainings.get(training_id)
    if record.group_id is None or record.job_id is None:
        return False
    command: Command = "stop" if save else "cancel"
    if plan(command, record.status) is None:  # raises where it makes no sense
        return True
    others = [each for each in trainings.by_job(record.job_id) if each.id != training_id and not each.ended_alone]
    if not others:
        return False
    workspace.manager.sweep()
    if workspace.manager.get(record.job_id).status.is_active:
        trainings.update(training_id, own_command=command)
        return True
    ended = JobStatus.STOPPED if save else JobStatus.CANCELLED
    # The command stays: a job that starts at this moment finds it.
    trainings.update(training_id, own_status=ended.value, own_command=command, ended_at=workspace.catalog.now())
    return True


def wait_for_one(workspace: Workspace, training_id: str, timeout: float | None) -> JobStatus:
    """Wait until one run of a group has ended, or the group is paused; returns the run's status then.

    The last one to end is waited for until the job has ended too, so that all of them can be deleted or resumed then.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        workspace.manager.sweep()
        record = workspace.catalog.trainings.get(training_id)
        left = workspace.manager.settings.poll if deadline is None else deadline - time.monotonic()
        if record.status.is_final or record.status is JobStatus.PAUSED or left <= 0:
            if record.ended_alone and left > 0:
                let_close(workspace, record, None if deadline is None else left)
            return record.status
        if record.job_id is None:
            raise NotFoundError(
                f"The job of {record.name} is gone.", where=training_id, hint="Start it again: ws.trainings.retry(id)."
            )
        workspace.manager.wait(record.job_id, min(left, workspace.manager.settings.poll))


def let_close(workspace: Workspace, record: TrainingRecord, timeout: float | None = None) -> None:
    """Where every run of a job has ended, give the job itself a moment (`timeout` seconds at most) to say so too."""
    if record.job_id is None or not all(r.ended_alone for r in workspace.catalog.trainings.by_job(record.job_id)):
        return
    if workspace.manager.get(record.job_id).status.is_active:
        workspace.manager.wait(record.job_id, _CLOSING if timeout is None else min(timeout, _CLOSING))


def result_of_one(record: TrainingRecord) -> Any:
    """What one run of a group returned, from its row.

    Raises:
        SAEWidgetsError: it failed; what its row says.
        StateError: it has no result.
    """
    if record.status is JobStatus.FAILED:
        error = record.error or ErrorInfo("The training failed.")
        raise SAEWidgetsError(error.what, where=error.where, hint=error.hint)
    if record.status not in (JobStatus.COMPLETED, JobStatus.STOPPED):
        raise StateError(f"{record.name} is {record.status} and has no result.", hint="Wait for it, or resume it.")
    from saewidgets.training import TrainingResult  # torch: seconds to import

    return TrainingResult(record.status, record.step, record.tokens_done, record.sae_path, dict(record.latest))
