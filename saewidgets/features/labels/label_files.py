"""Defines `write_labels` and `read_table`: labels on disk, as CSV and JSONL.

A table holds every field and comes back exactly. In CSV a text that a spreadsheet would take for a formula (it begins
with ``=``, ``+``, ``-``, ``@``, a tab or a line end) gets an apostrophe in front, which reading takes off again.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

from saewidgets.config.arguments import shown
from saewidgets.durable import whole_file
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.features.labels.label import Label

OnError = Literal["raise", "skip"]

COLUMNS = tuple(field.name for field in fields(Label))
MAX_FILE = 1 << 30  # bytes
MAX_LINE = 4_000_000  # bytes
MAX_UNPACKED = 1 << 32  # bytes
MAX_RATIO = 200
"""Text packs about tenfold, and not more than this."""
_PIECE = 1 << 20
_SHOWN = 5  # problems that an error lists
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_GUARDED = re.compile(r"'+[=+\-@\t\r\n]")


@dataclass(frozen=True, slots=True)
class LineProblem:
    """One line that cannot be taken.

    Attributes:
        where: the file (or server) and the line's number.
        field: which of its fields.
        what: what is wrong with it.
        wide: the latent lies outside the SAE: the labels are of another one.
    """

    where: str
    field: str
    what: str
    wide: bool = False

    def __str__(self) -> str:
        return f"{self.where}, {self.field}: {self.what}"


@dataclass
class Imported:
    """Labels, and the lines that were skipped."""

    labels: list[Label] = field(default_factory=list)
    problems: list[LineProblem] = field(default_factory=list)


Row = tuple[str, Any] | LineProblem
"""The place of a line and its data, or what is wrong with it."""


def collect(found: Iterable[Label | LineProblem], on_error: OnError, what: str) -> Imported:
    """All of `found`. Nothing is returned if it has problems that are not to be skipped.

    Raises:
        FormatError: it has problems; the first ones are listed. Labels of latents that the SAE does not have are never
            skipped: they are of another SAE.
        ConfigError: `on_error` is not one of the two.
    """
    if on_error not in get_args(OnError):
        raise ConfigError(
            f"{shown(on_error)} is not a way to treat errors.", where="on_error", hint='Use "raise" or "skip".'
        )
    imported = Imported()
    for item in found:
        if isinstance(item, LineProblem):
            imported.problems.append(item)
        else:
            imported.labels.append(item)
    wide = any(problem.wide for problem in imported.problems)
    if imported.problems and (wide or on_error == "raise"):
        listed = "; ".join(map(str, [p for p in imported.problems if p.wide or not wide][:_SHOWN]))
        more = len(imported.problems) - _SHOWN
        raise FormatError(
            f"{len(imported.problems):,} of the lines cannot be taken. {listed.rstrip('.')}"
            + (f"; and {more:,} more." if more > 0 else "."),
            where=what,
            hint="These labels belong to another SAE: check its width." if wide
            else 'Correct or remove the lines; an import leaves them out with on_error="skip" (--skip-errors).',
        )
    return imported


def label_of(data: Mapping[str, Any], d_sae: int | None, where: str) -> Label | LineProblem:
    """The label in one line's data, or what is wrong with it."""
    try:
        label = Label.from_data(data)
    except ConfigError as error:
        return LineProblem(where, error.where or "line", error.what)
    if d_sae is not None and label.index >= d_sae:
        return LineProblem(where, "index", f"{label.index:,} is outside the SAE's {d_sae:,} latents.", wide=True)
    return label


def lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of a file that may be gzipped, bounded while they are unpacked: a small file cannot fill the memory.

    Raises:
        FormatError: it is damaged or cut off, a line is too long, or it unpacks to more than is plausible.
    """
    is_packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    source = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_packed else file
    rest, total = b"", 0
    while True:
        try:
            piece = source.read(_PIECE)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FormatError(f"The file is damaged or cut off ({error}).", where=name, hint="Get it again.") from error
        total += len(piece)
        if total > MAX_UNPACKED:
            raise FormatError(f"The file holds more than {MAX_UNPACKED:,} bytes.", where=name)
        if is_packed and total > _PIECE and total > MAX_RATIO * file.tell():
            raise FormatError(
                f"The file unpacks to more than {MAX_RATIO} times its size, which text does not.", where=name,
                hint="It may be made to fill the memory; get it from its source again.",
            )
        *whole, rest = (rest + piece).split(b"\n") if piece else (rest,)
        if len(rest) > MAX_LINE or any(len(line) > MAX_LINE for line in whole):
            raise FormatError(f"A line is longer than {MAX_LINE:,} bytes.", where=name)
        yield from (line + b"\n" for line in whole)
        if not piece:
            break
    if rest:
        yield rest


def json_rows(found: Iterable[bytes], name: str) -> Iterator[Row]:
    """Lines that are not blank as JSON objects, each with its place."""
    for number, line in enumerate(found, 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield LineProblem(where, "line", f"This is not JSON ({error}).")
            continue
        yield (where, data) if isinstance(data, dict) else LineProblem(where, "line", "This is not an object.")


def write_labels(labels: Iterable[Label], path: str | os.PathLike[str]) -> Path:
    """Write labels to a ``.csv`` or ``.jsonl`` file, whole or not at all; one that is there is replaced.

    Raises:
        ConfigError: the name ends in neither.
        StorageError: it cannot be written.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in (".csv", ".jsonl"):
        raise ConfigError(f"{target.name!r} is neither .csv nor .jsonl.", where="path", hint="Choose one of the two.")
    with whole_file(target) as file:
        if kind == ".jsonl":
            file.writelines(json.dumps(label.to_data(), ensure_ascii=False) + "\n" for label in labels)
            return target
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for label in labels:
            data = label.to_data()
            data["scores"] = json.dumps(data["scores"], ensure_ascii=False) if data["scores"] else ""
            writer.writerow([guarded(v) if isinstance(v, str) else repr(v) for v in map(data.get, COLUMNS)])
    return target


