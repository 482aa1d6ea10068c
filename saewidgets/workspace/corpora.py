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

from saewidgets.config import TextCorpus, TrainingConfig
from saewidgets.errors import FormatError, NotFoundError, StorageError

FILE = "corpus.jsonl"
LARGE = 64 * 1024  # characters of text, and what a list of many short ones needs around them
_AROUND = 4


def to_row(config: TrainingConfig, folder: Path) -> dict[str, Any]:
    """`config` as data for the run's row; long text is written into `folder`.

    Raises:
        StorageError: it cannot be written.
    """
    corpus = config.corpus
    if not isinstance(corpus, TextCorpus) or sum(len(text) + _AROUND for text in corpus.strings) <= LARGE:
        return config.to_data()
    from saewidgets.training.environment import recorded  # torch: seconds to import

    path = folder / FILE
    try:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for text in corpus.strings:
                file.write(json.dumps(text, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"The text cannot be kept: {error.strerror or error}.", where=str(path), hint="Free some space."
        ) from error
    return recorded(config)


def from_row(data: Mapping[str, Any], folder: str | Path) -> TrainingConfig:
    """The configuration that `to_row` was given.

    Raises:
        NotFoundError, StorageError: its text is not there, or cannot be read.
        FormatError: its text was changed.
    """
    if not is_reference(data):
        return TrainingConfig.from_data(data)
    from saewidgets.training.environment import recorded  # torch: seconds to import

    path, corpus = Path(folder) / FILE, data["corpus"]
    config = TrainingConfig.from_data({**data, "corpus": {**corpus, "strings": _read(path)}})
    if recorded(config)["corpus"]["strings"] != corpus["strings"]:
        raise FormatError(
            "The text was changed after the training was started.", where=str(path),
            hint="Start a new training with the text you want.",
        )
    return config


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
            "The text of this training is not here.", where=str(path),
            hint="It is in the run's folder on the machine that started it. Or start a new training with the text.",
        ) from error
    except OSError as error:
        raise StorageError(
            f"The text cannot be read: {error.strerror or error}.", where=str(path), hint="Check its permissions."
        ) from error
    except ValueError as error:
        raise FormatError(
            f"This is not the text of a training ({error}).", where=str(path), hint="Start a new training."
        ) from error
