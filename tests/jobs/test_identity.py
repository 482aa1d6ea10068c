from __future__ import annotations

import os
import subprocess
import sys

import pytest

from saewidgets.jobs import identity
from saewidgets.jobs.identity import is_gone, new_owner

linux = pytest.mark.skipif(sys.platform != "linux", reason="process start times are read from /proc")


def test_two_managers_of_one_process_differ() -> None:
    assert new_owner("box") != new_owner("box")
    assert new_owner("box").startswith(f"{os.getpid()}.")
    assert new_owner("a.host@home").endswith("@a.host@home")


def test_this_process_is_not_gone() -> None:
    assert not is_gone(new_owner("a.host@home"))


@linux
def test_an_ended_process_is_gone_and_a_zombie_too() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = identity._start_time(process.pid)
    owner = f"{process.pid}.{start}.{identity._machine()}.abcd@box"
    assert not is_gone(owner)
    assert process.stdin is not None
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not collected
    assert is_gone(owner)
    process.wait(10)
    assert is_gone(owner)


@linux
def test_a_reused_process_id_is_somebody_else() -> None:
    pid, start, rest = new_owner("box").split(".", 2)
    assert is_gone(f"{pid}.{int(start) - 1}.{rest}")


@pytest.mark.parametrize(
    "owner", ["", "me", "1.2.3@box", "1.2.another-machine.ff@box", "x.1.y.z@box", "999999999.1..ff@box"]
)
def test_what_cannot_be_told_from_here_is_left_to_the_heartbeat(owner: str) -> None:
    assert not is_gone(owner)