def guarded(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula; `unguarded` undoes it."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """The text of a cell."""
    return cell[1:] if _GUARDED.match(cell) else cell


def read_table(
    path: str | os.PathLike[str], d_sae: int | None = None, *, on_error: OnError = "raise"
) -> Imported:
    """Labels from a ``.csv`` or ``.jsonl`` (also gzipped) file.

    The columns ``index`` and ``text`` are enough. Where a file does not say whose labels they are, they count as
    imported.

    Args:
        path: the file.
        d_sae: latents of the SAE that they are for; None: not checked.
        on_error: ``raise``: nothing is taken if a line is wrong; ``skip``: such lines are left out and listed.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is no such table, or a line is wrong; lines and fields are named.
    """
    place = Path(path)
    with opened(place) as file:
        name, size = place.name, os.fstat(file.fileno()).st_size
        if size > MAX_FILE:
            raise FormatError(f"The file has {size:,} bytes; at most {MAX_FILE:,} are read.", where=name)
        is_csv = place.suffix.lower() == ".csv"
        rows = _csv_rows(file.read(), name) if is_csv else json_rows(lines(file, name), name)
        found = (
            row if isinstance(row, LineProblem) else label_of({"source": "imported", **row[1]}, d_sae, row[0])
            for row in rows
        )
        return collect(found, on_error, name)


def opened(path: Path) -> BinaryIO:
    """The file, to be read. Raises `NotFoundError` or `StorageError`."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFoundError("There is no such file.", where=str(path)) from None
    except OSError as error:
        raise StorageError(f"The file cannot be read ({error.strerror}).", where=str(path)) from error


def _csv_rows(raw: bytes, name: str) -> Iterator[Row]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FormatError(f"Line {line} is not UTF-8.", where=name, hint="Save the table as CSV UTF-8.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        where = f"{name}, line {reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield LineProblem(where, "line", f"This is not CSV ({error}).")
            return  # where the next line begins is not known
        if row is None:
            break
        if header is None:
            header = _header(row, name)
        elif any(row):
            yield _csv_row(header, row, where)
    if header is None:
        raise FormatError("The file is empty.", where=name)


def _header(row: list[str], name: str) -> list[str]:
    header = [cell.strip().lower() for cell in row]
    for wanted in ("index", "text"):
        if wanted not in header:
            raise FormatError(
                f"The table has no column {wanted!r}.", where=f"{name}, line 1",
                hint=f"Call it {wanted!r}; the first line has the names of the columns, separated by commas.",
            )
    if len(set(header)) < len(header):
        raise FormatError("Two columns have the same name.", where=f"{name}, line 1")
    return header


def _csv_row(header: list[str], row: list[str], where: str) -> Row:
    if len(row) > len(header):
        return LineProblem(where, "line", f"It has {len(row)} cells; the first line has {len(header)}.")
    data: dict[str, Any] = {}
    for column, cell in zip(header, row, strict=False):
        if column == "index" and not re.fullmatch(r"\s*[0-9]{1,12}\s*", cell):
            return LineProblem(where, column, f"This is not the number of a latent (found {cell[:40]!r}).")
        if cell == "" and column != "text":
            continue  # as if it were not there
        read, kind = _CELLS.get(column, (unguarded, ""))
        try:
            data[column] = read(cell)
        except (ValueError, RecursionError):
            return LineProblem(where, column, f"This is not {kind} (found {cell[:40]!r}).")
    return where, data


_CELLS: dict[str, tuple[Any, str]] = {
    "index": (int, "a number"), "created_at": (float, "a time in seconds"),
    "scores": (lambda cell: json.loads(unguarded(cell)), "JSON"),
}  # fmt: skip
