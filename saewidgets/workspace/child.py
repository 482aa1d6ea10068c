"""What runs one job of a workspace and ends with it: a process, ``python -m saewidgets.workspace.child JOB_ID``, whose
environment names the workspace, for `ProcessExecutor`; and `RayActor`, for `RayExecutor`."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.jobs import Job, JobManager, JobSettings
from saewidgets.settings import Settings
from saewidgets.workspace.workspace import Workspace

_LAST_WORD = 60.0  # seconds in which an actor can be asked what went wrong
_MANY = 1_000  # jobs at once on a device of a cluster: how many fit is Ray's to say


def run_job(job_id: str) -> None:
    """Take the job, and wait until it has ended or is paused. Nothing happens if somebody else has it by now."""
    with Workspace(runner="thread") as workspace:
        _see_through(workspace.manager, workspace.manager.take(job_id))
        (workspace.folder / "logs" / f"{job_id}.txt").unlink(missing_ok=True)


class RayActor:
    """Runs one job in a thread, so that Ray can ask for it, and ends with it. Started again in the place of one that
    was lost, it goes on with the job."""

    def __init__(self, job_id: str, folder: str, catalog_url: str | None) -> None:
        import ray  # an extra

        here = ray.get_runtime_context()
        me, again = here.current_actor, here.was_current_actor_reconstructed
        self._job = ThreadPoolExecutor(1).submit(_run, job_id, folder, catalog_url, again=again)

        self._answered = threading.Event()

        def leave(job: Future[None]) -> None:
            if job.exception() is not None:
                self._answered.wait(_LAST_WORD)
            time.sleep(1.0)  # for the answer to be on its way
            ray.kill(me)

        self._job.add_done_callback(leave)

    def ended(self) -> None:
        """Returns when the job has ended; raises what kept it from beginning."""
        try:
            self._job.result()
        finally:
            self._answered.set()


def _run(job_id: str, folder: str, catalog_url: str | None, *, again: bool) -> None:
    if "://" not in folder and not Path(folder).is_dir():
        hint = "Put the workspace on a drive that all machines have under the same path."
        raise ConfigError("The folder of the workspace is not on this machine.", where=folder, hint=hint)
    here, jobs = replace(Settings.from_environment(), executor=None), JobSettings(width=_MANY)
    with Workspace(folder, catalog_url=catalog_url, runner="thread", settings=here, jobs=jobs) as workspace:
        manager = workspace.manager
        _see_through(manager, manager.take(job_id) or (manager.take_over(job_id) if again else None))


def _see_through(manager: JobManager, job: Job | None) -> None:
    """Wait until the job has ended or is paused; where it was taken for dead, being slow to give a sign, go on."""
    while job is not None and job.wait() is JobStatus.INTERRUPTED:
        job = manager.take_over(job.id)


if __name__ == "__main__":
    run_job(sys.argv[1])
