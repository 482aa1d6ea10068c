"""What a runner gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from saewidgets.events import Emit
from saewidgets.jobs.control import JobControl


@dataclass(frozen=True, slots=True)
class JobContext:
    """The runner's side of a job.

    Attributes:
        job_id: the job.
        payload: what it was submitted with (plain JSON data).
        emit: takes events; returns at once.
        control: call `control.check()` at every pause point.
        resumed: whether it has run before: continue from the last checkpoint.
        emitter: ``emitter(training_id)`` is an `emit` whose events belong to one of several trainings of this job.
    """

    job_id: str
    payload: Mapping[str, Any]
    emit: Emit
    control: JobControl
    resumed: bool
    emitter: Callable[[str], Emit]


Runner = Callable[[JobContext], Any]
"""Does the work and returns its result. May return early by letting `Interruption` pass, or with an object whose
`.status` is one of ``completed paused stopped cancelled``."""
