import json
import os
import shutil
from pathlib import Path

import pytest

from saewidgets.catalog.filestate import Files, recorded, state_of
from saewidgets.errors import CatalogError


@pytest.fixture
def files(folder: Path) -> Files:
    folder.mkdir()
    return Files(folder)


def test_inside_is_relative_and_outside_absolute(files: Files, tmp_path: Path) -> None:
    assert files.stored(files.folder / "trainings" / "a") == "trainings/a"
    assert files.stored("trainings/a") == "trainings/a"
    assert files.stored(tmp_path / "elsewhere") == str(tmp_path / "elsewhere")
    assert files.stored(files.folder / "trainings" / ".." / "saes") == "saes"
    assert files.stored(str(files.folder) + "-2/x") == str(files.folder) + "-2/x"  # a neighbour with the same beginning


@pytest.mark.parametrize("stored", ["../x", "a/../../x", ".."])
def test_a_path_that_leads_out_is_refused(files: Files, stored: str) -> None:
    with pytest.raises(CatalogError, match="leads out"):
        files.absolute(stored)


@pytest.mark.parametrize("stored", ["", ".", "/etc", "../x"])
def test_rejects_paths_outside_the_workspace(files: Files, stored: str) -> None:
    with pytest.raises(CatalogError):
        files.owned(stored)


def test_a_link_that_leads_out_may_not_be_deleted(files: Files, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (files.folder / "link").symlink_to(tmp_path / "home")
    with pytest.raises(CatalogError, match="not inside"):
        files.owned("link")
    assert files.owned("trainings/a") == files.folder / "trainings" / "a"


@pytest.fixture
def sae(tmp_path: Path) -> Path:
    folder = tmp_path / "sae"
    (folder / "inner").mkdir(parents=True)
    (folder / "cfg.json").write_text("{}")
    (folder / "inner" / "weights").write_bytes(b"12345")
    (folder / "link").symlink_to(folder / "cfg.json")
    return folder


def _stored(folder: Path) -> str:
    return json.dumps(recorded(folder))


def _later(path: Path, seconds: int = 5) -> None:
    there = path.stat()
    os.utime(path, ns=(there.st_atime_ns, there.st_mtime_ns + seconds * 10**9))


def _look(folder: Path, stored: str | None, host: str = "box", size_bytes: int = 2) -> tuple[str, str]:
    return state_of(str(folder), stored, host, "box", size_bytes)


def test_states(sae: Path) -> None:
    stored = _stored(sae)
    assert _look(sae, stored) == ("ok", "")
    (sae / "more.txt").write_text("a note of the user's own changes nothing")
    assert _look(sae, stored) == ("ok", "")
    (sae / "cfg.json").write_text("{ }")
    assert _look(sae, stored) == ("changed", "cfg.json was written to after it was added.")
    (sae / "inner" / "weights").unlink()
    (sae / "cfg.json").write_text("{}")
    assert _look(sae, stored) == ("missing", "inner/weights is no longer in its folder.")
    assert _look(sae / "gone", stored) == ("missing", "Its folder is gone.")
    assert _look(sae / "gone", stored, host="far") == ("missing", "Its files are on far, and cannot be seen from here.")


@pytest.mark.parametrize("size", [5, 3_000_000])
def test_a_change_that_keeps_the_size_is_seen(sae: Path, size: int) -> None:
    (sae / "inner" / "weights").write_bytes(bytes(size))
    stored = _stored(sae)
    (sae / "inner" / "weights").write_bytes(b"\1" * size)
    _later(sae / "inner" / "weights")
    state, note = _look(sae, stored)
    assert state == "changed"
    assert note.startswith("inner/weights was written to")


@pytest.mark.parametrize("size", [5, 65_537])
def test_a_copy_with_other_times_is_not_a_change(sae: Path, tmp_path: Path, size: int) -> None:
    (sae / "inner" / "weights").write_bytes(os.urandom(size))
    stored = _stored(sae)
    shutil.copytree(sae, tmp_path / "copy")
    for path in (tmp_path / "copy" / "cfg.json", tmp_path / "copy" / "inner" / "weights"):
        _later(path)
    assert _look(tmp_path / "copy", stored) == ("ok", "")


def test_a_pipe_in_a_files_place_is_not_opened(sae: Path) -> None:
    (sae / "cfg.json").write_bytes(b"")
    stored = _stored(sae)
    (sae / "cfg.json").unlink()
    os.mkfifo(sae / "cfg.json")
    assert _look(sae, stored)[0] == "changed"


def test_rows_of_earlier_versions(sae: Path) -> None:
    assert _look(sae, None) == ("ok", "")  # of cfg.json: files further down are not counted
    assert _look(sae, None, size_bytes=9)[0] == "changed"
    assert _look(sae / "gone", None)[0] == "missing"
    sizes = '{"cfg.json":2,"inner/weights":5}'
    (sae / "inner" / "weights").write_bytes(b"54321")
    assert _look(sae, sizes) == ("ok", "")
    (sae / "inner" / "weights").write_bytes(b"1")
    assert _look(sae, sizes)[0] == "changed"
