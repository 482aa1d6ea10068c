"""Handles of what was deleted, by a panel, another process or a line above: shown as deleted, and no longer asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.errors import NotFoundError
from saewidgets.workspace import Run, TrainingGroup, Workspace
from saewidgets.workspace.capture.capture import Capture
from saewidgets.workspace.extraction.extraction import Extraction
from tests.workspace.conftest import PATIENCE


@pytest.mark.parametrize("kind", [Run, TrainingGroup, Capture, Extraction])
def test_what_was_deleted_is_shown_as_deleted(ws: Workspace, kind: Callable[[Workspace, str], Any]) -> None:
    handle = kind(ws, "gone_01")
    shown = f"<{type(handle).__name__} gone_01 · deleted>"
    assert (repr(handle), f"{handle}", repr([handle])) == (shown, shown, f"[{shown}]")
    html = handle._repr_html_()
    assert "gone_01" in html
    assert "Deleted" in html


def test_a_run_that_was_deleted_has_no_answers(ws: Workspace, config: TrainingConfig) -> None:
    group = ws.trainings.create_many(config, {"sae.k": [2, 4]})
    run, job = group[0], group.job
    group.cancel()
    assert group.wait(PATIENCE).is_final
    run.metrics(), run.checkpoints()  # while it is there, nothing is an answer, too
    group.delete()
    for ask in (run.metrics, run.history, run.checkpoints, run.advice, run.log):
        with pytest.raises(NotFoundError, match=run.id):
            ask()
    assert repr([group, job]) == f"[<TrainingGroup {group.id} · deleted>, <Job {job.id}, deleted>]"
