"""Labels that Neuronpedia publishes: `read_neuronpedia` from export files, `fetch_neuronpedia` from its bucket of them.

An export is a folder ``v1/{model}/{source}/explanations/`` (and ``explanations-…/`` where other models explained, too)
of ``batch-{n}.jsonl`` files, usually gzipped, with one explanation a line: ``modelId``, ``layer`` (the source's id),
``index`` (a string), ``description``, ``typeName``, ``explanationModelName``, ``createdAt``, sometimes ``scores``.
"""

from __future__ import annotations

import html
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.features.labels.http import RequestError, Server
from saewidgets.features.labels.label import MAX_DESCRIPTION, MAX_TEXT, Label
from saewidgets.features.labels.label_files import (
    Imported,
    LineProblem,
    OnError,
    Row,
    collect,
    json_rows,
    label_of,
    lines,
    opened,
    read_table,
)

DATASETS = "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com"
MAX_DOWNLOAD = 1 << 29  # bytes of one file, as it is sent
MAX_FILES = 10_000
_LONGEST = 7200.0  # seconds that one file may take
_BATCH = re.compile(r"batch-(\d{1,9})\.jsonl(\.gz)?")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_MAX_SCORES = 20


def read_labels(
    path: str | os.PathLike[str], d_sae: int | None = None, *, on_error: OnError | None = None
) -> Imported:
    """Labels from a ``.csv`` or ``.jsonl`` table (`read_table`) or an export of Neuronpedia's (`read_neuronpedia`).

    Args:
        path: a file, or an export's folder.
        d_sae: latents of the SAE that they are for; None: not checked.
        on_error: what wrong lines are; None: an error in a table, skipped in a published export.

    Raises:
        NotFoundError, FormatError: as of the two.
    """
    if Path(path).suffix.lower() != ".csv" and _looks_like_export(Path(path)):
        return read_neuronpedia(path, d_sae, on_error=on_error or "skip")
    return read_table(path, d_sae, on_error=on_error or "raise")


def _looks_like_export(place: Path) -> bool:
    """Whether it is a folder, or the first line of a file has the fields of an explanation."""
    if place.is_dir():
        return True
    try:
        with place.open("rb") as file:
            data = json.loads(next(lines(file, place.name), b""))
    except (OSError, ValueError, RecursionError, FormatError):
        return False
    return isinstance(data, dict) and {"description", "index", "modelId"} <= set(data)


def read_neuronpedia(
    path: str | os.PathLike[str], d_sae: int | None = None, *, on_error: OnError = "skip"
) -> Imported:
    """Labels from an export file, or the folder that holds the ``batch-….jsonl.gz``; all have to be of one source.

    Args:
        path: of the file or folder.
        d_sae: latents of the SAE that they are for; None: not checked.
        on_error: ``skip``: wrong lines are left out and listed; ``raise``: they are an error.

    Raises:
        NotFoundError: there is no such file, or the folder has no batches.
        FormatError: a file is damaged, or holds another source's labels, or labels of latents that the SAE lacks.
    """
    files = _batches(Path(path)) if Path(path).is_dir() else [Path(path)]

    def rows() -> Iterator[Row]:
        for place in files:
            with opened(place) as file:
                yield from json_rows(lines(file, place.name), place.name)

    return collect(_labels(rows(), d_sae, [None, None]), on_error, Path(path).name)


def _batches(folder: Path) -> list[Path]:
    batches = sorted((p for p in folder.iterdir() if _BATCH.fullmatch(p.name)), key=lambda p: _order(f"/{p.name}"))
    for batch in batches:
        if batch.is_symlink() and not batch.resolve().is_relative_to(folder.resolve()):
            raise StorageError("The file leads out of the folder.", where=str(batch), hint="Copy it into the folder.")
    if not batches:
        raise NotFoundError(
            "The folder has no batch-….jsonl files.", where=str(folder), hint="Choose the folder `explanations`."
        )
    return batches


def _order(key: str) -> tuple[str, int]:
    folder, _, name = key.rpartition("/")
    match = _BATCH.fullmatch(name)
    return folder, int(match[1]) if match else -1


