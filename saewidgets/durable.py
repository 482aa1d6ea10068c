"""Atomic file writes (temporary file, fsync, rename), checksums that show a file is whole, and errors of storage."""

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from safetensors import SafetensorError

from saewidgets.errors import StorageError


def sync(path: Path) -> None:
    """Flush a file or folder to the disk; file systems that cannot sync a folder say so and are left alone."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def sealed(state: Mapping[str, Any]) -> dict[str, Any]:
    """`state` as it will be read back from JSON, with its digest as ``sha256``."""
    plain: dict[str, Any] = json.loads(json.dumps(state, allow_nan=False))
    return {**plain, "sha256": seal_of(plain)}


def seal_of(state: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a sealed state but the digest itself."""
    rest = {key: value for key, value in state.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


_SEALED_BYTES = 64 * 2**20  # of a file with a sealed state: larger ones are not ours


def read_sealed(path: Path) -> dict[str, Any] | None:
    """The sealed state in a JSON file; None if it is not there, not whole, or was changed."""
    try:
        if path.stat().st_size > _SEALED_BYTES:
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and data.get("sha256") == seal_of(data) else None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises `OSError` if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def crc32_of(path: Path) -> str:
    """CRC-32 of a file's bytes, in hexadecimal: it shows flipped bits for a fraction of what SHA-256 costs. Raises
    `OSError` if the file cannot be read."""
    value, block = 0, memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(block):
            value = zlib.crc32(block[:n], value)
    return f"{value:08x}"


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    with suppress(OSError):
        return path.stat().st_size
    return 0


def reason(error: OSError) -> str:
    """Why the system refused something, in its own words. Of shutil's lists of files, one reason each, the first."""
    found = error.args[0] if isinstance(error, shutil.Error) and error.args else None
    if isinstance(found, list) and found:
        text = str(found[0][-1])  # "[Errno 28] No space left on device: '…'"
        return re.sub(r"^\[Errno \d+\] ([^:]+).*", r"\1", text, flags=re.DOTALL)
    return error.strerror or str(error)


def disk_full(error: Exception) -> bool:
    """Whether the disk, or what of it one may use, is full. Libraries give that as text of an error of their own."""
    known = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return known or any(words in str(error).lower() for words in ("no space left", "disk quota"))


@contextmanager
def storage_errors(what: str, where: Path, hint: str) -> Iterator[None]:
    """Within, what the system refuses is a `StorageError`: `what` was not done, and why."""
    try:
        yield
    except StorageError:  # which is an OSError, too
        raise
    except OSError as error:
        raise StorageError(f"{what}: {reason(error)}.", where=str(where), hint=hint) from error


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the disk of a folder.

    Raises:
        StorageError: it cannot be read.
    """
    with storage_errors("The folder cannot be read", folder, "Was it moved or deleted? Open it where it is now."):
        return shutil.disk_usage(folder).free


def require_space(folder: Path, need: int, what: str, hint: str) -> None:
    """Raise `StorageError` (with `hint`) unless `need` bytes for `what` and a tenth more are free where `folder` is."""
    free = free_bytes(folder)
    if free < need * 1.1:
        raise StorageError(
            f"Not enough disk space for {what}: {need:,} bytes are needed, {free:,} are free.",
            where=str(folder), hint=hint,
        )


@contextmanager
def whole_file(target: Path, hint: str = "Choose another place.") -> Iterator[TextIO]:
    """A UTF-8 file that takes the place of `target` when the block ends well, and is gone when it does not.

    Raises:
        StorageError: the disk is full, or the place is not writable.
    """
    draft = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}")
    try:
        with storage_errors("The file cannot be written", target, hint):
            target.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("x", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
    finally:
        with suppress(OSError):  # it was renamed, or there is no such folder
            draft.unlink()


def write_json(target: Path, data: Mapping[str, Any]) -> None:
    """Let these JSON data take the place of `target`, whole or not at all. Raises `StorageError`."""
    hint = "Free some space, or check that the folder is writable."
    with storage_errors("The file cannot be written", target, hint):
        with whole_file(target, hint) as file:
            file.write(json.dumps(data, indent=1, allow_nan=False))
        sync(target.parent)


class OccupiedError(StorageError):
    """The place of a folder is taken by something that is not replaced."""


@contextmanager
def whole_folder(path: Path, replaceable: Collection[str], needed: int | None = None) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well, and vanishes when it does not.

    An existing `path` is replaced only if everything in it is named in `replaceable`. `needed`: about how many bytes
    are written, for the message when the disk is full.

    Raises:
        OccupiedError: `path` holds something else.
        StorageError: the disk refuses; nothing half-written stays behind.
    """
    path = path.absolute()
    if path.is_symlink() or path.exists():
        folder = path.is_dir() and not path.is_symlink()
        foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in replaceable) if folder else []
        if foreign or not folder:
            what = f"it holds {', '.join(foreign[:5])}" if folder else "it is not a folder"
            hint = "Choose a new or empty folder."
            raise OccupiedError(f"This cannot be replaced: {what}.", where=str(path), hint=hint)
    draft = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        draft.mkdir(parents=True)
        yield draft
        for file in draft.iterdir():
            sync(file)
        sync(draft)
        old = draft.with_suffix(".old")
        if path.exists():
            path.rename(old)
        try:
            draft.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)  # the new one is in place; a leftover is only space
        sync(path.parent)
    except StorageError:
        raise
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own error
        said, room = reason(error) if isinstance(error, OSError) else str(error), ""
        if needed is not None and disk_full(error):
            with suppress(OSError):
                free = shutil.disk_usage(path.parent).free
                room = f" It needs {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB is free."
        raise StorageError(
            f"Writing failed: {said.rstrip('.')}.{room}", where=str(path),
            hint="Free space or choose another folder.",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
