"""Labels that Neuronpedia publishes, from its export files.

An export is a folder ``v1/{model}/{source}/explanations/`` (and ``explanations-…/`` where other models explained, too)
of ``batch-{n}.jsonl`` files, usually gzipped, with one explanation a line: ``modelId``, ``layer`` (the source's id),
``index`` (a string), ``description``, ``typeName``, ``explanationModelName``, ``createdAt``, sometimes ``scores``. The
site's API gives the same fields.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from saewidgets.errors import FormatError, NotFoundError, StorageError
from saewidgets.features.labels import packed
from saewidgets.features.labels.imported import (
    Imported,
    LineProblem,
    OnError,
    checked_on_error,
    collect,
    label_of,
    numbered,
)
from saewidgets.features.labels.label import MAX_DESCRIPTION, MAX_TEXT, Label

BATCH = re.compile(r"batch-(\d{1,9})\.jsonl(\.gz)?")
"""Names of export files."""
_MAX_SCORES = 20


def read_neuronpedia(
    path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    d_sae: int | None = None,
    *,
    model_id: str | None = None,
    source_id: str | None = None,
    on_error: OnError = "skip",
) -> Imported:
    """Labels from export files: one file, several, or the folder that holds the ``batch-….jsonl.gz``.

    Args:
        path: of the file, files or folder.
        d_sae: latents of the SAE that they are for; None: not checked.
        model_id, source_id: Neuronpedia's names (``gemma-2-2b``, ``20-gemmascope-res-16k``) that every line must have;
            None: the first line's, so that a mixture is noticed.
        on_error: ``skip``: wrong lines are left out and listed; ``raise``: they are an error.

    Raises:
        NotFoundError: there is no such file, or the folder has no batches.
        FormatError: a file is damaged, or holds another source's labels, or labels of latents that the SAE lacks.
    """
    checked_on_error(on_error)
    files = _files(path)

    def opened() -> Iterator[tuple[str, Iterable[bytes]]]:
        for place in files:
            with _opened(place) as file:
                yield place.name, packed.lines(file, place.name)

    found = explanations_of(opened(), d_sae, [model_id, source_id])
    return collect(found, on_error, files[0].name if len(files) == 1 else files[0].parent.name)


def looks_like_export(path: str | os.PathLike[str]) -> bool:
    """Whether a folder has batches, or the first line of a file the fields of an explanation."""
    place = Path(path)
    if place.is_dir():
        return any(BATCH.fullmatch(name) for name in os.listdir(place))
    try:
        with place.open("rb") as file:
            first = next(packed.lines(file, place.name), b"")
        data = json.loads(first)
    except (OSError, ValueError, RecursionError, FormatError):
        return False
    return isinstance(data, dict) and {"description", "index", "modelId"} <= set(data)


def batch_order(key: str) -> tuple[str, int]:
    """Sorts export files by folder and number."""
    folder, _, name = key.rpartition("/")
    match = BATCH.fullmatch(name)
    return folder, int(match[1]) if match else -1


def _files(path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    if not isinstance(path, str | os.PathLike):
        files = [Path(one) for one in path]
        if not files:
            raise NotFoundError("No file was named.", where="path")
        return files
    place = Path(path)
    if not place.is_dir():
        return [place]
    batches = sorted((p for p in place.iterdir() if BATCH.fullmatch(p.name)), key=lambda p: batch_order(f"/{p.name}"))
    for batch in batches:
        if batch.is_symlink() and not batch.resolve().is_relative_to(place.resolve()):
            raise StorageError("The file leads out of the folder.", where=str(batch), hint="Copy it into the folder.")
    if not batches:
        raise NotFoundError(
            "The folder has no batch-….jsonl files.", where=str(place), hint="Choose the folder `explanations`."
        )
    return batches


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFoundError("There is no such file.", where=str(path)) from None
    except OSError as error:
        raise StorageError(f"The file cannot be read ({error.strerror}).", where=str(path)) from error


def explanations_of(
    files: Iterable[tuple[str, Iterable[bytes]]], d_sae: int | None, names: list[str | None]
) -> Iterator[Label | LineProblem]:
    """Labels of export files, given as names and lines; `names` as of `labels_of`."""

    def rows() -> Iterator[tuple[str, Any] | LineProblem]:
        for name, lines in files:
            for where, line in numbered(lines, name):
                try:
                    yield where, json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield LineProblem(where, "line", f"This is not JSON ({error}).")

    return labels_of(rows(), d_sae, names)


def labels_of(
    rows: Iterable[tuple[str, Any] | LineProblem], d_sae: int | None, names: list[str | None]
) -> Iterator[Label | LineProblem]:
    """Labels of one source; `names`: its model's and its own id, or None: the first row's."""
    for row in rows:
        if isinstance(row, LineProblem):
            yield row
            continue
        where, data = row
        if not isinstance(data, Mapping):
            yield LineProblem(where, "line", "This is not an object.")
            continue
        for at, key in enumerate(("modelId", "layer")):
            value = str(data.get(key) or data.get("sourceId" if key == "layer" else key) or "")
            names[at] = names[at] or value or None
            if value and value != names[at]:
                raise FormatError(
                    f"This label is of {value[:80]!r}, not of {names[at]!r}.", where=f"{where}, {key}",
                    hint="Import one source at a time, and the one of this SAE.",
                )
        yield _label(where, data, d_sae)


def _label(where: str, data: Mapping[str, Any], d_sae: int | None) -> Label | LineProblem:
    index, description = data.get("index"), data.get("description")
    if not re.fullmatch(r"[0-9]{1,10}", str(index)):
        return LineProblem(where, "index", f"This is not the number of a latent (found {str(index)[:40]!r}).")
    if not isinstance(description, str) or not description.strip():
        return LineProblem(where, "description", "This is empty.")
    description = description.replace("\0", " ").encode("utf-8", "replace").decode()
    text = " ".join(description.split())
    long = len(text) > MAX_TEXT
    created = _seconds(data.get("createdAt"))
    scores, problem = _scores(data.get("scores"), created)
    if problem:
        return LineProblem(where, "scores", problem)
    return label_of(
        {
            "index": int(str(index)), "text": f"{text[: MAX_TEXT - 1]}…" if long else text, "source": "imported",
            "description": description[:MAX_DESCRIPTION] if long else "", "method": str(data.get("typeName") or ""),
            "model": str(data.get("explanationModelName") or ""), "created_at": created, "scores": scores,
        },
        d_sae, where,
    )


def _scores(found: Any, created: float) -> tuple[list[dict[str, Any]], str]:
    if found is None:
        return [], ""
    if not isinstance(found, list):
        return [], "This is not a list."
    scores = []
    for score in found[:_MAX_SCORES]:
        if not isinstance(score, Mapping):
            return [], "A score is not an object."
        scores.append({
            "scorer": str(score.get("explanationScoreTypeName") or "score"), "value": score.get("value"),
            "model": str(score.get("explanationScoreModelName") or ""),
            "created_at": _seconds(score.get("createdAt"), created),
        })
    return scores, ""


def _seconds(value: Any, otherwise: float = 0.0) -> float:
    """A date of Neuronpedia's as Unix seconds; `otherwise` (1970: older than any other label) where there is none."""
    try:
        when = datetime.fromisoformat(value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return otherwise