def _labels(rows: Iterable[Row], d_sae: int | None, names: list[str | None]) -> Iterator[Label | LineProblem]:
    """Labels of one source; `names`: its model's and its own id, or None: the first row's."""
    for row in rows:
        if isinstance(row, LineProblem):
            yield row
            continue
        where, data = row
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
    scores = data.get("scores")
    scores = [] if scores is None else scores
    if not isinstance(scores, list) or not all(isinstance(score, Mapping) for score in scores):
        return LineProblem(where, "scores", "This is not a list of scores.")
    return label_of(
        {
            "index": int(str(index)), "text": f"{text[: MAX_TEXT - 1]}…" if long else text, "source": "imported",
            "description": description[:MAX_DESCRIPTION] if long else "", "method": str(data.get("typeName") or ""),
            "model": str(data.get("explanationModelName") or ""), "created_at": created,
            "scores": [
                {
                    "scorer": str(score.get("explanationScoreTypeName") or "score"), "value": score.get("value"),
                    "model": str(score.get("explanationScoreModelName") or ""),
                    "created_at": _seconds(score.get("createdAt"), created),
                }
                for score in scores[:_MAX_SCORES]
            ],
        },
        d_sae, where,
    )


def _seconds(value: Any, otherwise: float = 0.0) -> float:
    """A date of Neuronpedia's as Unix seconds; `otherwise` (1970: older than any other label) where there is none."""
    try:
        when = datetime.fromisoformat(value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return otherwise


def fetch_neuronpedia(
    model_id: str, source_id: str, d_sae: int | None = None, *, url: str = DATASETS, on_error: OnError = "skip",
    sleep: Callable[[float], None] = time.sleep,
) -> Imported:
    """All labels of a source from its published export files, those of several explaining models if there are any.

    Args:
        model_id, source_id: Neuronpedia's names, as in the address of a feature.
        d_sae: latents of the SAE that they are for; None: not checked.
        url: of the bucket with the files.
        on_error: as of `read_neuronpedia`.
        sleep: how to wait for a server that is busy.

    Raises:
        NotFoundError: there are no export files of that source.
        FormatError: a file is damaged, or labels are of latents that the SAE lacks.
        RequestError: the bucket does not answer, or not as expected.
    """
    server = Server(url, sleep=sleep)
    keys = _files(server, f"v1/{_checked(model_id, 'model_id')}/{_checked(source_id, 'source_id')}/explanations")
    if not keys:
        raise NotFoundError(
            f"There are no export files of {model_id}/{source_id}.", where=server.host,
            hint="Check both names; they are those in the address of a feature.",
        )

    def rows() -> Iterator[Row]:
        for key in keys:
            file = io.BytesIO(server.read(f"/{quote(key)}", limit=MAX_DOWNLOAD, seconds=_LONGEST))
            yield from json_rows(lines(file, key), "/".join(key.split("/")[-2:]))

    return collect(_labels(rows(), d_sae, [model_id, source_id]), on_error, server.host)


def _files(server: Server, prefix: str) -> list[str]:
    """The names of the export files of a source in the bucket, in the order of their batches."""
    wanted = re.compile(rf"{re.escape(prefix)}[\w.-]*/{_BATCH.pattern}")
    found: list[str] = []
    token: str | None = None
    for _ in range(100):
        query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
        listing = server.read(f"/?{urlencode(query)}", limit=16_000_000).decode("utf-8", "replace")
        found += [key for key in map(html.unescape, re.findall(r"<Key>([^<]*)</Key>", listing))
                  if wanted.fullmatch(key) and ".." not in key]
        following = re.search(r"<NextContinuationToken>([^<]+)</NextContinuationToken>", listing)
        if len(found) > MAX_FILES:
            raise RequestError(f"The source has more than {MAX_FILES:,} files.", where=server.host)
        if following is None:
            break
        token = html.unescape(following[1])
    return sorted(found, key=_order)


def _checked(value: str, where: str) -> str:
    if not _ID.fullmatch(value) or ".." in value:
        raise ConfigError(
            f"{value[:80]!r} is not a name of Neuronpedia's.", where=where,
            hint="It is a part of a feature's address: gemma-2-2b/20-gemmascope-res-16k/123.",
        )
    return value
