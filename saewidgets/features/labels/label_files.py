"""Reads and writes labels as CSV, JSONL and Neuronpedia's export files: `read_labels`, `write_labels`,
`fetch_neuronpedia`.

A table holds every field and comes back exactly. In CSV a text that a spreadsheet would take for a formula (it begins
with ``=``, ``+``, ``-``, ``@``, a tab or a line end) gets an apostrophe in front, which reading takes off again.

An export is a folder ``v1/{model}/{source}/explanations/`` (and ``explanations-…/`` where other models explained, too)
of ``batch-{n}.jsonl`` files, usually gzipped, with one explanation a line: ``modelId``, ``layer`` (the source's id),
``index`` (a string), ``description``, ``typeName``, ``explanationModelName``, ``createdAt``, sometimes ``scores``.
"""

import csv
import gzip
import html
import io
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args
from urllib.parse import quote, urlencode

from saewidgets.config.arguments import shown
from saewidgets.durable import whole_file
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.features.labels.http import RequestError, Server
from saewidgets.features.labels.label import MAX_DESCRIPTION, MAX_TEXT, Label

OnError = Literal["raise", "skip"]

DATASETS = "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com"
COLUMNS = tuple(field.name for field in fields(Label))
MAX_FILE = 1 << 30  # bytes of a table
MAX_LINE = 4_000_000  # bytes
MAX_UNPACKED = 1 << 32  # bytes
MAX_RATIO = 200  # of what is packed; text packs about tenfold
MAX_DOWNLOAD = 1 << 29  # bytes of one file, as it is sent
_SHOWN = 5  # problems that an error lists
_FORMULA, _GUARDED = re.compile(r"'*[=+\-@\t\r\n]"), re.compile(r"'+[=+\-@\t\r\n]")
_BATCH = re.compile(r"batch-(\d{1,9})\.jsonl(\.gz)?")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong with one line, `where` being the file and the line's number; `wide`: it is of another SAE."""

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


Row = tuple[str, dict[str, Any]] | LineProblem
"""The place of a line and its data, or what is wrong with it."""


def read_labels(
    path: str | os.PathLike[str], d_sae: int | None = None, *, on_error: OnError | None = None
) -> Imported:
    """Labels from a ``.csv`` or ``.jsonl`` table, or from Neuronpedia's export: its folder, or a file of it.

    In a table the columns ``index`` and ``text`` are enough; where it does not say whose labels they are, they count as
    imported. Labels of an export have to be of one source. Arguments and errors: as of `ws.features.import_labels`;
    without `d_sae` the width of the SAE is not checked.
    """
    place = Path(path)
    files = _batches(place) if place.is_dir() else [place]

    def rows() -> Iterator[Row]:
        for each in files:
            with opened(each) as file:
                is_csv = each.suffix.lower() == ".csv"
                yield from _csv_rows(file, each.name) if is_csv else _json_rows(lines(file, each.name), each.name)

    return _collected(rows(), d_sae, on_error, place.name, is_export=place.is_dir())


def _collected(
    rows: Iterable[Row], d_sae: int | None, on_error: OnError | None, what: str, names: tuple[str, ...] = ("", ""),
    is_export: bool = False,
) -> Imported:
    """The labels of all rows; `names` are the model's and the source's own id ("": the first row's).

    Nothing is returned if there are problems that are not to be skipped. Labels of latents that the SAE does not have
    are never skipped: they are of another SAE.
    """
    if on_error not in (None, *get_args(OnError)):
        raise ConfigError(
            f"{shown(on_error)} is not a way to handle errors.", where="on_error", hint='Use "raise" or "skip".'
        )
    imported = Imported()
    for row in rows:
        found: Label | LineProblem
        if isinstance(row, LineProblem):
            found = row
        elif {"description", "index", "modelId"} <= row[1].keys():
            names, is_export = _same_source(*row, names), True
            found = _explanation(*row, d_sae)
        else:
            found = _label({"source": "imported", **row[1]}, d_sae, row[0])
        if isinstance(found, Label):
            imported.labels.append(found)
        else:
            imported.problems.append(found)
    wide = any(problem.wide for problem in imported.problems)
    if imported.problems and (wide or (on_error or ("skip" if is_export else "raise")) == "raise"):
        listed = "; ".join(map(str, [p for p in imported.problems if p.wide or not wide][:_SHOWN]))
        more = len(imported.problems) - _SHOWN
        raise FormatError(
            f"{len(imported.problems):,} of the lines cannot be imported. {listed.rstrip('.')}"
            + (f"; and {more:,} more." if more > 0 else "."),
            where=what,
            hint="These labels belong to another SAE: check its width." if wide
            else 'Correct or remove the lines; an import skips them with on_error="skip" (--skip-errors).',
        )
    return imported


