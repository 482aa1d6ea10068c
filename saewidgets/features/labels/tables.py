"""Labels as CSV and JSONL files.

Both hold every field and come back exactly. In CSV a text that a spreadsheet would take for a formula (it begins with
``=``, ``+``, ``-``, ``@``, a tab or a line end) gets an apostrophe in front, which reading takes off again.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from saewidgets.durable import whole_file
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
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
from saewidgets.features.labels.label import Label, LabelSource
from saewidgets.features.labels.neuronpedia import looks_like_export, read_neuronpedia

COLUMNS = tuple(field.name for field in fields(Label))
MAX_FILE = 1 << 30  # bytes

# What other tools call the two columns that a table of labels needs.
_ALIASES = {
    "index": ("feature", "feature_index", "feature_id", "neuron_index", "latent"),
    "text": ("label", "name", "explanation", "description"),
}
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_GUARDED = re.compile(r"'+[=+\-@\t\r\n]")


def write_labels(labels: Iterable[Label], path: str | os.PathLike[str]) -> Path:
    """Write labels to a ``.csv`` or ``.jsonl`` file, whole or not at all; one that is there is replaced.

    Raises:
        ConfigError: the name ends in neither.
        StorageError: it cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in (".csv", ".jsonl"):
        raise ConfigError(f"{target.name!r} is neither .csv nor .jsonl.", where="path", hint="Choose one of the two.")
    with whole_file(target) as file:
        (_to_csv if target.suffix.lower() == ".csv" else _to_jsonl)(labels, file)
    return target


def _to_jsonl(labels: Iterable[Label], file: TextIO) -> None:
    for label in labels:
        file.write(json.dumps(label.to_data(), ensure_ascii=False) + "\n")


def _to_csv(labels: Iterable[Label], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for label in labels:
        data = label.to_data()
        data["scores"] = json.dumps(data["scores"], ensure_ascii=False) if data["scores"] else ""
        writer.writerow([guarded(value) if isinstance(value, str) else repr(value) for value in map(data.get, COLUMNS)])


def guarded(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula; `unguarded` undoes it."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """The text of a cell."""
    return cell[1:] if _GUARDED.match(cell) else cell


def read_table(
    path: str | os.PathLike[str], d_sae: int | None = None, *, on_error: OnError = "raise",
    source: LabelSource | None = None,
) -> Imported:
    """Labels from a ``.csv`` or ``.jsonl`` (also gzipped) file.

    A number and a text are enough; other tools' names for the two columns are known. Where a file does not say whose
    labels they are, they count as imported.

    Args:
        path: the file.
        d_sae: latents of the SAE that they are for; None: not checked.
        on_error: ``raise``: nothing is taken if a line is wrong; ``skip``: such lines are left out and listed.
        source: count all of them as this; None: as the file says.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is no such table, or a line is wrong; lines and fields are named.
    """
    checked_on_error(on_error)
    place = Path(path)
    is_csv = place.suffix.lower() in (".csv", ".tsv")
    try:
        size = place.stat().st_size
        if size > MAX_FILE:
            raise FormatError(f"The file has {size:,} bytes; at most {MAX_FILE:,} are read.", where=place.name)
        with place.open("rb") as file:
            name = place.name
            rows = _csv_rows(file.read(), name) if is_csv else _json_rows(packed.lines(file, name), name)
            return collect(_labels(rows, d_sae, source), on_error, name)
    except FileNotFoundError:
        raise NotFoundError("There is no such file.", where=str(place)) from None
    except FormatError:
        raise
    except OSError as error:
        raise StorageError(f"The file cannot be read ({error.strerror}).", where=str(place)) from error


def _labels(
    rows: Iterable[tuple[str, dict[str, Any]] | LineProblem], d_sae: int | None, source: LabelSource | None
) -> Iterator[Label | LineProblem]:
    for row in rows:
        if isinstance(row, LineProblem):
            yield row
            continue
        where, data = row
        for name, aliases in _ALIASES.items():
            alias = next((alias for alias in aliases if alias in data), None)
            if name not in data and alias is not None:
                data[name] = data.pop(alias)
        if source is not None:
            data["source"] = source
        yield label_of({"source": "imported", **data}, d_sae, where)


def _json_rows(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, dict[str, Any]] | LineProblem]:
    for where, line in numbered(lines, name):
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield LineProblem(where, "line", f"This is not JSON ({error}).")
            continue
        yield (where, data) if isinstance(data, dict) else LineProblem(where, "line", "This is not an object.")


def _csv_rows(raw: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]] | LineProblem]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FormatError(f"Line {line} is not UTF-8.", where=name, hint="Save the table as CSV UTF-8.") from error
    first = text[:10_000].partition("\n")[0]
    delimiter = "," if "," in first else ";" if ";" in first else "\t" if "\t" in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield LineProblem(f"{name}, line {line}", "line", f"This is not CSV ({error}).")
            return  # where the next line begins is not known
        if row is None:
            break
        if header is None:
            header = _header(row, name)
        elif any(row):
            yield _csv_row(header, row, f"{name}, line {line}")
    if header is None:
        raise FormatError("The file is empty.", where=name)


def _header(row: list[str], name: str) -> list[str]:
    header = [cell.strip().lower() for cell in row]
    for wanted, aliases in _ALIASES.items():
        if not {wanted, *aliases} & set(header):
            raise FormatError(
                f"The table has no column {wanted!r}.", where=f"{name}, line 1",
                hint=f"Call it {wanted!r}; the first line has the names of the columns.",
            )
    if len(set(header)) < len(header):
        raise FormatError("Two columns have the same name.", where=f"{name}, line 1")
    return header


def _csv_row(header: list[str], row: list[str], where: str) -> tuple[str, dict[str, Any]] | LineProblem:
    if len(row) > len(header):
        return LineProblem(where, "line", f"It has {len(row)} cells; the first line has {len(header)}.")
    data: dict[str, Any] = {}
    for column, cell in zip(header, row, strict=False):
        key = "index" if column in _ALIASES["index"] else column
        if key == "index":
            if not re.fullmatch(r"\s*[0-9]{1,12}\s*", cell):
                return LineProblem(where, column, f"This is not the number of a latent (found {cell[:40]!r}).")
            data[key] = int(cell)
        elif cell == "" and key not in ("text", *_ALIASES["text"]):
            continue  # as if it were not there
        elif key == "created_at":
            try:
                data[key] = float(cell)
            except ValueError:
                return LineProblem(where, column, f"This is not a time in seconds (found {cell[:40]!r}).")
        elif key == "scores":
            try:
                data[key] = json.loads(unguarded(cell))
            except (ValueError, RecursionError):
                return LineProblem(where, column, "This is not JSON.")
        else:
            data[key] = unguarded(cell)
    return where, data


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
    if Path(path).is_dir() or (Path(path).suffix.lower() not in (".csv", ".tsv") and looks_like_export(path)):
        return read_neuronpedia(path, d_sae, on_error=on_error or "skip")
    return read_table(path, d_sae, on_error=on_error or "raise")
