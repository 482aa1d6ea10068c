"""What is said of a run that has not left what is asked for: where it stands, and a way out that works there."""

from __future__ import annotations

from saewidgets.errors import NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.jobs.states import RESUMABLE
from saewidgets.records import TrainingRecord

_ENDED = {
    JobStatus.FAILED: "failed",
    JobStatus.STOPPED: "was stopped",
    JobStatus.CANCELLED: "was cancelled",
    JobStatus.COMPLETED: "has completed",
}
_ASLEEP = (JobStatus.PAUSED, JobStatus.INTERRUPTED)


def no_sae(record: TrainingRecord) -> StateError:
    """It has no SAE."""
    ended = _ENDED.get(record.status)
    what = f"{record.name} has not written an SAE yet." if ended is None else f"{record.name} {ended} without an SAE."
    return StateError(what, where=record.id, hint=_way_to_an_sae(record))


def no_checkpoint(record: TrainingRecord) -> NotFoundError:
    """It has no checkpoint at all."""
    if record.status in _ENDED or record.status in _ASLEEP:
        what, hint = f"{record.name} has no checkpoint to go on from.", _again(record)
    else:
        what, hint = f"{record.name} has no checkpoint yet.", "Wait for its first one."
    return NotFoundError(what, where=record.id, hint=hint)


def _way_to_an_sae(record: TrainingRecord) -> str:
    if record.status is JobStatus.STOPPING:
        return "Wait until it has ended."
    if record.status in _ENDED:
        made = "Make one of its newest checkpoint with run.export_checkpoint(). " if record.checkpoint_count else ""
        return made + _again(record)
    if record.status not in _ASLEEP:
        return "Wait until it has completed, or stop it and keep what was learned."
    return "Resume it, or stop it and keep what was learned." if record.checkpoint_count else "Resume it."


def _again(record: TrainingRecord) -> str:
    """How to let it run, now that it does not."""
    # Of a group that is resumed, what has ended by itself stays as it is.
    resumes = record.status in RESUMABLE and not record.ended_alone
    why = "Its error says why. " if record.status is JobStatus.FAILED else ""
    return why + ("Resume it, or start it again with retry." if resumes else "Start it again with retry.")
