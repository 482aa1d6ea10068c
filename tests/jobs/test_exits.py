from __future__ import annotations

import subprocess
import sys


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_before_thread_pools_are_shut_down() -> None:
    out = _run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from saewidgets.jobs.exits import before_exit\n"
        "before_exit(lambda: print(ThreadPoolExecutor().submit(lambda: 'a pool still works').result()))\n"
    )
    assert out == "a pool still works\n"


def test_it_can_be_taken_back() -> None:
    assert _run("from saewidgets.jobs.exits import before_exit\nbefore_exit(lambda: print('no'))()\n") == ""
