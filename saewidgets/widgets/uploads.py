"""Files that the page sends piece by piece, written to a temporary folder of the workspace.

Nothing the page says is trusted: names are checked and never used as paths here (the files are called 0, 1, 2, …),
sizes are declared first and kept to, pieces come in order.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from saewidgets.errors import ConfigError, NotFoundError, StateError, StorageError
from saewidgets.widgets.commands import Commands, command
from saewidgets.widgets.messages.saes import UploadFile

logger = logging.getLogger("saewidgets.widgets")

FOLDER = "uploads"
MAX_FILES = 200
MAX_BYTES = 64_000_000_000
MAX_UPLOADS = 4  # at once
STALE_AFTER = 24 * 3600.0  # seconds without a piece: left by a kernel that died
RESERVE = 200_000_000  # bytes of disk that stay free


@dataclass
class Upload:
    """What arrived so far."""

    id: str
    folder: Path
    files: tuple[UploadFile, ...]
    received: list[int]
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: bool = False

    def paths(self) -> dict[str, Path]:
        """Announced name → the file that holds it."""
        return {file.name: self.folder / str(i) for i, file in enumerate(self.files)}


class Uploads:
    """The uploads of one widget.

    Args:
        folder: of the workspace; temporary files go to ``uploads/`` in it.
        max_bytes: of one upload.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._root = folder / FOLDER
        self._max_bytes = max_bytes
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def begin(self, files: Sequence[UploadFile]) -> str:
        """Make room for these files. Returns the id of the upload.

        Raises:
            ConfigError: a name or a size cannot be, or there are too many files.
            StateError: too many uploads are under way.
            StorageError: the disk has not enough room, or cannot be written.
        """
        check_files(files, self._max_bytes)
        upload_id = uuid.uuid4().hex
        folder = self._root / upload_id
        upload = Upload(upload_id, folder, tuple(files), [0] * len(files))
        with self._lock:
            if len(self._uploads) >= MAX_UPLOADS:
                raise StateError(
                    f"{MAX_UPLOADS} uploads are under way.", hint="Wait until one of them ends, or cancel one."
                )
            self._uploads[upload_id] = upload
        try:
            self._sweep()
            folder.mkdir(parents=True)
            self._check_room(sum(file.size for file in files))
            for i in range(len(files)):
                (folder / str(i)).touch()
        except OSError as error:
            self.discard(upload_id)
            if isinstance(error, StorageError):
                raise
            raise _disk_error(error, folder) from error
        return upload_id

    def write(self, upload_id: str, file: int, offset: int, data: memoryview) -> int:
        """Append the next piece of a file. Returns how many bytes of all files have arrived.

        Raises:
            NotFoundError: there is no such upload (it was cancelled, or the kernel is another one).
            ConfigError: the piece does not follow the one before, or the file would become longer than announced.
            StorageError: the disk is full or cannot be written.
        """
        upload = self._get(upload_id)
        with upload.lock:
            if upload.ended:
                raise _unknown(upload_id)
            if not 0 <= file < len(upload.files):
                raise ConfigError(f"The upload has no file {file}.", where="file")
            announced = upload.files[file]
            if offset != upload.received[file]:
                raise ConfigError(
                    f"A piece of {announced.name} starts at {offset:,}; {upload.received[file]:,} bytes have arrived.",
                    where=announced.name, hint="Start the upload again.",
                )  # fmt: skip
            if offset + data.nbytes > announced.size:
                raise ConfigError(
                    f"{announced.name} is longer than the {announced.size:,} bytes that were announced.",
                    where=announced.name, hint="It may have changed meanwhile. Start the upload again.",
                )  # fmt: skip
            try:
                with (upload.folder / str(file)).open("r+b") as stream:
                    stream.seek(offset)  # not at its end: a full disk may have cut a piece short, which comes again
                    stream.write(data)
            except OSError as error:
                raise _disk_error(error, upload.folder) from error
            upload.received[file] += data.nbytes
            return sum(upload.received)

    def finish(self, upload_id: str) -> dict[str, Path]:
        """All has arrived: announced name → the file that holds it. The caller discards the upload afterwards.

        Raises:
            NotFoundError: there is no such upload.
            StateError: something is missing.
        """
        upload = self._get(upload_id)
        with upload.lock:
            if upload.ended:
                raise _unknown(upload_id)
            for announced, received in zip(upload.files, upload.received, strict=True):
                if received != announced.size:
                    raise StateError(
                        f"{announced.name} is not complete: {received:,} of {announced.size:,} bytes arrived.",
                        where=announced.name, hint="Start the upload again.",
                    )  # fmt: skip
            upload.ended = True
            return upload.paths()

    def discard(self, upload_id: str) -> None:
        """Remove what arrived. An upload that is not known is none."""
        with self._lock:
            upload = self._uploads.pop(upload_id, None)
        if upload is None:
            return
        with upload.lock:
            upload.ended = True
            shutil.rmtree(upload.folder, ignore_errors=True)
        if upload.folder.exists():
            logger.warning("The temporary files of an upload could not be removed: %s", upload.folder)

    def close(self) -> None:
        """Discard all."""
        for upload_id in list(self._uploads):
            self.discard(upload_id)

    def _get(self, upload_id: str) -> Upload:
        with self._lock:
            if upload_id not in self._uploads:
                raise _unknown(upload_id)
            return self._uploads[upload_id]

    def _check_room(self, wanted: int) -> None:
        # What arrives is copied into the library before it is removed here.
        free = shutil.disk_usage(self._root).free - RESERVE
        if 2 * wanted > free:
            raise StorageError(
                "Not enough disk space.", where=str(self._root),
                hint=f"The files have {wanted / 1e6:,.0f} MB and are needed twice for a moment; "
                f"{max(0, free) / 1e6:,.0f} MB can be used.",
            )  # fmt: skip

    def _sweep(self) -> None:
        """Remove what kernels that died left long ago."""
        if not self._root.is_dir():
            return
        for folder in self._root.iterdir():
            newest = max((path.stat().st_mtime for path in [folder, *folder.glob("*")]), default=0.0)
            if folder.name not in self._uploads and time.time() - newest > STALE_AFTER:
                shutil.rmtree(folder, ignore_errors=True)  # another kernel may sweep at the same time


