"""`Helpers` and `Team`: one capture or extraction as several jobs. Used by `ws.activations`, `ws.extractions` and their
jobs.

The job of the row leads; the others help, and do what it is asked to do. Each claims the next part that nobody has, by
a file that only one can create, and writes it into a folder of its own. The leader waits for what others have claimed,
does what they have left (their job ended, or is gone), and puts the parts together in their order. A part is the same
bytes whoever writes it, so it does not matter if two do.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import arguments
from saewidgets.config.base import require
from saewidgets.durable import storage_errors, whole_file
from saewidgets.errors import CatalogError, NotFoundError, StateError
from saewidgets.events import Control, Interruption, JobStatus, Meter, Request
from saewidgets.jobs import JobContext
from saewidgets.records import JobRecord
from saewidgets.workspace.tasks import Tasks, Work
from saewidgets.workspace.training.estimates import devices
from saewidgets.workspace.user_models import UserModel

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

PARTS = "parts"  # the folder of what is not put together yet
_LOOK = 1.0  # seconds between two looks at the other jobs
_REST = 60.0  # seconds for helpers to end
_RESUMED = frozenset({JobStatus.PAUSED, JobStatus.INTERRUPTED, JobStatus.FAILED})

WritePart = Callable[[int, Path, Callable[[int], None]], object]
"""Writes a part, by its number, into a folder; tells how much of it is done."""


class Helpers:
    """The jobs that help those of one `kind`; `work` does their part of the work, as in `Tasks`."""

    def __init__(self, workspace: Workspace, kind: str, work: Work) -> None:
        self._workspace, self._work = workspace, work
        self._tasks = Tasks(workspace, f"{kind} part", self._run, key=None)

    def devices(self, spread: bool | int, device: str, held: UserModel | None) -> list[str]:
        """The device of every job: `spread` jobs, or as many as run at once, the first on `device`."""
        workspace = self._workspace
        wanted = workspace.places() if spread is True else spread or 1
        count = arguments.count(wanted, "spread", "a number of jobs", least=1, most=10_000)
        require((count == 1 or held is None, "spread", "A loaded model is in one process.", "Name it, or its folder."))
        on_gpus = device.startswith("cuda") and not workspace.settings.places
        others = [each.id for each in devices() if each.id not in ("cpu", device)] if on_gpus else []
        return list(islice(cycle([device, *others]), count))

    def start(self, leader: str, row_id: str, devices: Sequence[str]) -> None:
        """Queue the helpers of a job whose row is there; `devices` are those of all, the leader's first."""
        for job_id, device in zip(ids(leader, len(devices)), devices[1:], strict=True):
            payload = {"leader": leader, "row_id": row_id, "jobs": len(devices), "device": device}
            self._tasks.start(payload, device, job_id=job_id)

    def resume(self, leader: str) -> None:
        """Queue those again that were paused or lost. What others have left, the leader does."""
        for job in self._of(leader):
            if job.status in _RESUMED:
                self._workspace.manager.resume(job.id)

    def dismiss(self, leader: str | None, *, wait: bool = False) -> None:
        """Cancel what is left of the helpers, and forget them. Those that run end by themselves: `wait` for that."""
        deadline = time.monotonic() + (_REST if wait else 0)
        while jobs := self._of(leader):
            for job in jobs:
                with contextlib.suppress(StateError, NotFoundError):  # it has ended
                    if not job.status.is_final:
                        job = self._workspace.manager.request(job.id, "cancel")
                if job.status.is_final:
                    self._workspace.catalog.jobs.delete(job.id)
            if time.monotonic() > deadline:
                break
            time.sleep(self._workspace.manager.settings.poll)

    def _of(self, leader: str | None) -> Sequence[JobRecord]:
        jobs = self._workspace.catalog.jobs
        led = [] if leader is None else list(jobs.list(ids=[leader]))
        return jobs.list(ids=ids(led[0].id, led[0].payload.get("jobs", 1))) if led else []

    def _run(self, context: JobContext, job_ids: Sequence[str], held: UserModel | None) -> Any:
        control = _Led(context.control, self._workspace, context.payload["leader"])
        return self._work(replace(context, control=control), [context.payload["row_id"]], None)


def ids(leader: str, jobs: int) -> list[str]:
    """The ids of the helpers where so many jobs do the work."""
    return [f"{leader}-{number}" for number in range(1, jobs)]


class _Led:
    """The control of a helper: what the leader is asked to do, it does, too."""

    def __init__(self, own: Control, workspace: Workspace, leader: str) -> None:
        self._own, self._workspace, self._leader = own, workspace, leader
        self.take_checkpoint_request = own.take_checkpoint_request
        self._looked = 0.0

    def request(self) -> Request:
        asked = self._own.request()
        if asked is Request.RUN and time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            with contextlib.suppress(CatalogError):  # it cannot be read at the moment
                asked = _asked(self._workspace.catalog.jobs.list(ids=[self._leader]))
        return asked

    def check(self) -> None:
        self._own.check()
        if (asked := self.request()) is not Request.RUN:
            raise Interruption(asked)


