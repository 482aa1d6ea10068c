"""One process: submit, steer, queue, end."""

import gc
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from saewidgets.errors import CatalogError, ConfigError, NotFoundError, StateError
from saewidgets.events import Interruption, JobStatus, LogLine, Progress, Request
from saewidgets.jobs import JobContext, JobManager, JobStore
from saewidgets.jobs.manager import CLOSED
from saewidgets.jobs.process import is_alive, new_owner
from saewidgets.records import JobRecord
from tests.jobs.conftest import LANE, Endless, submit, wait_until

S = JobStatus


def _running(job: Any) -> bool:
    return job.status is S.RUNNING


def test_a_job_runs_to_its_end(manager: JobManager) -> None:
    job = submit(manager, Endless(3))
    assert job.wait(10) is S.COMPLETED
    assert job.result() == {"steps": 3}
    record = job.record
    assert record.result == {"steps": 3}
    assert record.progress == Progress(3, 3, unit="steps", step=3)
    assert record.started_at is not None
    assert record.finished_at is not None
    assert record.created_at <= record.started_at <= record.finished_at
    assert record.owner is None


def test_pause_frees_the_lane_and_resume_continues(manager: JobManager) -> None:
    work = Endless()
    job = submit(manager, work)
    wait_until(lambda: _running(job))
    job.pause()
    assert job.wait(10) is S.PAUSED
    reached = work.step
    other = submit(manager, Endless(2))
    assert other.wait(10) is S.COMPLETED
    job.resume()
    wait_until(lambda: _running(job) and work.step > reached)
    assert work.starts == [False, True]
    job.stop()
    assert job.wait(10) is S.STOPPED


def test_a_request_is_acknowledged_before_it_takes_effect(manager: JobManager) -> None:
    block, inside = threading.Event(), threading.Event()

    def run(context: JobContext) -> None:
        context.control.check()
        inside.set()
        block.wait(10)
        context.control.check()

    job = submit(manager, run)
    assert inside.wait(10)
    job.pause()
    assert job.status is S.PAUSING
    job.cancel()
    assert job.status is S.STOPPING
    block.set()
    assert job.wait(10) is S.CANCELLED


def test_resume_before_the_pause_took_effect_runs_on(manager: JobManager) -> None:
    block, inside = threading.Event(), threading.Event()

    def run(context: JobContext) -> str:
        context.control.check()
        inside.set()
        block.wait(10)
        context.control.check()
        return "never interrupted"

    job = submit(manager, run)
    assert inside.wait(10)
    wait_until(lambda: _running(job))
    job.pause()
    job.resume()
    wait_until(lambda: _running(job))
    block.set()
    assert job.result(10) == "never interrupted"


def test_resume_while_the_pause_takes_effect_queues_again(manager: JobManager) -> None:
    unwinding, block = threading.Event(), threading.Event()
    starts: list[bool] = []

    def run(context: JobContext) -> str:
        starts.append(context.resumed)
        if context.resumed:
            return "second"
        try:
            while True:
                context.control.check()
        except Interruption:
            unwinding.set()
            block.wait(10)
            raise

    job = submit(manager, run)
    wait_until(lambda: _running(job))
    job.pause()
    assert unwinding.wait(10)
    job.resume()
    block.set()
    assert job.result(10) == "second"
    assert starts == [False, True]


def test_jobs_of_one_lane_run_one_after_the_other(manager: JobManager) -> None:
    at_once, order = [], []
    active: set[int] = set()

    def make(i: int) -> Callable[[JobContext], None]:
        def run(context: JobContext) -> None:
            active.add(i)
            order.append(i)
            at_once.append(len(active))
            Endless(3)(context)
            active.remove(i)

        return run

    jobs = [submit(manager, make(i)) for i in range(4)]
    elsewhere = submit(manager, Endless(1), "box/cuda:0")
    assert elsewhere.wait(10) is S.COMPLETED
    assert [job.wait(10) for job in jobs] == [S.COMPLETED] * 4
    assert order == [0, 1, 2, 3]
    assert max(at_once) == 1


def test_queued_jobs_show_their_place_and_change_at_once(manager: JobManager) -> None:
    first = submit(manager, Endless())
    wait_until(lambda: _running(first))
    a, b, c = (submit(manager, Endless(1)) for _ in range(3))
    assert [j.record.queue_position for j in (a, b, c)] == [1, 2, 3]
    a.stop()
    assert a.status is S.STOPPED
    b.pause()
    assert b.status is S.PAUSED
    assert c.record.queue_position == 1
    b.cancel()
    assert b.status is S.CANCELLED
    first.cancel()
    assert c.wait(10) is S.COMPLETED
    assert first.status is S.CANCELLED
    assert a.status is S.STOPPED


