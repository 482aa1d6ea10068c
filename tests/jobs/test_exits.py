from __future__ import annotations

import signal
import subprocess
import sys

CLOSES = """
import gc, os, signal, sys
from concurrent.futures import ThreadPoolExecutor
{before}
from saewidgets.jobs.exits import close_at_exit
class It:
    def close(self):
        print(ThreadPoolExecutor().submit(lambda: "a pool still works").result(), flush=True)
it = It()
close_at_exit(it)
{after}
"""


def _run(before: str = "", after: str = "") -> tuple[str, int]:
    code = CLOSES.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr
    return done.stdout, done.returncode


def test_before_thread_pools_are_shut_down() -> None:
    assert _run() == ("a pool still works\n", 0)


def test_sigterm_closes_and_is_the_exit_status() -> None:
    assert _run(after="signal.raise_signal(signal.SIGTERM)") == ("a pool still works\n", -signal.SIGTERM)


def test_sigterm_does_not_cut_an_end_that_is_under_way() -> None:
    signalling = "close = It.close; It.close = lambda it: (signal.raise_signal(signal.SIGTERM), close(it)); sys.exit(5)"
    assert _run(after=signalling) == ("a pool still works\n", 5)


def test_a_handler_of_sigterm_stays() -> None:
    own = "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))"
    assert _run(before=own, after="signal.raise_signal(signal.SIGTERM)") == ("", 7)


def test_what_is_gone_is_not_kept_for_it() -> None:
    assert _run(after="del it; gc.collect()") == ("", 0)
