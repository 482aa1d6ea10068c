from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saewidgets.errors import ConfigError, NotFoundError, StorageError, TrainingError
from saewidgets.events import Interruption, JobStatus, Request
from saewidgets.jobs.owner import _raised, _returned, error_info, summary


def test_how_a_runner_ended() -> None:
    said = {None: "completed", "stopped": "stopped", JobStatus.PAUSED: "paused", "running": "completed"}
    for status, expected in said.items():
        assert _returned(SimpleNamespace(status=status)).status == expected
    assert _returned({"status": "paused"}).status == "completed"
    asked = {Request.PAUSE: "paused", Request.STOP: "stopped", Request.CANCEL: "cancelled"}
    for request, expected in asked.items():
        assert _raised(Interruption(request)).status == expected


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConfigError("x"), "config"),
        (NotFoundError("x"), "not_found"),
        (StorageError("x"), "disk_full"),
        (OSError(28, "No space left on device"), "disk_full"),
        (OSError(13, "Permission denied"), "error"),
        (MemoryError(), "out_of_memory"),
        (OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (ValueError("x"), "error"),
        (TrainingError("x"), "error"),
    ],
)
def test_kinds_of_errors(error: Exception, kind: str) -> None:
    assert error_info(error).kind == kind


def test_an_error_may_name_its_kind_and_step() -> None:
    error = TrainingError("Loss became NaN at step 7.", hint="Lower the learning rate.")
    error.kind, error.step = "nan", 7  # type: ignore[attr-defined]
    info = error_info(error)
    assert (info.kind, info.step, info.what, info.hint) == (
        "nan", 7, "Loss became NaN at step 7.", "Lower the learning rate.",
    )  # fmt: skip


def test_an_error_without_words_has_a_sentence() -> None:
    assert error_info(KeyboardInterrupt()).what == "KeyboardInterrupt was raised."


@dataclass
class Result:
    path: Path
    loss: float
    weights: object
    nested: dict[str, Any]


def test_a_summary_is_plain_json() -> None:
    value = Result(Path("a/b"), float("nan"), object(), {"n": (1, True, None), 3: [[[[[1]]]]]})
    plain = summary(value)
    assert json.loads(json.dumps(plain, allow_nan=False)) == {
        "path": "a/b", "loss": "nan", "weights": "<object>", "nested": {"n": [1, True, None], "3": [["<list>"]]},
    }  # fmt: skip
