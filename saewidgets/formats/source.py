"""Defines `Source`, where the files of an SAE are: a folder on this machine, or one on the hub of which only ranges are
read, so that a preview of a repository and a look at a download are one piece of code. And what reads configurations
from one: `read_json` and `read_yaml`, of bounded size and depth, and `checked`, which makes a pydantic model of them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from saewidgets.config import strict
from saewidgets.config.base import Config
from saewidgets.config.strict import MAX_DEPTH
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError

MAX_FILES = 20_000
MAX_BYTES = 1 << 20  # of a configuration
MAX_YAML = 1 << 15
AGAIN = "Export or download the SAE again."
_LONGEST = 80  # characters of a wrong value that are repeated
_BRANCHES = frozenset({"int", "str"})  # what pydantic adds to the key of a value that may be either

Model = TypeVar("Model", bound=BaseModel)


class Source(Protocol):
    """A folder of files, read in pieces. `label` is what errors call it: a path, or ``owner/name@revision/folder``."""

    label: str

    def files(self) -> Mapping[str, int]:
        """Names below the folder, with ``/`` between parts → size in bytes."""
        ...

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes from `start`; None reads to the end. Raises `FormatError` if it cannot be read."""
        ...

    def around(self) -> Source | None:
        """The folder of the one file that it is; None where it is a folder itself."""
        ...


class FolderSource:
    """A folder on this machine, or one file of it. What leads out of it is not listed and not read.

    The snapshots of the Hugging Face cache are links into the `blobs` folder beside them; those are followed.

    Args:
        path: a folder; or a file, for formats of which one file is an SAE: nothing else in its folder is seen then.
        depth: how many folders below it are looked into.

    Raises:
        NotFoundError: there is no such folder or file.
    """

    def __init__(self, path: Path, depth: int = 12) -> None:
        self.only = path.name if path.is_file() else None
        self.folder = path.parent if self.only else path
        if not self.folder.is_dir():
            raise NotFoundError("There is no such folder.", where=str(path), hint="Check the path of the SAE.")
        self.label = str(self.folder)
        home = self.folder.resolve()  # into which, or the cache's blobs, a link may lead
        cached = (each.parent / "blobs" for each in home.parents
                  if each.name == "snapshots" and each.parent.name.startswith("models--"))  # fmt: skip
        self._homes = [home, *(blobs for blobs in cached if blobs.is_dir() and not blobs.is_symlink())]
        self._depth = depth
        self._files: dict[str, int] | None = None

    def files(self) -> Mapping[str, int]:
        if self._files is None:
            found = {self.only: None} if self.only else dict(_entries(self.folder, self._depth))
            sizes = {name: self._size(name) if size is None else size for name, size in found.items()}
            self._files = {name: size for name, size in sorted(sizes.items()) if size is not None}
        return self._files

    def around(self) -> FolderSource | None:
        return FolderSource(self.folder, 0) if self.only else None

    def path(self, name: str) -> Path:
        """Where `name` is, for libraries that open files themselves. Raises `StorageError` if it leads out of the
        folder, and `FormatError` if it is not a file."""
        path = self.folder / name
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a link to itself, a zero byte in the name
            raise FormatError("This path cannot be followed.", where=str(path)) from error
        if not any(resolved.is_relative_to(home) for home in self._homes):
            raise StorageError(
                "This path leads out of its folder.", where=str(path), hint="Copy the file itself into the folder."
            )
        if not resolved.is_file():
            raise FormatError("This is not a file.", where=str(path), hint=AGAIN)
        return path

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        path = self.path(name)
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)
        except OSError as error:
            raise FormatError(f"The file cannot be read ({error.strerror}).", where=str(path)) from error

    def _size(self, name: str) -> int | None:
        try:
            return self.path(name).stat().st_size
        except (OSError, FormatError):  # leads out, is broken or vanished: not part of the SAE
            return None


class ListedSource:
    """Some files of another source under names of their own: a folder of a repository, or one file of it."""

    def __init__(self, label: str, files: Mapping[str, int], read: Callable[[str, int, int | None], bytes]) -> None:
        self.label = label
        self._files = files
        self._read = read

    def files(self) -> Mapping[str, int]:
        return self._files

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        return self._read(name, start, length)

    def around(self) -> None:
        return None


