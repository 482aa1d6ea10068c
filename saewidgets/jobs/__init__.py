"""Background jobs: one enum of states, lanes with a queue, commands from any process, heartbeats, one writer.

The manager persists through a `JobStore` and knows neither what it runs nor where the rows are.
"""

from saewidgets.jobs.control import JobContext, JobControl, Runner
from saewidgets.jobs.executor import Executor, ProcessExecutor
from saewidgets.jobs.job_store import JobSettings, JobStore, Recorded
from saewidgets.jobs.manager import Job, JobManager, Verbs, fail_unowned
from saewidgets.jobs.owner import error_info
from saewidgets.jobs.pump import Listeners, Subscriber, Update
from saewidgets.jobs.states import JobCommand

__all__ = [
    "Executor", "Job", "JobCommand", "JobContext", "JobControl", "JobManager", "JobSettings", "JobStore", "Listeners",
    "ProcessExecutor", "Recorded", "Runner", "Subscriber", "Update", "Verbs", "error_info", "fail_unowned",
]  # fmt: skip
