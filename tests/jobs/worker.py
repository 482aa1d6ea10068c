"""A process that runs jobs on a catalog, driven by lines on its standard input; answers on its standard output.

``submit ID STEPS``, ``resume ID``, ``exit``. Runs count into a file.
"""

import os
import sys
import time
from pathlib import Path

from saewidgets.catalog import Catalog
from saewidgets.errors import SAEWidgetsError
from saewidgets.events import Metrics, Progress
from saewidgets.jobs import JobContext, JobManager, JobSettings
from saewidgets.jobs.control import Runner
from saewidgets.records import JobRecord

folder = Path(sys.argv[1])


def factory(record: JobRecord) -> Runner:
    file = folder / f"{record.id}.steps"

    def run(context: JobContext) -> int:
        step = int(file.read_text()) if file.exists() else 0
        if not context.resumed and step:
            raise RuntimeError("started anew over an old checkpoint")
        while step < record.payload["steps"]:
            context.control.check()
            step += 1
            partial = file.with_suffix(f".{os.getpid()}")
            partial.write_text(str(step))
            os.replace(partial, file)
            context.emit(Metrics(step, step, {"loss": 1 / step}))
            context.emit(Progress(step, record.payload["steps"], step=step))
            time.sleep(0.002)
        return step

    return run


catalog = Catalog(folder, host="box")
settings = JobSettings(host="box", poll=0.05, heartbeat=0.2, timeout=20.0, write_interval=0.05, close_wait=10)
manager = JobManager(catalog.jobs, settings)
manager.register("count", factory)
sys.stdout.write("ready\n")
sys.stdout.flush()
for line in sys.stdin:
    word, *rest = line.split()
    try:
        if word == "submit":
            job = manager.submit("count", {"steps": int(rest[1])}, "box/cpu", job_id=rest[0])
            answer = job.id
        elif word == "resume":
            manager.resume(rest[0])
            answer = "ok"
        else:
            answer = "bye"
    except SAEWidgetsError as error:
        answer = f"{type(error).__name__} {error}"
    sys.stdout.write(answer + "\n")
    sys.stdout.flush()
    if word == "exit":
        break
