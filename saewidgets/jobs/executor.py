"""Where jobs run that are not threads of the process that queues them: `Executor`, the protocol, and `ProcessExecutor`.

An executor brings up another process that opens the same workspace and takes the job by `JobManager.take`; from then on
it is a job like any other: progress, commands and the end travel through its row. Until then the row has no owner.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

_TAIL = 2_000  # characters of what a process has said before it ended


class Executor(Protocol):
    """Runs jobs elsewhere. `waits_for`: a sentence for the cards of jobs that it has not brought there yet, or None."""

    waits_for: str | None

    def start(
        self, job_id: str, waits: Callable[[], bool], failed: Callable[[str], object], workers: int = 1
    ) -> None:
        """Bring up a process that takes the job, which is given up where it no longer `waits` to be taken. `failed` is
        called, from any thread, with what went wrong if it ends without having taken it. `workers`: how many places
        the job takes at once."""

    def restarts(self, job_id: str, *, connect: bool = True) -> bool | None:
        """Whether it has a process for the job, which it starts again when that is lost; None if that is unknown now.
        `connect`: it may take seconds to find out."""


class ProcessExecutor:
    """Child processes of this machine. They belong to a session of their own, so they outlive the kernel, and what is
    sent to its process group does not reach them. Their `environment` names the workspace; what they print goes to the
    folder `logs`, where a process that ends well removes its file."""

    waits_for: str | None = None

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._environment, self._logs = dict(environment), logs

    def start(
        self, job_id: str, waits: Callable[[], bool], failed: Callable[[str], object], workers: int = 1
    ) -> None:
        self._logs.mkdir(exist_ok=True)
        path = self._logs / f"{job_id}.txt"
        with path.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "saewidgets.workspace.child", job_id], stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, env=self._environment, start_new_session=True,
            )
        watcher = threading.Thread(target=self._watch, args=(child, path, failed), daemon=True)
        watcher.name = f"saewidgets-child-{child.pid}"
        watcher.start()

    def restarts(self, job_id: str, *, connect: bool = True) -> bool | None:
        return False

    def _watch(self, child: subprocess.Popen[bytes], path: Path, failed: Callable[[str], object]) -> None:
        if child.wait():
            said = path.read_text(errors="replace")[-_TAIL:].strip()
            failed(f"The process of the job ended with status {child.returncode}. It said: {said or 'nothing'}")