class UploadCommands(Commands):
    """The commands by which a page sends files; what becomes of them is the widget's own."""

    uploads: Uploads

    @command
    def begin_upload(self, files: tuple[UploadFile, ...]) -> dict[Literal["upload_id"], str]:
        """Make room for files, which the page then sends in pieces."""
        return {"upload_id": self.uploads.begin(files)}

    @command
    def upload_chunk(
        self, upload_id: str, file: int, offset: int, buffer: memoryview
    ) -> dict[Literal["received"], int]:
        """The next piece of a file; how many bytes of the whole upload have arrived."""
        return {"received": self.uploads.write(upload_id, file, offset, buffer)}

    @command
    def cancel_upload(self, upload_id: str) -> None:
        """Throw away what arrived."""
        self.uploads.discard(upload_id)


def check_files(files: Sequence[UploadFile], max_bytes: int) -> None:
    """Raises `ConfigError` where names or sizes cannot be."""
    if not files:
        raise ConfigError("No file was chosen.", where="files", hint="Choose the files of an SAE, or a zip of them.")
    if len(files) > MAX_FILES:
        raise ConfigError(
            f"{len(files):,} files are too many for one SAE; the most are {MAX_FILES}.", where="files",
            hint="Choose the folder of one SAE, or put it into a zip.",
        )  # fmt: skip
    for file in files:
        check_name(file.name)
        if file.size < 0:
            raise ConfigError(f"{file.name} cannot have {file.size} bytes.", where=file.name)
    if len({file.name.casefold() for file in files}) != len(files):
        raise ConfigError("Two of the files have the same name.", where="files")
    total = sum(file.size for file in files)
    if total > max_bytes:
        raise ConfigError(
            f"The files have {total / 1e9:,.1f} GB; an upload takes at most {max_bytes / 1e9:,.0f} GB.", where="files",
            hint="Copy them to the kernel's machine another way, and add their folder by its path.",
        )  # fmt: skip


def check_name(name: str) -> None:
    """Raises `ConfigError` unless it is a plain relative path."""
    parts = name.split("/")
    bad = not name or len(name) > 500 or "\\" in name or any(ord(c) < 32 or ord(c) == 127 for c in name)
    if bad or name.startswith("/") or any(part in ("", ".", "..") or ":" in part for part in parts):
        raise ConfigError(f"A file cannot be called {name[:100]!r}.", where="files", hint="Rename it.")


def _unknown(upload_id: str) -> NotFoundError:
    return NotFoundError("This upload is over.", where=upload_id[:64], hint="Start it again.")


def _disk_error(error: OSError, folder: Path) -> StorageError:
    return StorageError(
        f"The upload cannot be written: {error.strerror or error}.", where=str(folder),
        hint="Free some space, or check that the workspace can be written.",
    )  # fmt: skip
