"""Managers with short times, on a catalog of their own."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from saewidgets.catalog import Catalog
from saewidgets.events import Progress
from saewidgets.jobs import Job, JobContext, JobManager, JobSettings

FAST = {
    "host": "box", "poll": 0.05, "heartbeat": 0.1, "timeout": 5.0, "write_interval": 0.02,
    "close_wait": 10.0, "interactive_patience": 0.2,
}  # fmt: skip
LANE = "box/cpu"


def wait_until(condition: Callable[[], Any], timeout: float = 15.0) -> Any:
    """Poll until `condition` is true; fails with what it last was."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still {value!r} after {timeout} s"
        time.sleep(0.005)
    return value


class Endless:
    """A runner that works until it is told to end; knows how often it was started and how far it came."""

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps
        self.step = 0
        self.starts: list[bool] = []  # `resumed` of every start

    def __call__(self, context: JobContext) -> Any:
        self.starts.append(context.resumed)
        while self.steps is None or self.step < self.steps:
            context.control.check()
            self.step += 1
            context.emit(Progress(self.step, self.steps or 1_000_000, unit="steps", step=self.step))
            time.sleep(0.002)
        return {"steps": self.step}


def submit(manager: JobManager, runner: Any, lane: str = LANE, **more: Any) -> Job:
    """Queue a job of a kind of its own, which this runner does."""
    kind = f"kind of {id(runner)}"
    manager.register(kind, lambda record: runner)
    return manager.submit(kind, {}, lane, **more)


@pytest.fixture
def store(tmp_path: Path, database_url: str | None) -> Iterator[Any]:
    with Catalog(tmp_path / "workspace", database_url, host="box") as catalog:
        yield catalog.jobs


@pytest.fixture
def make_manager(store: Any) -> Iterator[Callable[..., JobManager]]:
    made: list[JobManager] = []

    def make(**changes: Any) -> JobManager:
        made.append(JobManager(store, JobSettings(**{**FAST, **changes})))
        return made[-1]

    yield make
    for manager in made:
        manager.close(wait=5)


@pytest.fixture
def manager(make_manager: Callable[..., JobManager]) -> JobManager:
    return make_manager()