def test_every_resume_makes_a_new_runner_and_the_end_is_reported(manager: JobManager) -> None:
    made: list[str] = []
    ended: list[tuple[str, S]] = []

    def make(record: JobRecord) -> Any:
        made.append(record.id)
        return Endless()

    manager.register("made", make, lambda record: ended.append((record.id, record.status)))
    job = manager.submit("made", {}, LANE)
    wait_until(lambda: _running(job))
    job.pause()
    assert job.wait(10) is S.PAUSED
    assert ended == []
    job.resume()
    assert made == [job.id, job.id]
    wait_until(lambda: _running(job))
    job.stop()
    assert job.wait(10) is S.STOPPED
    wait_until(lambda: set(ended) == {(job.id, S.STOPPED)})
    other = manager.submit("made", {}, LANE)
    wait_until(lambda: _running(other))
    waiting = manager.submit("made", {}, LANE)
    waiting.cancel()
    assert ended[-1] == (waiting.id, S.CANCELLED)
    other.cancel()


def test_a_stopped_job_can_be_resumed_and_a_completed_one_cannot(manager: JobManager) -> None:
    work = Endless()
    job = submit(manager, work)
    wait_until(lambda: _running(job))
    job.stop()
    assert job.wait(10) is S.STOPPED
    work.steps = work.step + 1
    job.resume()
    assert job.wait(10) is S.COMPLETED
    with pytest.raises(StateError, match="completed cannot be resumed"):
        job.resume()
    with pytest.raises(StateError, match="completed cannot be paused"):
        job.pause()


def test_an_error_keeps_its_parts(manager: JobManager) -> None:
    def run(context: JobContext) -> None:
        raise ConfigError("k is too large.", where="sae.k", hint="Use 32.")

    job = submit(manager, run)
    assert job.wait(10) is S.FAILED
    error = job.error
    assert error is not None
    assert (error.what, error.where, error.hint, error.kind) == ("k is too large.", "sae.k", "Use 32.", "config")
    assert "ConfigError" in (error.traceback or "")
    with pytest.raises(ConfigError, match="k is too large"):
        job.result()
    assert "k is too large" in repr(job)


def test_what_a_failed_run_held_is_freed(manager: JobManager) -> None:
    class Big:
        pass

    refs: list[weakref.ref[Big]] = []

    def run(context: JobContext) -> None:
        big = Big()
        refs.append(weakref.ref(big))
        raise RuntimeError("no memory")

    job = submit(manager, run)
    assert job.wait(10) is S.FAILED
    gc.collect()
    wait_until(lambda: refs[0]() is None)


def test_rows_that_refer_to_the_job_exist_before_it_starts(manager: JobManager) -> None:
    seen: list[str] = []

    def run(context: JobContext) -> list[str]:
        return list(seen)

    job = submit(manager, run, job_id="job_1", before_start=seen.append)
    assert job.result(10) == ["job_1"]

    def fail(job_id: str) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        submit(manager, Endless(), job_id="job_2", before_start=fail)
    with pytest.raises(NotFoundError):
        manager.handle("job_2")


def test_rejects_an_unregistered_kind(manager: JobManager) -> None:
    with pytest.raises(StateError, match="does not know how to run a job of kind 'other'"):
        manager.submit("other", {}, LANE)
    assert len(manager.list()) == 0


def test_list_and_pause_all(manager: JobManager) -> None:
    jobs = [submit(manager, Endless()) for _ in range(3)]
    wait_until(lambda: _running(jobs[0]))
    assert manager.pause_all() == 3
    wait_until(lambda: all(r.status is S.PAUSED for r in manager.list()))
    assert [r.id for r in manager.list(status={S.PAUSED})] == [j.id for j in reversed(jobs)]


