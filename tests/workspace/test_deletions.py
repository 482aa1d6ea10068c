import os
import time
from pathlib import Path

import pytest

from saewidgets.errors import NotFoundError, StateError
from saewidgets.workspace import Workspace, deletions
from tests.jobs.conftest import wait_until
from tests.widgets.seeded_runs import full_workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ws"


def test_a_deletion_can_be_undone_for_a_while(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with full_workspace(folder) as ws:
        ws.deletions.add("train_3")
        assert ws.deletions.pending() == {"train_3": ws.trainings.get("train_3").record.name}
        ws.deletions.undo("train_3")
        assert ws.deletions.pending() == {}
        with pytest.raises(StateError, match="deleted already"):
            ws.deletions.undo("train_3")
        monkeypatch.setattr(deletions, "UNDO_SECONDS", 0.05)
        ws.deletions.add("train_3")

        def is_gone() -> bool:
            try:
                return ws.trainings.get("train_3") is None
            except NotFoundError:
                return True

        wait_until(is_gone)
        wait_until(lambda: not any((folder / "trash").iterdir()))


def test_what_runs_is_refused_at_once(folder: Path) -> None:
    with full_workspace(folder) as ws:
        with pytest.raises(StateError, match="running"):
            ws.deletions.add("train_0")
        assert ws.deletions.pending() == {}


@pytest.mark.parametrize("marker", ["train_3", ".deleting-train_3"])
def test_a_deletion_that_was_cut_short_is_finished_at_the_next_opening(folder: Path, marker: str) -> None:
    full_workspace(folder).close()
    (folder / "trash").mkdir()
    left = folder / "trash" / marker
    left.write_text("name")
    then = time.time() - 2 * deletions._ABANDONED
    os.utime(left, (then, then))
    with Workspace(folder) as ws:
        wait_until(lambda: not left.exists() and not any((folder / "trash").iterdir()))
        with pytest.raises(NotFoundError):
            ws.trainings.get("train_3").record  # noqa: B018 - raises
