import os
import signal
import subprocess
import sys

import pytest

from saewidgets.jobs.process import _machine, _start_time, is_alive, new_owner

CLOSES = """
import gc, os, signal, sys
from concurrent.futures import ThreadPoolExecutor
{before}
from saewidgets.jobs.process import close_at_exit
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


def test_objects_are_not_kept_alive_for_the_exit() -> None:
    assert _run(after="del it; gc.collect()") == ("", 0)


linux = pytest.mark.skipif(sys.platform != "linux", reason="process start times are read from /proc")


def test_two_managers_of_one_process_differ() -> None:
    assert new_owner("box") != new_owner("box")
    assert new_owner("box").startswith(f"{os.getpid()}.")
    assert new_owner("a.host@home").endswith("@a.host@home")


def test_this_process_is_not_gone() -> None:
    assert is_alive(new_owner("a.host@home"))


@linux
def test_an_ended_process_is_gone_and_a_zombie_too() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = _start_time(process.pid)
    owner = f"{process.pid}.{start}.{_machine()}.abcd@box"
    assert is_alive(owner)
    assert process.stdin is not None
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not collected
    assert is_alive(owner) is False
    process.wait(10)
    assert is_alive(owner) is False


@linux
def test_a_reused_process_id_is_another_owner() -> None:
    pid, start, rest = new_owner("box").split(".", 2)
    assert is_alive(f"{pid}.{int(start) - 1}.{rest}") is False


@pytest.mark.parametrize(
    "owner", ["", "me", "1.2.3@box", "1.2.another-machine.ff@box", "x.1.y.z@box", "999999999.1..ff@box"]
)
def test_unknown_owners_are_left_to_the_heartbeat(owner: str) -> None:
    assert is_alive(owner) is None
