"""A process that was forked from one with a run, as workers of a DataLoader are, does nothing to that run."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import atexit, multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from saewidgets.errors import StateError
from saewidgets.workspace import Workspace

fork = multiprocessing.get_context("fork")
steps = 0

def endless(context):
    global steps
    while True:
        context.control.check()
        steps += 1
        time.sleep(0.002)

def pool():
    with ProcessPoolExecutor(2, mp_context=fork) as executor:
        assert executor.submit(abs, -1).result() == 1

def leave():
    if not (child := os.fork()):
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0

def hook():
    if not (child := os.fork()):
        atexit.register(os._exit, 3)
        assert ws.jobs.get(job.id).status == "running"
        try:
            ws.manager.submit("count", {}, "box/cpu")
        except StateError as error:
            assert "forked" in error.what
            ws.close()
            sys.exit()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3

with Workspace(sys.argv[1]) as ws:
    ws.manager.register("count", lambda record: endless)
    job = ws.manager.submit("count", {}, "box/cpu")
    while not steps or job.status != "running":
        time.sleep(0.01)
    for form in (pool, leave, hook):
        form()
        done, beat = steps, job.record.heartbeat_at
        assert job.wait(0.5) == "running", form
        assert steps > done
    while job.record.heartbeat_at == beat:  # the catalog is written
        time.sleep(0.05)
    print("lives", flush=True)
"""


def test_a_forked_process_that_ends_leaves_the_runs_of_its_parent_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout, done.returncode) == ("lives\n", 0), done.stderr
