import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from saewidgets.errors import ConfigError, NotFoundError, StorageError, TrainingError
from saewidgets.jobs.owner import error_info, summary


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
        "path": "a/b", "loss": "NaN", "weights": "<object>", "nested": {"n": [1, True, None], "3": [[[[[1]]]]]},
    }  # fmt: skip
