"""`Tasks` queues everything that has a row and runs in the background: trainings, extractions, captures.

Each namespace of a workspace makes one `Tasks` for its kind of job. `submit` queues, all of it or nothing; the runners
that it registers do the work in whichever process the job is started or resumed.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config.base import require
from saewidgets.errors import NotFoundError, SAEWidgetsError, StateError, StorageError
from saewidgets.events import CheckpointSaved, Event, Interruption, JobStatus, LogLine, Request
from saewidgets.jobs import Job, JobContext, Update
from saewidgets.records import JobRecord
from saewidgets.workspace.corpora import dataset_name
from saewidgets.workspace.folders import forgotten_folders, new_folder, remove_tree, require_files
from saewidgets.workspace.user_models import UserModel, UserModels, missing

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

Work = Callable[[JobContext, Sequence[str], UserModel | None], Any]
"""Does a job, from the rows of these ids, with the model that its user passed."""
Insert = Callable[[str, Mapping[str, Path]], object]
"""Called with a job's id, the new ids and their folders; makes their rows, and writes text into the folders."""

News = Event | JobRecord
_NEEDS_NO_MODEL = frozenset({JobStatus.COMPLETED, JobStatus.STOPPED, JobStatus.CANCELLED})
"""A job in one of these needs its user's model only if it is resumed."""


def subscribe_to(
    sources: Sequence[Callable[[Callable[..., None]], Callable[[], None]]], callback: Callable[..., None]
) -> Callable[[], None]:
    """Subscribe `callback` by each of these functions; returns the function that ends it everywhere."""
    ends = contextlib.ExitStack()
    for subscribe in sources:
        ends.callback(subscribe(callback))
    return ends.close


