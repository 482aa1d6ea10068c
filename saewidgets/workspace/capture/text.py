"""Whether text in files is still the one that was captured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saewidgets.config import TextCorpus, TokensCorpus
from saewidgets.errors import SAEWidgetsError

TEXT = "text_fingerprint"
"""Of the facts of a store: the hash of its text, where that lies in files of this machine."""


def text_stamp(corpus: Any) -> tuple[object, ...] | None:
    """Names, sizes and times of change of its files: as long as they are the same, so is the text. None of a text that
    is in no files, or whose files are gone."""
    try:
        files = [file for name in _names(corpus) for file in _files(Path(name).expanduser().absolute())]
        return tuple((str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files) or None
    except OSError:
        return None


def text_fingerprint(corpus: Any) -> str | None:
    """The hash of a text that is in files, from whichever folder; None of any other, and of one that cannot be read:
    whoever needs it finds out why."""
    from saewidgets.activations import open_corpus  # torch: seconds to import

    try:
        return open_corpus(corpus).fingerprint() if is_in_files(corpus) else None
    except SAEWidgetsError:
        return None


def is_in_files(corpus: Any) -> bool:
    """Whether the text, or a part of it, is in files of this machine."""
    return bool(_names(corpus))


def _names(corpus: Any) -> tuple[str, ...]:
    if isinstance(corpus, TextCorpus):
        return tuple(corpus.files)
    return (corpus.source,) if isinstance(corpus, TokensCorpus) and corpus.hub is None else ()


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
