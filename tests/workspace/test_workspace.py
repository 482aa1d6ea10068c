"""Opening and closing a workspace; what a panel asks of it; handles of what was deleted."""

import gc
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import saewidgets as sw
from saewidgets.errors import NotFoundError, StorageError
from saewidgets.events import JobStatus
from saewidgets.jobs import JobContext, JobSettings
from saewidgets.workspace import Run, TrainingGroup, Workspace, default_workspace
from saewidgets.workspace.activations import Capture
from saewidgets.workspace.extractions import Extraction
from saewidgets.workspace.folders import inside, remove_tree, sweep_trash
from saewidgets.workspace.trainings import demo_config
from tests.workspace.conftest import PATIENCE, small_config


def test_the_default_workspace_is_one_per_process(home: Path) -> None:
    first = default_workspace()
    assert first is default_workspace()
    assert first.folder == home
    assert first.label == "default workspace"
    first.close()
    second = default_workspace()
    assert second is not first
    second.close()


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be created"):
        Workspace(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="not writable"):
        Workspace(tmp_path / "ro")


def test_closing_writes_checkpoints_of_running_runs(tmp_path: Path, tiny_model_folder: Path) -> None:
    ws = Workspace(tmp_path)
    config = small_config(tiny_model_folder, tokens=64 * 100_000, **{"checkpoints.every_steps": 10_000})
    run = ws.trainings.create(config)
    while run.record.step < 2:
        assert run.wait(0.05) is not JobStatus.FAILED, run.error
    ws.close()
    with Workspace(tmp_path) as again:
        record = again.trainings.get(run.id).record
        assert record.status is JobStatus.PAUSED
        assert record.last_checkpoint_step == record.step >= 2


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts the open files of this process")
def test_one_that_is_dropped_is_closed_once_nothing_runs_in_it(tmp_path: Path) -> None:
    def open_files() -> list[str]:
        gc.collect()
        found = [os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")]
        return [path for path in found if path.startswith(str(tmp_path))]

    def endless(context: JobContext) -> None:
        while not ended.wait(0.01):
            context.control.check()

    ended = threading.Event()
    for number in range(5):
        ws = Workspace(tmp_path / str(number), jobs=JobSettings(poll=0.05))
        ws.subscribe(lambda _: None)()
        ws.manager.register("count", lambda record: endless)
        job = ws.manager.submit("count", {}, "box/cpu")
        while job.status is not JobStatus.RUNNING:
            job.wait(0.05)
        del ws
    job_id = job.id
    del job
    assert len({Path(path).parent for path in open_files()}) == 5
    with Workspace(tmp_path / "4") as again:
        assert again.jobs.get(job_id).status is JobStatus.RUNNING
        ended.set()
        assert again.jobs.get(job_id).wait(PATIENCE) is JobStatus.COMPLETED
    del again
    deadline = time.monotonic() + PATIENCE
    while left := open_files():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_opening_removes_what_a_kill_left_of_new_runs(tmp_path: Path, tiny_model_folder: Path) -> None:
    with Workspace(tmp_path) as ws:
        run = ws.trainings.create(small_config(tiny_model_folder))
        run.cancel()
        ws.catalog.jobs.change(str(run.record.job_id), {"status": JobStatus.INTERRUPTED}, when=set(JobStatus))
        ws.catalog.jobs.add("job_1", kind="training", lane="x/cpu", payload={"training_id": "train_1"}, owner="gone")
        ws.catalog.jobs.interrupt("job_1", "gone", note="")
        for name, age in (("train_1", 3600), ("train_2", 0), ("train_3", 3600)):
            (folder := ws.folder / "trainings" / name).mkdir()
            (folder / "text.txt").write_text("") if name == "train_3" else None
            os.utime(folder, (time.time() - age,) * 2)
    with Workspace(tmp_path) as ws:
        assert [job.id for job in ws.jobs.list()] == [run.record.job_id]
        assert {each.name for each in (ws.folder / "trainings").iterdir()} == {run.id, "train_2", "train_3"}


def test_what_it_says_of_itself(ws: Workspace, run: Run) -> None:
    assert ws.suggestions()["model"] == ("demo", run.config.model)
    run.import_to_saes()
    assert repr(ws).endswith(" · 1 training, 1 SAE>")
    assert ws.read_features(run, n=3, tokens=256).to_text()


def test_files_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "ws"
    (root / "trainings" / "a").mkdir(parents=True)
    (root / "trainings" / "a" / "f").write_text("12345")
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "trainings" / "link").symlink_to(outside)
    (tmp_path / "mine").symlink_to(outside)
    for bad in (root / ".." / "outside", root / "trainings" / "link", outside):
        with pytest.raises(StorageError, match="out of the workspace"):
            inside(root, bad)
    with pytest.raises(StorageError):
        remove_tree(root, root)
    assert remove_tree(root, root / "trainings" / "a") == 5
    assert remove_tree(root, root / "trainings" / "a") == 0
    assert remove_tree(root, root / "trainings" / "link") == 0
    assert not (root / "trainings" / "link").is_symlink()
    with pytest.raises(StorageError, match="out of the workspace"):
        remove_tree(root, tmp_path / "mine")
    (root / "trainings" / ".deleted-b-1").mkdir()
    sweep_trash(root)
    assert not (root / "trainings" / ".deleted-b-1").exists()
    assert outside.exists()


@pytest.mark.parametrize("kind", [Run, TrainingGroup, Capture, Extraction])
def test_what_was_deleted_is_shown_as_deleted(ws: Workspace, kind: Callable[[Workspace, str], Any]) -> None:
    handle = kind(ws, "gone_01")
    shown = f"<{type(handle).__name__} gone_01 · deleted>"
    assert (repr(handle), f"{handle}", repr([handle])) == (shown, shown, f"[{shown}]")
    html = handle._repr_html_()
    assert "gone_01" in html
    assert "Deleted" in html


def test_a_run_that_was_deleted_has_no_answers(pair: TrainingGroup) -> None:
    run, job = pair[0], pair.job
    pair.delete()
    for ask in (run.metrics, run.history, run.checkpoints, run.advice, run.log):
        with pytest.raises(NotFoundError, match=run.id):
            ask()
    assert repr([pair, job]) == f"[<TrainingGroup {pair.id} · deleted>, <Job {job.id}, deleted>]"


EMPTY = Path(__file__).resolve().parents[2] / "js" / "src" / "training-panel" / "panel.tsx"


def test_the_code_of_the_empty_panel_is_the_demo() -> None:
    found = re.search(r"DEMO_CODE = `run = ws\.trainings\.create\((.*)\)`;", EMPTY.read_text("utf-8"), re.DOTALL)
    assert found
    shown = eval(found[1], {"sw": sw})
    # How much is read and measured at a time changes nothing about what is learned.
    same = {"activations": demo_config().activations, "evaluation": demo_config().evaluation}
    assert shown.replace(**{name: value.model_dump() for name, value in same.items()}) == demo_config()