def _entries(folder: Path, max_depth: int) -> Iterator[tuple[str, int | None]]:
    """Files below `folder` with their sizes, links with None. Folders that are links are not entered."""
    count = 0
    open_folders = [(str(folder), "", 0)]
    while open_folders:
        path, prefix, depth = open_folders.pop()
        try:
            entries = list(os.scandir(path))
        except OSError:  # a folder nobody may look into holds nothing for us
            continue
        for entry in entries:
            count += 1
            if count > MAX_FILES:
                what = f"This folder holds more than {MAX_FILES:,} files."
                raise FormatError(what, where=str(folder), hint="Give the folder of one SAE.")
            if entry.is_symlink():
                yield prefix + entry.name, None
            elif entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # it is gone by now
                    yield prefix + entry.name, entry.stat(follow_symlinks=False).st_size
            elif entry.is_dir(follow_symlinks=False) and depth < max_depth:
                open_folders.append((entry.path, f"{prefix}{entry.name}/", depth + 1))


def listed(names: Sequence[str], most: int) -> str:
    """The first `most` names for a message, and how many there are besides."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def size_of(source: Source, name: str) -> int:
    """Bytes of the file `name`. Raises `FormatError` if it is missing."""
    if (size := source.files().get(name)) is None:
        raise FormatError("The file is missing.", where=f"{source.label}/{name}", hint=AGAIN)
    return size


# --- Configurations --------------------------------------------------------------------------------------------------


def _small(source: Source, name: str, most: int) -> bytes:
    if (size := size_of(source, name)) > most:
        raise FormatError(f"The file has {size:,} bytes; at most {most:,} are read.", where=f"{source.label}/{name}")
    return source.read(name, 0, most + 1)


def read_json(source: Source, name: str) -> dict[str, Any]:
    """The JSON object in the file `name`, at most 1 MiB. Raises `FormatError` if the file is missing, too large, not a
    JSON object, nested too deeply, or names a key twice (two readers could take different ones)."""
    return parse_json(_small(source, name, MAX_BYTES), f"{source.label}/{name}")


def parse_json(raw: bytes, where: str) -> dict[str, Any]:
    """`raw` as a JSON object; `where` is what errors call it."""
    try:
        data = strict.loads(raw)
    except ValueError as error:
        raise FormatError(f"This is not JSON ({error}).", where=where, hint=AGAIN) from error
    if not isinstance(data, dict):
        raise FormatError("This is not a JSON object.", where=where, hint=AGAIN)
    if strict.is_deep(data):
        raise FormatError(f"The JSON is nested deeper than {MAX_DEPTH} levels.", where=where, hint=AGAIN)
    return data


def read_yaml(source: Source, name: str) -> dict[str, Any]:
    """The table in the YAML file `name`, at most 32 KiB, as `read_json`; nor may it use references (`&`, `*`) or tags
    (`!`)."""
    where, raw = f"{source.label}/{name}", _small(source, name, MAX_YAML)
    try:
        data = strict.loads_yaml(raw.decode(), plain=True)
    except ValueError as error:
        raise FormatError(f"This is not plain YAML ({str(error)[:100]}).", where=where, hint=AGAIN) from error
    if not isinstance(data, dict):
        raise FormatError("This is not a table.", where=where, hint=AGAIN)
    return data


def encoded(data: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """A configuration as strict JSON that `read_json` takes. Raises `FormatError` where it would not."""
    raw = json.dumps(data, indent=indent, allow_nan=False).encode()
    if len(raw) > MAX_BYTES:
        raise FormatError(
            f"The configuration with its metadata has {len(raw):,} bytes; at most {MAX_BYTES:,} can be read back.",
            where="metadata", hint="Shorten sae.metadata.",
        )
    parse_json(raw, "metadata")
    return raw


def plain(value: Any) -> Any:
    """`value` as strict JSON: tuples become lists, numbers that JSON lacks become null, other objects their text."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Config):
        return plain(value.to_data())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple | set | frozenset) else str(value)


def checked(model: type[Model], data: Any, where: str) -> Model:
    """`data` as `model`: all values of configurations are read here.

    Strictly: ``true`` and ``"4"`` are not numbers. Raises `FormatError` naming the first key that is
    wrong, what was found and what was expected.
    """
    try:
        return model.model_validate(data, strict=True)
    except ValidationError as error:
        items = error.errors(include_url=False)
        first, key = items[0], _key(items[0])
        cause = first.get("ctx", {}).get("error")
        hint: str | None = "This setting is not supported or was altered."
        if isinstance(cause, ConfigError):  # values that do not fit together
            key = ".".join(filter(None, [key, cause.where]))
            what, hint = cause.what, cause.hint
        elif first["type"] == "missing":
            what = "The value is missing."
        else:
            expected = [item["msg"].removeprefix("Input should be ") for item in items if _key(item) == key]
            found = json.dumps(first["input"], ensure_ascii=False, default=str, skipkeys=True)
            found = found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"
            what = f"The value is {found}, expected {' or '.join(expected)}."
        raise FormatError(what, where=f"{where}: {key}" if key else where, hint=hint) from error


def _key(item: Any) -> str:
    return ".".join(str(part) for part in item["loc"] if part not in _BRANCHES)
