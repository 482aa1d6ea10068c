"""A job that this process has in hand, and the thread that runs it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from saewidgets.events import Request
from saewidgets.jobs.context import JobContext, Runner
from saewidgets.jobs.control import JobControl
from saewidgets.jobs.outcome import Outcome, raised, returned


@dataclass(slots=True)
class LocalJob:
    """What only the owner's process knows about a job."""

    job_id: str
    runner: Runner | None  # None once it has completed: nothing can run it again
    resumed: bool
    given: bool = False  # the runner was handed to `submit`: the row alone cannot make it again
    has_checked: bool = False  # it has passed its first pause point
    control: JobControl | None = None
    thread: threading.Thread | None = None
    outcome: Outcome | None = None  # of its latest run here
    finished_at: float | None = None  # the row's, when that run ended: tells whether it was run elsewhere since
    ending: threading.Lock = field(default_factory=threading.Lock)  # held while the row says it ended and this does not

    @property
    def is_running(self) -> bool:
        return self.thread is not None

    def ask(self, request: Request) -> None:
        if self.control is not None:
            self.control.ask(request)

    def ask_checkpoint(self) -> bool:
        """Pass the wish on; False if nothing runs."""
        if self.control is None or not self.is_running:
            return False
        self.control.ask_checkpoint()
        return True


def run(runner: Runner, context: JobContext) -> Outcome:
    """Call the runner and turn whatever it does into an outcome."""
    try:
        return returned(runner(context))
    except BaseException as error:  # noqa: BLE001 - the job's thread is the outermost frame: the error becomes the job's
        return raised(error)
