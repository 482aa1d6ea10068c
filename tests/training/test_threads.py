"""A run follows the load of the machine: how many threads it takes, that nobody else's change, and what it records."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus, LogLine, Request
from saewidgets.training.run import run_training
from saewidgets.training.threads import CoresOfOthers, FollowedLoad, set_threads_here
from tests.training.fakes import Recorder, Scripted


@pytest.fixture
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 5}, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def _in_another_thread() -> int:
    with ThreadPoolExecutor(1) as other:
        return other.submit(torch.get_num_threads).result()


def test_threads_are_those_of_the_calling_thread(four_threads: None) -> None:
    def work() -> int:
        set_threads_here(2)
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as run:
        assert run.submit(work).result() == 2
        assert run.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 4
        assert _in_another_thread() == 4, "one that begins later"


def test_threads_follow_the_load(four_threads: None) -> None:
    with FollowedLoad() as threads:
        said = [(threads.take(used), torch.get_num_threads()) for used in (0.2, 1.0, 4.0, 1.0, 1.0, 0.0, 3.0, 0.0, 0.0)]
        assert str(threads) == "1 to 4"
        assert _in_another_thread() == 4
    assert said == [
        (False, 4), (True, 3), (True, 1),  # at once
        (False, 1), (False, 3),  # more when it is said twice
        (False, 3), (False, 1), (False, 1), (False, 4),
    ]  # fmt: skip
    assert torch.get_num_threads() == 4


def test_the_own_work_is_not_that_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, second = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    clock, own = iter([0.0, 2.0]), iter([10.0, 12.0])
    monkeypatch.setattr("saewidgets.training.threads._STAT", stat)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr("time.process_time", lambda: next(own))
    stat.write_text(f"cpu 1 2 3\ncpu0 {5 * second} 0 0 999 0 0 0 0 0 0\ncpu7 1 2 3\n")
    load = CoresOfOthers()
    stat.write_text(f"cpu 1 2 3\ncpu0 {8 * second} {second} {second} 9999 9999 0 0 0 0 0\ncpu7 1 2 9999\n")
    assert load() == pytest.approx(1.5)  # 5 seconds of cores in 2 seconds, 2 of them ours


def test_a_run_that_changed_threads_says_so_when_it_resumes(
    four_threads: None, twelve_steps: TrainingConfig, tokens_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("saewidgets.training.run.spins", lambda: True)
    monkeypatch.setattr("saewidgets.training.threads._EVERY", 0.0)
    monkeypatch.setattr(CoresOfOthers, "__call__", lambda self: 2.0)
    whole, first, again = Scripted(), Recorder(), Recorder()
    run_training(twelve_steps, tmp_path / "whole", control=whole, tokens_folder=tokens_folder)
    pause = Scripted(Request.PAUSE, whole.calls - 8)
    left = run_training(twelve_steps, tmp_path / "run", emit=first, control=pause, tokens_folder=tokens_folder)
    assert left.status is JobStatus.PAUSED
    assert torch.get_num_threads() == 4, "as it was"
    [said] = [each.message for each in first.of(LogLine) if "use the cores" in each.message]
    assert "2 to 4 threads" in said

    monkeypatch.setattr("saewidgets.training.run.spins", lambda: False)
    run_training(twelve_steps, tmp_path / "run", emit=again, resume=True, tokens_folder=tokens_folder)
    [said] = [each.message for each in again.of(LogLine) if "bit-identical" in each.message]
    assert said == "The continuation will not be bit-identical: threads was 2 to 4 and is 4."
