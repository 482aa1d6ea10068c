"""The process that talks to a Ray cluster, without one: it answers, fails, is lost, and ends with this one."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from saewidgets.errors import ConfigError
from saewidgets.workspace import ray_link
from saewidgets.workspace.ray_jobs import Ray, RayExecutor
from saewidgets.workspace.ray_link import LOST, RayLink
from tests.jobs.conftest import wait_until

pytest.importorskip("ray", reason="Ray is not installed")
SERVE = """
import sys, threading
from saewidgets.workspace import ray_link
def wrong(*given): raise RuntimeError("no such machine")
named = {"connect": str, "start": lambda job_id, *_: job_id + "_1", "actors": lambda: ["job_1_1"], "kill": wrong}
ray_link._FUNCTIONS.update(named, placed=str, ended=lambda name: threading.Event().wait(), resources=wrong)
ray_link._LINGER = 0.0
ray_link._serve()
"""


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    popen: Callable[..., Any] = ray_link.subprocess.Popen
    monkeypatch.setattr(ray_link.subprocess, "Popen", lambda given, **how: popen([given[0], "-c", SERVE], **how))


def test_a_job_is_there_when_start_returns_and_a_loss_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    executor = RayExecutor(Ray(address="there"), "/ws", None)
    assert executor.restarts("job_1", connect=False) is None
    executor.start("job_1", lambda: True, said.append)
    assert executor.restarts("job_1", connect=False) is True
    assert executor.restarts("job_2") is False
    link = Ray(address="there").connect()
    with pytest.raises(ConfigError, match="RuntimeError: no such machine"):
        Ray(address="there").places()
    assert said == []
    monkeypatch.setattr("tests.workspace.test_ray_link.SERVE", SERVE.replace("job_1_1", "job_2_1"))
    executor.start("job_2", lambda: True, said.append)
    link._process.send_signal(signal.SIGABRT)  # what Ray does to its clients when the head is lost
    wait_until(lambda: said == [LOST])  # job_2 is still there
    assert Ray(address="there").connect() is not link
    Ray(address="there").connect().close()


def test_a_cluster_that_is_not_reached_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("tests.workspace.test_ray_link.SERVE", SERVE.replace('"connect": str', '"connect": wrong'))
    RayExecutor(Ray(address="nowhere"), "/ws", None).start("job_1", lambda: True, said.append)
    assert said == ["Ray did not run the job: Ray cannot be reached: RuntimeError: no such machine"]


def test_it_ends_with_this_process() -> None:
    link = RayLink("there")
    link._process.stdin.close()  # type: ignore[union-attr]
    assert link._process.wait(30) == 0
    wait_until(lambda: link.is_lost)