def _label(data: Mapping[str, Any], d_sae: int | None, where: str) -> Label | LineProblem:
    try:
        label = Label.from_data(data)
    except ConfigError as error:
        return LineProblem(where, error.where or "line", error.what)
    if d_sae is not None and label.index >= d_sae:
        return LineProblem(where, "index", f"{label.index:,} is outside the SAE's {d_sae:,} latents.", wide=True)
    return label


# --- tables ---------------------------------------------------------------------------------------------


def opened(path: Path) -> BinaryIO:
    """The file, to be read. Raises `NotFoundError` or `StorageError`."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFoundError("There is no such file.", where=str(path)) from None
    except OSError as error:
        raise StorageError(f"The file cannot be read ({error.strerror}).", where=str(path)) from error


def lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of a file that may be gzipped, bounded while they are unpacked: a small file cannot fill the memory.

    Raises:
        FormatError: it is damaged or cut off, a line is too long, or it unpacks to more than is plausible.
    """
    is_packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    source, total = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_packed else file, 0
    while True:
        try:
            line = source.readline(MAX_LINE + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FormatError(f"The file is damaged or cut off ({error}).", where=name, hint="Get it again.") from error
        if not line:
            return
        total += len(line)
        if total > MAX_UNPACKED:
            raise FormatError(f"The file holds more than {MAX_UNPACKED:,} bytes.", where=name)
        if len(line) > MAX_LINE:
            raise FormatError(f"A line is longer than {MAX_LINE:,} bytes.", where=name)
        if is_packed and total > max(1 << 20, MAX_RATIO * file.tell()):
            raise FormatError(
                f"The file unpacks to more than {MAX_RATIO} times its size, which text does not.", where=name,
                hint="It may be made to fill the memory; get it from its source again.",
            )
        yield line


def _json_rows(found: Iterable[bytes], name: str) -> Iterator[Row]:
    kinds = "" if ".json" in name else "; labels are read from .csv and .jsonl files"
    for number, line in enumerate(found, 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield LineProblem(where, "line", f"This is not JSON ({error}){kinds}.")
            continue
        yield (where, data) if isinstance(data, dict) else LineProblem(where, "line", "This is not a JSON object.")


def _csv_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    if (size := os.fstat(file.fileno()).st_size) > MAX_FILE:
        raise FormatError(f"The file has {size:,} bytes; at most {MAX_FILE:,} are read.", where=name)
    raw = file.read()
    try:
        reader = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FormatError(f"Line {line} is not UTF-8.", where=name, hint="Save the table as CSV UTF-8.") from error
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
        if header is not None:
            yield from [_csv_row(header, row, where)] if any(row) else []
            continue
        header = [cell.strip().lower() for cell in row]
        missing = next((wanted for wanted in ("index", "text") if wanted not in header), None)
        if missing or len(set(header)) < len(header):
            what = f"The table has no column {missing!r}." if missing else "Two columns have the same name."
            hint = "The first line has the names of the columns, separated by commas."
            raise FormatError(what, where=where, hint=hint)
    if header is None:
        raise FormatError("The file is empty.", where=name)


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


def guarded(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula; `unguarded` undoes it."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """What `guarded` was given."""
    return cell[1:] if _GUARDED.match(cell) else cell


_CELLS: dict[str, tuple[Any, str]] = {
    "index": (int, "a number"), "created_at": (float, "a time in seconds"),
    "scores": (lambda cell: json.loads(unguarded(cell)), "JSON"),
}  # fmt: skip


def write_labels(labels: Iterable[Label], path: str | os.PathLike[str]) -> Path:
    """Write labels to a ``.csv`` or ``.jsonl`` file, whole or not at all; one that is there is replaced."""
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in (".csv", ".jsonl"):
        raise ConfigError(f"{target.name!r} is neither .csv nor .jsonl.", where="path", hint="Choose one of the two.")
    with whole_file(target) as file:
        if kind == ".jsonl":
            file.writelines(json.dumps(asdict(label), ensure_ascii=False) + "\n" for label in labels)
            return target
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for label in labels:
            data = asdict(label)
            data["scores"] = json.dumps(data["scores"], ensure_ascii=False) if data["scores"] else ""
            writer.writerow([guarded(v) if isinstance(v, str) else repr(v) for v in map(data.get, COLUMNS)])
    return target


# --- Neuronpedia ----------------------------------------------------------------------------------------


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


def _same_source(where: str, data: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    found = (str(data.get("modelId") or ""), str(data.get("layer") or data.get("sourceId") or ""))
    for key, value, name in zip(("modelId", "layer"), found, names, strict=True):
        if value and name and value != name:
            raise FormatError(
                f"This label is of {value[:80]!r}, not of {name!r}.", where=f"{where}, {key}",
                hint="Import one source at a time, and the one of this SAE.",
            )
    return tuple(name or value for value, name in zip(found, names, strict=True))


def _explanation(where: str, data: Mapping[str, Any], d_sae: int | None) -> Label | LineProblem:
    index, description = data["index"], data["description"]
    scores = [] if data.get("scores") is None else data["scores"]
    if not re.fullmatch(r"[0-9]{1,10}", str(index)):
        return LineProblem(where, "index", f"This is not the number of a latent (found {str(index)[:40]!r}).")
    if not isinstance(description, str) or not description.strip():
        return LineProblem(where, "description", "This is empty.")
    if not isinstance(scores, list) or not all(isinstance(score, Mapping) for score in scores):
        return LineProblem(where, "scores", "This is not a list of scores.")
    description = description.replace("\0", " ").encode("utf-8", "replace").decode()
    text = " ".join(description.split())
    is_long = len(text) > MAX_TEXT
    created = _seconds(data.get("createdAt"))
    return _label(
        {
            "index": int(str(index)), "text": f"{text[: MAX_TEXT - 1]}…" if is_long else text, "source": "imported",
            "description": description[:MAX_DESCRIPTION] if is_long else "", "method": str(data.get("typeName") or ""),
            "model": str(data.get("explanationModelName") or ""), "created_at": created,
            "scores": [
                {
                    "scorer": str(score.get("explanationScoreTypeName") or "score"), "value": score.get("value"),
                    "model": str(score.get("explanationScoreModelName") or ""),
                    "created_at": _seconds(score.get("createdAt"), created),
                }
                for score in scores[:20]
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
    model_id: str, source_id: str, d_sae: int | None = None, *, url: str = DATASETS, on_error: OnError | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Imported:
    """All labels of a source from its published export files, those of several explaining models if there are any.

    The names are Neuronpedia's, as in the address of a feature; `url` is that of the bucket with the files. Raises as
    `read_labels`, and `RequestError`: the bucket does not answer, or not as expected.
    """
    for name, where in ((model_id, "model_id"), (source_id, "source_id")):
        if not _ID.fullmatch(name) or ".." in name:
            raise ConfigError(
                f"{name[:80]!r} is not a name on Neuronpedia.", where=where,
                hint="It is a part of a feature's address: gemma-2-2b/20-gemmascope-res-16k/123.",
            )
    server = Server(url, sleep=sleep)
    keys = _listed(server, f"v1/{model_id}/{source_id}/explanations")
    if not keys:
        raise NotFoundError(
            f"There are no export files of {model_id}/{source_id}.", where=server.host,
            hint="Check both names; they are those in the address of a feature.",
        )

    def rows() -> Iterator[Row]:
        for key in keys:
            file = io.BytesIO(server.read(f"/{quote(key)}", limit=MAX_DOWNLOAD, seconds=7200))
            yield from _json_rows(lines(file, key), "/".join(key.split("/")[-2:]))

    return _collected(rows(), d_sae, on_error, server.host, (model_id, source_id), is_export=True)


def _listed(server: Server, prefix: str) -> list[str]:
    """The names of the export files of a source in the bucket, in the order of their batches."""
    wanted = re.compile(rf"{re.escape(prefix)}[\w.-]*/{_BATCH.pattern}")
    found: list[str] = []
    query = {"list-type": "2", "prefix": prefix}
    for _ in range(100):
        listing = server.read(f"/?{urlencode(query)}", limit=16_000_000).decode("utf-8", "replace")
        found += [key for key in map(html.unescape, re.findall(r"<Key>([^<]*)</Key>", listing))
                  if wanted.fullmatch(key) and ".." not in key]
        following = re.search(r"<NextContinuationToken>([^<]+)</NextContinuationToken>", listing)
        if following is None:
            return sorted(found, key=_order)
        query["continuation-token"] = html.unescape(following[1])
    raise RequestError("The source has more files than are read.", where=server.host)