class Tasks:
    """Background work of one kind: `work` does a job, whose rows are in the table `rows` and have folders in `folder`.

    The payload of a job has under `key` the id of what it makes, or with an ``s`` the ids; None: that of the job
    itself. `again` says how a person hands in the model again; `forget` is called with the id of what is gone, `ended`
    with the row of a job that has ended, from any thread, maybe more than once. `is_local`: only in this process.
    `check` raises where a job cannot be resumed here.
    """

    def __init__(
        self, workspace: Workspace, kind: str, work: Work, *, key: str | None, rows: Any = None, folder: str = "",
        again: str = "create(..., model=..., tokenizer=...)", forget: Callable[[str], None] = lambda row_id: None,
        ended: Callable[[JobRecord], object] = lambda job: None, is_local: bool = False,
        check: Callable[[JobRecord], object] = lambda job: None,
    ) -> None:
        self._workspace, self._kind, self._work, self._key = workspace, kind, work, key
        self._rows, self._folder, self._forget, self._tell_end = rows, folder, forget, ended
        self._check = check
        self._hint = f"Call {again} again, or resume it where it was started."
        self._models = UserModels()
        self.held = self._models.get
        self._by_job: dict[str, Sequence[str]] = {}
        workspace.manager.register(kind, self._make, self._ended, is_local=is_local)
        if rows is not None:
            self._tidy()

    def _tidy(self) -> None:
        """Remove what a kill within `submit` has left: a job whose rows were not made yet, and empty folders."""
        workspace = self._workspace
        for job in workspace.manager.list(status={JobStatus.INTERRUPTED}, kind=self._kind):
            if not any(self._has(row_id) for row_id in self.ids(job)):
                workspace.catalog.jobs.delete(job.id)
        for folder in forgotten_folders(workspace.folder / self._folder):
            if not self._has(folder.name):
                with contextlib.suppress(OSError):  # another process was quicker, or uses it
                    folder.rmdir()

    def _has(self, row_id: str) -> bool:
        try:
            return self._rows.get(row_id) is not None
        except NotFoundError:
            return False

    def submit(
        self, new_id: Callable[[], str], device: str, insert: Insert, *, count: int | None = None,
        payload: Mapping[str, Any] | None = None, held: UserModel | None = None, model: str | None = None,
        corpus: Any = None,
    ) -> list[str]:
        """Queue one job; returns the ids of what it makes. Whatever fails, nothing is left of it.

        `new_id` is called again if another process has just taken one. `insert` makes the rows before the job can
        start, which waits for the lane of `device`. `count` ids share the job (None: one, alone). Forms suggest `model`
        and `corpus` from now on.
        """
        workspace = self._workspace
        self.require_local("model", "A loaded model", held is not None, "Name it in the configuration, or its folder.")
        made: dict[str, Path] = {}
        try:
            while len(made) < (count or 1):
                folder = workspace.folder / self._folder / (row_id := new_id())
                if new_folder(folder, self._kind):
                    made[row_id] = folder
            if held is not None:
                for row_id in made:
                    self._hold(row_id, held)
            if model is not None:
                workspace.catalog.models.upsert(model)
            if corpus is not None:
                workspace.catalog.datasets.upsert(dataset_name(corpus))
            ids = list(made)
            named: dict[str, Any] = {f"{self._key}": ids[0]} if count is None else {f"{self._key}s": ids}
            whole = {"model_given": held is not None, **(payload or {}), **named}

            def before(job_id: str) -> None:
                insert(job_id, made)
                for folder in made.values() if workspace.manager.executor is not None else ():
                    workspace.storage.publish(folder)  # the text of a run, for the machine that takes it

            self.start(whole, device, before)
        except BaseException:
            for row_id, folder in made.items():
                self.forget(row_id)
                with contextlib.suppress(SAEWidgetsError):  # usually there is no row; the first error counts
                    self._rows.delete(row_id)
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return ids

    def require_local(self, where: str, what: str, is_given: bool, hint: str) -> None:
        """Raises `ConfigError` where something is given that lives in this process, and jobs run in others."""
        what = f"{what} stays in this process; the jobs of this workspace run in others."
        require((not is_given or self._workspace.manager.executor is None, where, what, hint))

    def start(
        self, payload: Mapping[str, Any], device: str, before: Callable[[str], object] = lambda job_id: None,
        job_id: str | None = None,
    ) -> Job:
        """Queue a job that makes no rows, or for `submit`; `before` is called with its id before it can start."""
        manager = self._workspace.manager
        return manager.submit(self._kind, payload, manager.lane(device), job_id=job_id, before_start=before)

    def delete(self, record: Any) -> int:
        """Remove a row with its files; what waits is cancelled first, what runs is refused. Returns the bytes freed."""
        self.require_deletable(record)
        if record.status is JobStatus.QUEUED and record.job_id is not None:
            self._workspace.manager.request(record.job_id, "cancel")
        self._workspace.storage.remove(folder := self._rows.delete(record.id))
        freed = remove_tree(self._workspace.folder, folder)
        self.forget(record.id)
        return freed

    def require_deletable(self, record: Any) -> None:
        require_files(self._workspace, record)
        if record.status.is_active:
            hint = "Stop it or cancel it, then delete it."
            raise StateError(f"{record.name} is {record.status}.", where=record.id, hint=hint)

    def forget(self, row_id: str) -> None:
        self._models.forget(row_id)
        self._forget(row_id)

    def _hold(self, row_id: str, held: UserModel) -> None:
        self._models.keep(row_id, held)
        for other in self._models.kept():  # another process may have ended one
            try:
                if other != row_id and self._rows.get(other).status in _NEEDS_NO_MODEL:
                    self._models.let_go(other)
            except NotFoundError:
                self._models.forget(other)

    def _required(self, job: JobRecord) -> UserModel | None:
        """All rows of a job were given the same model. Raises `StateError` where only another process has it."""
        ids = self.ids(job)
        held = next((held for each in ids if (held := self.held(each)) is not None), None)
        if held is None and job.payload.get("model_given"):
            raise missing(ids[0], self._hint)
        return held

    def ids(self, job: JobRecord) -> Sequence[str]:
        if self._key is None:
            return [job.id]
        several = job.payload.get(f"{self._key}s")
        return [str(each) for each in several] if several else [str(job.payload[self._key])]

    def subscribe(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """As `follow`, without the news."""
        return self.follow(lambda row_id, news: callback(row_id))

    def follow(self, callback: Callable[[str | None, Sequence[News]], None]) -> Callable[[], None]:
        """Call `callback` after every change, with the id of what changed (None: it may be any) and the news: events,
        which are in the catalog by then, and the row of a job that has a new status or runs in another process. Called
        from a background thread; `callback` must return at once. Returns the function that ends it."""

        def on_update(job_id: str, updates: Sequence[Update]) -> None:
            for row_id in self._of_job(job_id):
                if news := [each for subject, each in updates if subject is None or row_id in (None, subject)]:
                    callback(row_id, news)

        return self._workspace.manager.subscribe(on_update)

    def _of_job(self, job_id: str) -> Sequence[str | None]:
        """They never change, so each job is looked up once; none, where it is of another kind."""
        if job_id not in self._by_job:
            jobs = self._workspace.catalog.jobs.list(ids=[job_id])
            if not jobs:
                return [None]
            self._by_job[job_id] = self.ids(jobs[0]) if jobs[0].kind == self._kind else []
        return self._by_job[job_id]

    def _make(self, job: JobRecord) -> Callable[[JobContext], Any]:
        ids = self.ids(job)
        if job.status is not JobStatus.QUEUED:
            self._check(job)
            for row_id in ids if self._rows is not None else ():
                require_files(self._workspace, self._rows.get(row_id))
        if (held := self._required(job)) is not None:
            for row_id in ids:
                self._models.keep(row_id, held)
        del held  # kept above, and only there: this function lives as long as the job is known here
        return lambda context: self._run(context, ids, self._required(job))

    def _run(self, context: JobContext, ids: Sequence[str], held: UserModel | None) -> Any:
        """Do a job. What other machines have left of it is fetched from the storage before; what it makes is uploaded
        at every checkpoint and at its end, where a failure is that of the job."""
        workspace, storage = self._workspace, self._workspace.storage
        if storage.url is None or self._rows is None:
            return self._work(context, ids, held)
        folders = {row_id: workspace.folder / self._folder / row_id for row_id in ids}
        for folder in folders.values():
            storage.fetch(folder, fresh=True, check=context.control.check)

        def publish(*wanted: str) -> None:
            is_ours = workspace.catalog.jobs.get(context.job_id).owner == workspace.manager.owner
            for row_id in wanted if is_ours else ():  # or another process goes on with it
                storage.publish(folders[row_id])

        def offer(row_id: str) -> None:
            try:
                publish(row_id)
            except StorageError as error:
                line = LogLine(f"The checkpoint is on this machine only. {error.what}", "warning")
                context.emitter(row_id)(line)

        def emit(row_id: str, event: Event) -> None:
            context.emitter(row_id)(event)
            if isinstance(event, CheckpointSaved):
                offer(row_id)

        try:
            told = replace(context, emitter=lambda row_id: partial(emit, row_id), publish=offer)
            result = self._work(told, ids, held)
        except Interruption as interruption:
            if interruption.request is not Request.CANCEL:
                publish(*ids)
            raise
        if getattr(result, "status", None) is not JobStatus.CANCELLED:
            publish(*ids)
        return result

    def _ended(self, job: JobRecord) -> None:
        """From now on its user decides how long the model stays in memory."""
        if job.status in _NEEDS_NO_MODEL:
            for row_id in self.ids(job):
                self._models.let_go(row_id)
        self._tell_end(job)
