"""A process that runs one job of a workspace and ends with it: ``python -m saewidgets.workspace.child JOB_ID``.

`ProcessExecutor` starts it. The environment names the workspace and its catalog.
"""

from __future__ import annotations

import sys

from saewidgets.workspace.workspace import Workspace


def run_job(job_id: str) -> None:
    """Take the job, and wait until it has ended or is paused. Nothing happens if somebody else has it by now."""
    with Workspace(runner="thread") as workspace:
        if (job := workspace.manager.take(job_id)) is not None:
            job.wait()
        (workspace.folder / "logs" / f"{job_id}.txt").unlink(missing_ok=True)


if __name__ == "__main__":
    run_job(sys.argv[1])
