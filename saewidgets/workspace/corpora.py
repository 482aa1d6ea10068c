"""Text held in memory: short in the run's row, long once in a file of the run's folder.

Rows are read at every look at a list. So a long text stands there as its SHA-256, in the form that checkpoints use, and
is read from ``corpus.jsonl`` (one JSON string per line) when a run is started, resumed, retried or measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saewidgets.config import TrainingConfig
from saewidgets.errors import FormatError, NotFoundError, StorageError

FILE = "corpus.jsonl"
LARGE = 64 * 1024  # characters of text, and what a list of many short ones needs around them
_AROUND = 4


def to_row(config: TrainingConfig, folder: Path) -> dict[str, Any]:
    """`config` as data for the run's row; long text is written into `folder`.

    Raises:
        StorageError: it cannot be written.
    """
    data = config.to_data()
    return {**data, "corpus": corpus_to_row(data["corpus"], folder)}


def from_row(data: Mapping[str, Any], folder: str | Path) -> TrainingConfig:
    """The configuration that `to_row` was given.

    Raises:
        NotFoundError, StorageError: its text is not there, or cannot be read.
        FormatError: its text was changed.
    """
    if not is_reference(data):
        return TrainingConfig.from_data(data)
    return TrainingConfig.from_data({**data, "corpus": corpus_from_row(data["corpus"], folder)})


def corpus_to_row(corpus: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The data of a corpus for a row; long text is written into `folder`.

    Raises:
        StorageError: it cannot be written.
    """
    strings = corpus.get("strings") or ()
    if sum(len(text) + _AROUND for text in strings) <= LARGE:
        return dict(corpus)
    from saewidgets.training.environment import text_digest  # torch: seconds to import

    path = folder / FILE
    try:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for text in strings:
                file.write(json.dumps(text, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"The text cannot be kept: {error.strerror or error}.", where=str(path), hint="Free some space."
        ) from error
    return {**corpus, "strings": text_digest(strings)}


def corpus_from_row(corpus: Mapping[str, Any], folder: str | Path) -> dict[str, Any]:
    """The data that `corpus_to_row` was given. Raises what `from_row` raises."""
    if not is_reference({"corpus": corpus}):
        return dict(corpus)
    from saewidgets.training.environment import text_digest  # torch: seconds to import

    path = Path(folder) / FILE
    strings = _read(path)
    if not all(isinstance(text, str) for text in strings) or text_digest(strings) != corpus["strings"]:
        raise FormatError(
            "The text was changed after it was kept.", where=str(path), hint="Start again with the text you want."
        )
    return {**corpus, "strings": strings}


def is_reference(data: Mapping[str, Any]) -> bool:
    """Whether `data` names its text instead of holding it."""
    corpus = data.get("corpus")
    strings = corpus.get("strings") if isinstance(corpus, Mapping) else None
    return isinstance(strings, str) and strings.startswith("sha256:")


def _read(path: Path) -> list[Any]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError as error:
        raise NotFoundError(
            "The text of this run is not here.", where=str(path),
            hint="It is in the run's folder on the machine that started it. Or start a new run with the text.",
        ) from error
    except OSError as error:
        raise StorageError(
            f"The text cannot be read: {error.strerror or error}.", where=str(path), hint="Check its permissions."
        ) from error
    except ValueError as error:
        raise FormatError(
            f"This is not the text of a run ({error}).", where=str(path), hint="Start a new run."
        ) from error
