"""Folders between the disk and the catalog: processes that are killed there leave nothing for ever."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from saewidgets.catalog import Catalog
from saewidgets.workspace import Workspace
from saewidgets.workspace.folders import DRAFT_SECONDS
from saewidgets.workspace.library.sae_files import NOTES
from tests.cli.conftest import child_environment
from tests.workspace.library.saes import contents, saelens

# Stops for good where the folder is in place and the row is not written yet, or no more there.
_SCRIPT = """
import sys, time
from saewidgets.catalog.sae_queries import SAEQueries
from saewidgets.workspace import Workspace, saes
def stop(*_, **__):
    print("there", flush=True)
    time.sleep(600)
with Workspace(sys.argv[1]) as ws:
    what = sys.argv[2]
    if what == "add":
        SAEQueries.add = stop
        ws.saes.add_local(sys.argv[3])
    elif what == "delete":
        saes.remove_files = stop
        ws.saes.delete(sys.argv[3])
"""


@contextmanager
def _stopped(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has come to the point and goes no further."""
    command = [sys.executable, "-c", _SCRIPT, str(folder), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment(folder))
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def _left(folder: Path) -> list[str]:
    parents = [folder / name for name in ("saes", NOTES) if (folder / name).is_dir()]
    return sorted(path.name for parent in parents for path in parent.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ws"


def _two_days_later(folder: Path) -> None:
    for note in (folder / NOTES).iterdir():
        os.utime(note, (0, time.time() - DRAFT_SECONDS - 1), follow_symlinks=False)


def test_killed_before_its_row_is_written(folder: Path, tmp_path: Path) -> None:
    source = saelens(tmp_path / "sae")
    with _stopped(folder, "add", str(source)):
        before = _left(folder)
        assert len(before) == 2, "the SAE's folder and its note"
    with Workspace(folder) as ws:
        assert _left(folder) == before, "its process may live"
        assert not ws.saes.list()
    _two_days_later(folder)
    with Workspace(folder) as ws:
        assert _left(folder) == []
        again = ws.saes.add_local(source)
        assert _left(folder) == [again.id]


def test_killed_after_its_row_was_deleted(folder: Path, tmp_path: Path) -> None:
    with Workspace(folder) as ws:
        kept, gone = (ws.saes.add_local(saelens(tmp_path / name)) for name in ("kept", "gone"))
    with _stopped(folder, "delete", gone.id):
        assert gone.id in _left(folder)
    _two_days_later(folder)
    with Workspace(folder) as ws:
        assert _left(folder) == [kept.id]
        assert [sae.id for sae in ws.saes.list()] == [kept.id]


def test_what_others_may_know_stays_and_notes_lead_nowhere_else(folder: Path, tmp_path: Path) -> None:
    with Catalog(folder) as catalog:
        key = catalog.key
    (folder / "trainings" / "mine").mkdir(parents=True)
    for parent in ("saes", NOTES):
        (folder / parent).mkdir(parents=True, exist_ok=True)
    (folder / "saes" / "sae_other").mkdir()
    (folder / NOTES / "sae_other").write_text("another catalog")
    (folder / "saes" / "sae_x").symlink_to(folder / "trainings" / "mine")
    (folder / NOTES / "sae_x").write_text(key)
    (folder / NOTES / "sae_y").symlink_to(tmp_path / "elsewhere")
    (folder / NOTES / "..sae").write_text(key)
    _two_days_later(folder)
    with Workspace(folder):
        assert (folder / "trainings" / "mine").is_dir(), "the link goes, never what it leads to"
        assert _left(folder) == ["..sae", "sae_other", "sae_other", "sae_y"]


@pytest.mark.parametrize("to", ["outside", "the library"])
def test_of_a_folder_that_became_a_link_the_link_goes(to: str, ws: Workspace, tmp_path: Path) -> None:
    sae = ws.saes.add_local(saelens(tmp_path / "sae"))
    other = ws.saes.add_local(saelens(tmp_path / "other"))
    places = {"outside": tmp_path / "moved", "the library": ws.folder / "saes"}
    Path(sae.path).rename(tmp_path / "moved")
    before = contents(tmp_path / "moved")
    Path(sae.path).symlink_to(places[to])
    assert ws.saes.delete(sae.id) == 0
    assert contents(tmp_path / "moved") == before
    assert _left(ws.folder) == [other.id], "neither the link nor a note of it"
    assert ws.saes.load(other.id).d_sae == other.d_sae


def test_locating_what_a_link_leads_to_removes_the_link_alone(ws: Workspace, tmp_path: Path) -> None:
    sae = ws.saes.add_local(saelens(tmp_path / "sae"))
    moved = Path(sae.path).rename(tmp_path / "moved")
    Path(sae.path).symlink_to(moved)
    assert ws.saes.locate(sae.id, moved).state == "ok"
    assert _left(ws.folder) == []
    assert ws.saes.load(sae.id).d_sae == sae.d_sae


def test_folders_with_a_row_stay_despite_a_note(folder: Path, tmp_path: Path) -> None:
    with Workspace(folder) as ws:
        sae = ws.saes.add_local(saelens(tmp_path / "sae"))
        (folder / NOTES / sae.id).write_text(ws.catalog.key)
    _two_days_later(folder)
    with Workspace(folder) as ws:
        assert _left(folder) == [sae.id]
        assert ws.saes.load(sae.id).d_sae == 32
