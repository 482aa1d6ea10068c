"""`ws.jobs`: everything that runs in the background, of every kind and process."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from saewidgets.catalog import statuses
from saewidgets.events import JobStatus
from saewidgets.jobs import Job
from saewidgets.records import JobRecord, Records
from saewidgets.workspace.checked import checks_arguments

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


@checks_arguments
class Jobs:
    """The jobs of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._manager = workspace.manager

    def list(
        self, *, status: JobStatus | str | Collection[JobStatus | str] | None = None, kind: str | None = None
    ) -> Records[JobRecord]:
        """Jobs of all processes, newest first. Raises `ConfigError` if there is no such status."""
        return self._manager.list(status=None if status is None else statuses(status), kind=kind)

    def get(self, job_id: str) -> Job:
        """The handle of a job. Raises `NotFoundError`."""
        return self._manager.handle(job_id)

    def pause_all(self) -> int:
        """Pause whatever is queued or running, wherever it runs; returns how many were asked."""
        return self._manager.pause_all()