def _asked(leader: Sequence[JobRecord]) -> Request:
    if not leader or leader[0].status in (JobStatus.COMPLETED, JobStatus.STOPPED, JobStatus.CANCELLED):
        return Request.CANCEL
    stays = (JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING, JobStatus.INTERRUPTED)
    return Request.RUN if leader[0].status in stays else Request.PAUSE


class Team:
    """The jobs of one row as one of them, which runs in this process, sees them; `folder` is the row's."""

    def __init__(self, workspace: Workspace, helpers: Helpers, context: JobContext, folder: str) -> None:
        self._workspace, self._helpers, self._control = workspace, helpers, context.control
        self._job_id, self._folder = context.job_id, Path(folder)
        self._parts = self._folder / PARTS
        self.jobs = int(context.payload.get("jobs", 1))
        self.device: str | None = context.payload.get("device")
        self.leads = "leader" not in context.payload
        self._idle: dict[str, float] = {}  # since when the owner of a claim has not been at work
        self._looked, self._others, self._told = 0.0, 0, 0

    def share(self, sizes: Sequence[int], write: WritePart, meter: Meter, phase: str) -> list[Path]:
        """Write parts, of these `sizes`, until none is left. Returns the folders of all to the leader; after Stop of
        those before the first that is not there."""
        hint = "Free some disk space, then resume."
        with storage_errors("The parts cannot be written", self._parts, hint):
            self._parts.mkdir(exist_ok=True)
            try:
                for number in range(len(sizes)):
                    if self._claimed(number):
                        self._write(number, sizes, write, meter, phase)
                while self.leads and (left := [n for n in range(len(sizes)) if self._done(n) is None]):
                    self._control.check()
                    self._tell(0, sizes, meter, phase)
                    for number in left:
                        if self._is_left(number):
                            self._claim(number).write_text(self._job_id)
                            self._write(number, sizes, write, meter, phase)
                    time.sleep(self._workspace.manager.settings.poll)
            except Interruption as interruption:
                if not self.leads or interruption.request is not Request.STOP:
                    raise
            self._looked = 0.0
            self._tell(0, sizes, meter, phase)
            return [part for part in takewhile(bool, (self._done(n) for n in range(len(sizes)))) if part]

    def end(self) -> None:
        """The leader has ended: so do the helpers, and nothing is kept of the parts."""
        if self.leads and self.jobs > 1:
            self._helpers.dismiss(self._job_id, wait=True)
            shutil.rmtree(self._parts, ignore_errors=True)

    def _write(self, number: int, sizes: Sequence[int], write: WritePart, meter: Meter, phase: str) -> None:
        folder = self._parts / f"{number}-{self._job_id}"
        try:
            write(number, folder, lambda done: self._tell(done, sizes, meter, phase))
        except Interruption as interruption:
            if interruption.request is Request.CANCEL:
                shutil.rmtree(folder, ignore_errors=True)
                self._claim(number).unlink(missing_ok=True)
            raise
        with whole_file(self._parts / f"{number}.done") as file:
            file.write(folder.name)

    def _claim(self, number: int) -> Path:
        return self._parts / f"{number}.claim"

    def _claimed(self, number: int) -> bool:
        """Whether this job is to write a part: it could claim it, or did so before."""
        try:
            with self._claim(number).open("x") as file:
                file.write(self._job_id)
        except FileExistsError:
            return self._claim(number).read_text() == self._job_id and self._done(number) is None
        return True

    def _done(self, number: int) -> Path | None:
        """The folder of a part that is whole."""
        with contextlib.suppress(FileNotFoundError):
            return self._parts / (self._parts / f"{number}.done").read_text()
        return None

    def _is_left(self, number: int) -> bool:
        """Whether who claimed a part has not been at work for as long as a lost process may take to be noticed."""
        owner = self._claim(number).read_text() if self._claim(number).exists() else ""
        self._workspace.manager.sweep()
        if any(job.status.is_active for job in self._workspace.catalog.jobs.list(ids=[owner])):
            self._idle.pop(owner, None)
            return False
        since = self._idle.setdefault(owner, time.monotonic())
        return time.monotonic() - since > self._workspace.manager.settings.timeout

    def _tell(self, done: int, sizes: Sequence[int], meter: Meter, phase: str) -> None:
        """Show how much is done: by the leader of the whole, by a helper of its part."""
        if not self.leads:
            return meter.at(done, phase)
        if time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            jobs = self._workspace.catalog.jobs.list(ids=ids(self._job_id, self.jobs))
            self._others = sum(job.progress.done for job in jobs if job.status.is_active and job.progress is not None)
            self._others += sum(sizes[int(path.stem)] for path in self._parts.glob("*.done"))
        self._told = min(max(self._told, self._others + done), meter.total)
        meter.at(self._told, phase)
