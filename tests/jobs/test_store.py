"""What the manager relies on."""

from typing import Any

import pytest

from saewidgets.errors import NotFoundError
from saewidgets.events import JobStatus as S
from saewidgets.jobs import JobStore
from saewidgets.records import ErrorInfo
from tests.jobs.conftest import LANE, wait_until
from tests.postgresql import BOTH

DATABASES = BOTH


def _add(store: JobStore, job_id: str, owner: str = "me", lane: str = LANE) -> Any:
    return store.add(job_id, kind="count", lane=lane, payload={"n": 1}, owner=owner)


def _acquire(store: JobStore, job_id: str, owner: str = "me", width: int = 1, timeout: float = 60.0) -> Any:
    return store.acquire(job_id, owner, width=width, timeout=timeout)


def test_a_missing_job_is_an_error(store: JobStore) -> None:
    with pytest.raises(NotFoundError, match="job_x"):
        store.get("job_x")
    assert store.change("job_x", {"note": "x"}, when=set(S)) is None
    store.delete("job_x")


def test_one_job_at_a_time_and_in_turn(store: JobStore) -> None:
    _add(store, "a")
    _add(store, "b", owner="you")
    _add(store, "other lane", lane="box/cuda:0")
    assert _acquire(store, "b", "you") is None  # a is before it
    assert _acquire(store, "a", "you") is None  # not theirs
    assert _acquire(store, "a").status is S.STARTING
    assert store.get("b").queue_position == 1
    assert _acquire(store, "b", "you") is None  # taken
    assert _acquire(store, "other lane") is not None
    store.change("a", {"status": S.COMPLETED}, when={S.STARTING}, owner="me")
    assert _acquire(store, "b", "you") is not None


def test_change_needs_the_expected_status_and_owner(store: JobStore) -> None:
    _add(store, "a")
    assert store.change("a", {"status": S.PAUSED}, when={S.RUNNING}) is None
    assert store.change("a", {"status": S.PAUSED}, when={S.QUEUED}, owner="you") is None
    assert store.get("a").status is S.QUEUED
    changed = store.change("a", {"status": S.PAUSED, "note": "why"}, when={S.QUEUED}, owner="me")
    assert changed is not None
    assert (changed.status, changed.owner, changed.note) == (S.PAUSED, None, "why")


def test_queued_again_at_the_end_of_the_queue_and_clean(store: JobStore) -> None:
    _add(store, "a")
    _acquire(store, "a")
    store.change("a", {"status": S.FAILED, "error": ErrorInfo("No."), "note": "x"}, when={S.STARTING})
    assert store.get("a").finished_at is not None
    _add(store, "b")
    again = store.change("a", {"status": S.QUEUED, "owner": "you", "lane": "box/cpu"}, when={S.FAILED})
    assert again is not None
    assert (again.queue_position, again.owner) == (2, "you")
    assert (again.error, again.note, again.finished_at) == (None, None, None)


def test_time_on_the_lane_adds_up(store: JobStore) -> None:
    _add(store, "a")
    assert _acquire(store, "a").started_at is not None
    running = wait_until(lambda: store.get("a").seconds_running > 0.02 and store.get("a").seconds_running)
    paused = store.change("a", {"status": S.PAUSED}, when={S.STARTING})
    assert paused is not None
    assert paused.seconds_running >= running
    assert store.get("a").seconds_running == pytest.approx(paused.seconds_running)
    started = paused.started_at
    store.change("a", {"status": S.QUEUED, "owner": "me"}, when={S.PAUSED})
    assert _acquire(store, "a").started_at == started
    assert store.get("a").seconds_running >= paused.seconds_running


def test_heartbeats_go_stale_and_leases_are_taken_over(store: JobStore) -> None:
    _add(store, "a", owner="dead")
    _acquire(store, "a", "dead")
    _add(store, "b", owner="me")
    wait_until(lambda: store.get("a").seconds_running > 1)
    store.beat("me")
    assert [r.id for r in store.stale(1)] == ["a"]
    assert _acquire(store, "b", timeout=30.0) is None
    assert _acquire(store, "b", timeout=1) is not None
    taken = store.get("a")
    assert (taken.status, taken.owner) == (S.INTERRUPTED, "dead")


def test_a_heartbeat_that_came_back_is_not_interrupted(store: JobStore) -> None:
    _add(store, "a")
    assert store.interrupt("a", "me", note="gone", older_than=30.0) is None
    assert store.interrupt("a", "you", note="gone") is None
    interrupted = store.interrupt("a", "me", note="gone")
    assert interrupted is not None
    assert (interrupted.status, interrupted.note, interrupted.owner) == (S.INTERRUPTED, "gone", "me")
    assert store.interrupt("a", "me", note="gone") is None
