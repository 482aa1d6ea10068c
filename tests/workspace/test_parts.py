"""Captures and extractions that several jobs share: what they leave is what one job leaves, bit for bit."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from saewidgets.activations.store_write import StoreWriter
from saewidgets.durable import sha256_of
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.jobs import JobSettings
from saewidgets.workspace import Workspace
from saewidgets.workspace.activations import Capture
from tests.conftest import TINY_TEXT
from tests.jobs.conftest import wait_until
from tests.workspace.conftest import PATIENCE, completed

RESID, MLP = "blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"
SHARD = 2 * 64 * 32 * 4
TOKENS = 2_500  # of 16 per context and 4 contexts per forward: twenty shards of two batches
BESIDE = JobSettings(poll=0.05, timeout=2.0, width=3)  # three jobs at once on one device


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saewidgets.workspace.parts._LOOK", 0.0)
    monkeypatch.setattr("saewidgets.activations.store.SHARD_BYTES", SHARD)


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path / "ws", jobs=BESIDE) as workspace:
        yield workspace


def _capture(ws: Workspace, model: Path, spread: bool | int, tokens: int = TOKENS) -> Capture:
    text = {"kind": "text", "strings": TINY_TEXT * 3}
    return ws.activations.capture(
        str(model), text, [RESID, MLP], tokens, context_size=16, model_batch_size=4, spread=spread
    )


def _left(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


CHILD = """
import sys, time
from pathlib import Path
from saewidgets.activations import store, store_write
from saewidgets.jobs import JobSettings
from saewidgets.workspace import Workspace
store.SHARD_BYTES, append = int(sys.argv[3]), store_write.StoreWriter.append
claims, together = "activations/*/parts/*.claim", False
def slow(*given):
    global together
    while not together:
        together = len({path.read_text() for path in Path(sys.argv[1]).glob(claims)} - {""}) == 3
    time.sleep(0.3)
    append(*given)
store_write.StoreWriter.append = slow
with Workspace(sys.argv[1], runner="thread", jobs=JobSettings(poll=0.05, width=9)) as ws:
    ws.manager.take(sys.argv[2]).wait()
"""


class Children:
    """An executor whose processes run beside each other, by job."""

    waits_for = None

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, dict[str, subprocess.Popen[bytes]]()

    def start(self, job_id: str, *_: Any) -> None:
        given = [str(self.folder), job_id, str(SHARD)]
        self.started[job_id] = subprocess.Popen([sys.executable, "-c", CHILD, *given], env={**os.environ})

    def restarts(self, job_id: str, **how: Any) -> bool:
        return False

    def places(self) -> int:
        return 3


class Gate:
    """Holds whoever is about to write rows, once a few have been written, until it is opened."""

    def __init__(self, patch: pytest.MonkeyPatch, after: int) -> None:
        self.open, self._left, append = threading.Event(), after, StoreWriter.append

        def waiting(writer: StoreWriter, piece: Any) -> None:
            self._left -= 1
            if self._left < 0:
                assert self.open.wait(PATIENCE)
            append(writer, piece)

        patch.setattr(StoreWriter, "append", waiting)

    @property
    def reached(self) -> bool:
        return self._left < 0


def _helpers(ws: Workspace) -> list[Any]:
    return ws.manager.list(kind="capture part")


def _paused(ws: Workspace, model: Path, spread: int, gate: Gate) -> Capture:
    """A shared capture that was paused, helpers too, once `gate` was reached."""
    shared = _capture(ws, model, spread)
    wait_until(lambda: gate.reached, PATIENCE)
    shared.pause()
    gate.open.set()
    assert shared.wait(PATIENCE) is JobStatus.PAUSED
    wait_until(lambda: all(job.status is JobStatus.PAUSED for job in _helpers(ws)), PATIENCE)
    return shared


@pytest.fixture(scope="module")
def one(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a capture by one job leaves."""
    with pytest.MonkeyPatch.context() as patch, Workspace(tmp_path_factory.mktemp("one"), jobs=BESIDE) as ws:
        patch.setattr("saewidgets.activations.store.SHARD_BYTES", SHARD)
        return _left(completed(_capture(ws, tiny_model_folder, False)).folder)