def test_subscribers_see_every_status_and_the_last_progress(manager: JobManager) -> None:
    seen: list[Any] = []
    unsubscribe = manager.subscribe(lambda job_id, updates: seen.extend(each for _, each in updates))

    def run(context: JobContext) -> None:
        for step in range(1, 501):
            context.control.check()
            context.emit(Progress(step, 500))
        context.emit(LogLine("done"))

    job = submit(manager, run)
    assert job.wait(10) is S.COMPLETED
    wait_until(lambda: any(isinstance(u, JobRecord) and u.status is S.COMPLETED for u in seen))
    statuses = [u.status for u in seen if isinstance(u, JobRecord)]
    assert statuses == sorted(set(statuses), key=statuses.index)  # each once
    assert statuses[0] is S.QUEUED
    assert statuses[-1] is S.COMPLETED
    progress = [u.done for u in seen if isinstance(u, Progress)]
    assert progress == sorted(progress)
    assert progress[-1] == 500
    assert len(progress) < 200
    unsubscribe()
    count = len(seen)
    assert submit(manager, Endless(1)).wait(10) is S.COMPLETED
    assert len(seen) == count


def test_interactive_work_runs_in_the_thread_of_the_job_and_its_errors_stay_its_own(manager: JobManager) -> None:
    assert manager.run_between(LANE, threading.get_ident).result(10) != threading.get_ident()
    job = submit(manager, Endless())
    wait_until(lambda: _running(job))
    assert manager.run_between(LANE, lambda: threading.current_thread().name).result(10) == f"saewidgets-{job.id}"
    with pytest.raises(ZeroDivisionError):
        manager.run_between(LANE, lambda: 1 / 0).result(10)
    assert _running(job)


def test_close_pauses_running_and_queued_jobs(make_manager: Callable[..., JobManager]) -> None:
    manager = make_manager()
    checkpointed = threading.Event()

    def run(context: JobContext) -> None:
        try:
            Endless()(context)
        except Interruption as asked:
            if asked.request is Request.PAUSE:
                checkpointed.set()
            raise

    job, waiting = (submit(manager, run) for _ in range(2))
    wait_until(lambda: _running(job))
    assert manager.close() == []
    assert checkpointed.is_set()
    other = make_manager()
    assert [other.get(j.id).status for j in (job, waiting)] == [S.PAUSED, S.PAUSED]
    assert other.get(job.id).note == CLOSED
    with pytest.raises(StateError, match="closed"):
        submit(manager, run)
    assert manager.close() == []


def test_close_does_not_wait_for_ever(make_manager: Callable[..., JobManager]) -> None:
    manager = make_manager()
    block = threading.Event()
    job = submit(manager, lambda _: block.wait(20))
    wait_until(lambda: job.status is S.STARTING)
    started = time.monotonic()
    assert manager.close(wait=0.1) == [job.id]
    assert time.monotonic() - started < 8
    block.set()


def test_another_manager_takes_a_paused_job_over(make_manager: Callable[..., JobManager]) -> None:
    one, two = make_manager(), make_manager()
    one.register("count", lambda record: Endless())
    two.register("count", lambda record: Endless(record.payload["n"]))
    job = one.submit("count", {"n": 5}, "elsewhere/cpu")
    wait_until(lambda: _running(job))
    two.request(job.id, "pause")
    assert two.wait(job.id, 10) is S.PAUSED
    two.resume(job.id)
    assert two.handle(job.id).result(10) == {"steps": 5}
    record = one.get(job.id)
    assert record.status is S.COMPLETED
    assert record.lane == "box/cpu"  # on the machine that resumed it
    assert one.handle(job.id).result() == {"steps": 5}


def test_a_job_that_no_process_comes_for_is_interrupted_unless_a_cluster_has_it(
    make_manager: Callable[..., JobManager], store: JobStore
) -> None:
    manager, knows = make_manager(timeout=0.2, start=0.5), None
    manager.executor = waits = Mock(waits_for="Waits for 1 GPU.", restarts=lambda job_id, **how: knows)
    queued = submit(manager, Endless())
    manager.executor = gone = Mock(waits_for=None, restarts=lambda job_id, **how: knows)
    lost = submit(manager, Endless())
    assert lost.wait(10) is S.INTERRUPTED
    manager.executor = waits
    lost.resume()
    for executor, status in ((gone, S.QUEUED), (waits, S.FAILED)):  # the end of the first says nothing of the second
        executor.start.call_args.args[2]("It ended.")
        assert lost.status is status
    assert (queued.status, waits.start.call_args_list[0].args[1]()) == (S.QUEUED, True)
    knows = False  # its head was lost
    assert queued.wait(10) is S.INTERRUPTED
    assert not waits.start.call_args_list[0].args[1]()
    running = submit(manager, Endless())
    store.change(running.id, {"status": S.RUNNING, "owner": "there"}, when={S.QUEUED})
    waits.start.call_args.args[2]("The cluster was lost.")
    assert running.record.note == "The cluster was lost."


