"""Background jobs: one enum of states, lanes with a queue, commands from any process, heartbeats, one writer.

The manager persists through a `JobStore` and knows neither what it runs nor where the rows are.
"""

from saewidgets.jobs.control import JobContext, JobControl, Runner
from saewidgets.jobs.job import Job, Verbs
from saewidgets.jobs.manager import JobManager
from saewidgets.jobs.outcome import error_info
from saewidgets.jobs.pump import Subscriber, Update
from saewidgets.jobs.settings import JobSettings, compute_lane
from saewidgets.jobs.states import Command
from saewidgets.jobs.store import JobStore, Recorded

__all__ = [
    "Command",
    "Job",
    "JobContext",
    "JobControl",
    "JobManager",
    "JobSettings",
    "JobStore",
    "Recorded",
    "Runner",
    "Subscriber",
    "Update",
    "Verbs",
    "compute_lane",
    "error_info",
]