def test_a_shared_extraction_is_that_of_one_job(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saewidgets.features.extraction.encoding.CHUNK_TOKENS", {"cpu": 6 * 16})
    shutil.copytree(finished, tmp_path / "ws")
    with Workspace(tmp_path / "ws", jobs=BESIDE) as ws:
        asked = {"training_id": ws.trainings.get("first").id, "config": {"tokens": 2_000}}
        alone, shared = (completed(ws.extractions.create(**asked, spread=spread)) for spread in (False, 3))
        assert not _helpers(ws)
        found, wanted = _left(shared.folder), _left(alone.folder)
        assert found.pop("extraction.json") != wanted.pop("extraction.json")  # they took another time
        assert found == wanted
        assert (shared.record.seen, shared.record.n_tokens) == (alone.record.seen, alone.record.n_tokens)
        assert shared.record.progress.done == shared.record.progress.total
        stopped = ws.extractions.create(**asked, spread=3)
        stopped.pause()
        stopped.wait(PATIENCE)
        stopped.cancel()
        assert not stopped.folder.exists() or not _left(stopped.folder)


def test_a_shared_capture_is_that_of_one_job(beside: Workspace, tiny_model_folder: Path, one: dict[str, str]) -> None:
    shared = _capture(beside, tiny_model_folder, 3)
    assert len(_helpers(beside)) == 2
    assert _left(completed(shared).folder) == one
    assert len(shared.open().facts.shards(RESID)) == 20
    assert shared.record.progress.done == shared.record.n_tokens > TOKENS
    assert not _helpers(beside)
    shared.verify()
    for wrong in (0.5, -1, "all"):
        with pytest.raises(ConfigError, match="a number of jobs"):
            _capture(beside, tiny_model_folder, wrong)  # type: ignore[arg-type]


def test_paused_together_lost_and_resumed(
    beside: Workspace, tiny_model_folder: Path, one: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = _paused(beside, tiny_model_folder, 3, Gate(monkeypatch, 9))
    lost, other = _helpers(beside)
    beside.manager.request(lost.id, "cancel")  # whatever it had claimed, others do
    shared.resume()
    assert beside.jobs.get(other.id).status is not JobStatus.PAUSED
    assert _left(completed(shared).folder) == one
    assert not _helpers(beside)


def test_stopped_it_keeps_whole_shards_and_cancelled_nothing(
    beside: Workspace, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, 12)
    shared = _capture(beside, tiny_model_folder, 3)
    wait_until(lambda: gate.reached, PATIENCE)
    shared.stop()
    gate.open.set()
    assert shared.wait(PATIENCE) is JobStatus.STOPPED
    kept = shared.open().facts
    assert 0 < kept.n_rows < TOKENS
    assert kept.n_rows % kept.rows_per_shard == 0
    shared.verify()
    gate.open.clear()
    cancelled = _capture(beside, tiny_model_folder, 2)
    wait_until(lambda: any(cancelled.folder.rglob("*.claim")), PATIENCE)
    cancelled.cancel()
    gate.open.set()
    assert cancelled.wait(PATIENCE) is JobStatus.CANCELLED
    assert not _left(cancelled.folder)
    assert not _helpers(beside)


@pytest.mark.long
def test_in_processes_one_of_which_is_killed(ws: Workspace, tiny_model_folder: Path, one: dict[str, str]) -> None:
    ws.manager.executor = children = Children(ws.folder)
    shared = _capture(ws, tiny_model_folder, True)
    wait_until(lambda: len({path.read_text() for path in shared.folder.glob("parts/*.claim")}) == 3, PATIENCE)
    lost = f"{shared.job.id}-2"
    children.started[lost].kill()
    assert _left(completed(shared).folder) == one
    assert not _helpers(ws)
    assert {job_id: child.wait(PATIENCE) for job_id, child in children.started.items() if job_id != lost} == {
        shared.job.id: 0, f"{shared.job.id}-1": 0,
    }


@pytest.mark.long
def test_a_process_for_each_job(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "ws")
    with Workspace(tmp_path / "ws", runner="process") as ws:
        asked = {"training_id": ws.trainings.get("first").id, "config": {"tokens": 20_000, "corpus": "demo"}}
        alone, shared = (completed(ws.extractions.create(**asked, spread=spread)) for spread in (False, 2))
        found, wanted = _left(shared.folder), _left(alone.folder)
        del found["extraction.json"], wanted["extraction.json"]
        assert found == wanted


def test_one_device_does_all_in_the_job_that_leads(ws: Workspace, tiny_model_folder: Path, one: dict[str, str]) -> None:
    shared = completed(_capture(ws, tiny_model_folder, 3))
    assert _left(shared.folder) == one
    assert _capture(ws, tiny_model_folder, True).job.record.payload["jobs"] == 1


def test_a_part_of_another_capture_is_not_taken(
    beside: Workspace, tiny_model_folder: Path, one: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = _paused(beside, tiny_model_folder, 2, Gate(monkeypatch, 14))
    whole = sorted((shared.folder / "parts").glob("*.done"))
    first, second = (shared.folder / "parts" / each.read_text() for each in whole[:2])
    swap = (first / "capture.json").read_text()
    (first / "capture.json").write_text((second / "capture.json").read_text())
    (second / "capture.json").write_text(swap)
    shared.resume()
    assert _left(completed(shared).folder) == one
