from __future__ import annotations

from pathlib import Path

import pytest

from saewidgets.catalog.filestate import Files
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


def test_round_trip(files: Files, tmp_path: Path) -> None:
    for path in (files.folder / "a" / "b c", tmp_path / "x"):
        assert files.absolute(files.stored(path)) == str(path)


def test_a_moved_workspace(files: Files, tmp_path: Path) -> None:
    assert Files(tmp_path / "moved").absolute(files.stored(files.folder / "a")) == str(tmp_path / "moved" / "a")


@pytest.mark.parametrize("stored", ["../x", "a/../../x", ".."])
def test_a_path_that_leads_out_is_refused(files: Files, stored: str) -> None:
    with pytest.raises(CatalogError, match="leads out"):
        files.absolute(stored)


@pytest.mark.parametrize("stored", ["", ".", "/etc", "../x"])
def test_only_what_is_inside_may_be_deleted(files: Files, stored: str) -> None:
    with pytest.raises(CatalogError):
        files.owned(stored)


def test_a_link_that_leads_out_may_not_be_deleted(files: Files, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (files.folder / "link").symlink_to(tmp_path / "home")
    with pytest.raises(CatalogError, match="not inside"):
        files.owned("link")
    assert files.owned("trainings/a") == files.folder / "trainings" / "a"