def test_subscribers_see_changes_of_other_processes(make_manager: Callable[..., JobManager]) -> None:
    one, two = make_manager(), make_manager()
    seen: list[Any] = []
    two.subscribe(lambda job_id, updates: seen.extend(each for _, each in updates))
    job = submit(one, Endless())
    wait_until(lambda: any(isinstance(u, JobRecord) and u.progress is not None for u in seen))
    job.stop()
    wait_until(lambda: any(isinstance(u, JobRecord) and u.status is S.STOPPED for u in seen))


def test_jobs_that_others_took_for_dead_go_on_and_are_waited_for(
    make_manager: Callable[..., JobManager], store: JobStore
) -> None:
    manager = make_manager(poll=0.2)
    work, later = Endless(), Endless(3)
    job, queued = submit(manager, work), submit(manager, later)
    wait_until(lambda: job.status is S.RUNNING)
    for each in (job, queued):
        assert store.interrupt(each.id, manager.owner, note="No sign of life.") is not None
        assert each.wait(0) is S.INTERRUPTED
    wait_until(lambda: work.starts == [False, True])
    assert store.interrupt(job.id, manager.owner, note="No sign of life.") is not None
    job.resume()
    wait_until(lambda: len(work.starts) == 3)
    job.stop()
    assert [job.wait(10), queued.wait(10)] == [S.STOPPED, S.COMPLETED]
    ended = submit(manager, Endless())
    wait_until(lambda: ended.status is S.RUNNING)
    manager.close(wait=0)  # it had no time to pause, and this process, which lives on, is not its owner any more
    assert store.get(ended.id).status in (S.INTERRUPTED, S.PAUSED)


@pytest.mark.parametrize("is_here", [True, False])
def test_a_process_that_lives_is_not_taken_for_dead(
    make_manager: Callable[..., JobManager], store: JobStore, is_here: bool
) -> None:
    manager = make_manager(timeout=0.05)
    asleep = new_owner("box") if is_here else "1.2.elsewhere.f@box"
    for job_id, owner in (("lost", asleep), ("next", manager.owner)):
        store.add(job_id, kind="count", lane=LANE, payload={}, owner=owner)
    assert store.acquire("lost", asleep, width=1, timeout=60.0) is not None
    wait_until(lambda: store.stale(0.5))
    assert (store.acquire("next", manager.owner, width=1, timeout=0.05, is_alive=is_alive) is None) is is_here
    assert (store.get("lost").status is S.INTERRUPTED) is not is_here
    store.change("lost", {"status": S.STARTING}, when={S.INTERRUPTED})
    manager.sweep(fresh=True)
    assert (store.get("lost").status is S.INTERRUPTED) is not is_here


def test_a_job_that_its_executor_restarts_is_waited_for(manager: JobManager, store: JobStore) -> None:
    manager.executor = Mock(waits_for=None, restarts=Mock(side_effect=[True, True, False]))
    job = submit(manager, Endless())
    assert store.interrupt(job.id, "", note="Lost.") is not None
    assert job.wait(10) is S.INTERRUPTED
    assert manager.executor.restarts.call_count == 3


def test_an_end_is_recorded_once_there_is_space_again(
    manager: JobManager, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: Counter[str] = Counter()

    def full(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def fail(*given: Any, **more: Any) -> Any:
            if set_full.is_set() and tries[name] < 50:
                tries[name] += 1
                raise CatalogError("The disk with the catalog is full.")
            return write(*given, **more)

        return fail

    set_full, sleep = threading.Event(), time.sleep
    for name in ("beat", "change", "record"):
        monkeypatch.setattr(store, name, full(name, getattr(store, name)))

    def run(context: JobContext) -> int:
        context.control.check()
        set_full.set()
        context.emit(Progress(3, 3))
        monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.002)))
        return 3

    job = submit(manager, run)
    assert job.wait(30) is S.COMPLETED
    assert (job.result(), job.progress, job.record.note) == (3, Progress(3, 3), None)
    assert tries["change"] == tries["record"] == 50


def test_an_end_that_can_never_be_recorded_is_an_interruption(
    manager: JobManager, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = store.change

    def broken(job_id: str, changes: Any, **when: Any) -> Any:
        if changes.get("status") is S.COMPLETED:
            raise TypeError("this is no JSON")
        return change(job_id, changes, **when)

    monkeypatch.setattr(store, "change", broken)
    job = submit(manager, Endless(3))
    assert job.wait(10) is S.INTERRUPTED
    assert "could not be recorded" in (job.record.note or "")
