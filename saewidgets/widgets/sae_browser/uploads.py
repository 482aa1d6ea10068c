"""Defines `Uploads`: files that the page sends in pieces, written to a temporary folder of the workspace.

Nothing the page says is trusted: names are checked and never used as paths here (the files are called 0, 1, 2, …),
sizes are declared first and kept to, pieces come in order.
"""

import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saewidgets.config.base import require
from saewidgets.durable import require_space, storage_errors
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.widgets.messages.saes import UploadFile
from saewidgets.workspace.folders import plain_name

FOLDER = "uploads"
MAX_FILES = 200
MAX_BYTES = 64_000_000_000
STALE_AFTER = 24 * 3600.0  # seconds without a piece: left by a kernel that died
RESERVE = 200_000_000  # bytes of disk that stay free
_HINT = "Free some space, or check that the workspace can be written."


@dataclass
class Upload:
    """What arrived so far."""

    folder: Path
    files: tuple[UploadFile, ...]
    received: list[int]
    complete: bool = False


class Uploads:
    """The uploads of one widget, in ``uploads/`` of the workspace's folder."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / FOLDER
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.RLock()  # a piece is at most 1 MB: one lock for all is enough

    def begin(self, files: Sequence[UploadFile]) -> str:
        """Make room for these files; the id of the upload."""
        _check(files)
        upload_id = uuid.uuid4().hex
        folder = self._root / upload_id
        with self._lock, storage_errors("The upload cannot be written", self._root, _HINT):
            self._sweep()
            self._root.mkdir(parents=True, exist_ok=True)
            # What arrives is copied into the library before it is removed here.
            twice = 2 * sum(file.size for file in files)
            require_space(self._root, twice + RESERVE, "the upload", "It takes its size twice for a moment. Free some.")
            upload = Upload(folder, tuple(files), [0] * len(files))
            folder.mkdir()
            for path in _paths(upload).values():
                path.touch()
            self._uploads[upload_id] = upload
        return upload_id

    def write(self, upload_id: str, file: int, offset: int, data: memoryview) -> int:
        """Append the next piece of a file; how many bytes of all files have arrived."""
        with self._lock:
            upload = self._get(upload_id)
            if not 0 <= file < len(upload.files):
                raise ConfigError(f"The upload has no file {file}.", where="file")
            name, size, received = upload.files[file].name, upload.files[file].size, upload.received[file]
            if offset != received:
                raise ConfigError(
                    f"A piece of {name} starts at {offset:,}; {received:,} bytes have arrived.", where=name,
                    hint="Start the upload again.",
                )  # fmt: skip
            if offset + data.nbytes > size:
                raise ConfigError(
                    f"{name} is longer than the {size:,} bytes that were announced.", where=name,
                    hint="It may have changed meanwhile. Start the upload again.",
                )  # fmt: skip
            path = upload.folder / str(file)
            with storage_errors("The upload cannot be written", self._root, _HINT), path.open("r+b") as stream:
                stream.seek(offset)  # not at its end: a full disk may have cut a piece short, which comes again
                stream.write(data)
            upload.received[file] += data.nbytes
            return sum(upload.received)

    def finish(self, upload_id: str) -> dict[str, Path]:
        """All has arrived: announced name → the file that holds it. The caller discards the upload afterwards."""
        with self._lock:
            upload = self._get(upload_id)
            for announced, received in zip(upload.files, upload.received, strict=True):
                if received != announced.size:
                    raise StateError(
                        f"{announced.name} is not complete: {received:,} of {announced.size:,} bytes arrived.",
                        where=announced.name, hint="Start the upload again.",
                    )  # fmt: skip
            upload.complete = True
            return _paths(upload)

    def discard(self, upload_id: str) -> None:
        with self._lock:
            if (upload := self._uploads.pop(upload_id, None)) is not None:
                shutil.rmtree(upload.folder, ignore_errors=True)

    def close(self) -> None:
        for upload_id in list(self._uploads):
            self.discard(upload_id)

    def _get(self, upload_id: str) -> Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.complete:
            raise NotFoundError("This upload is over.", where=upload_id[:64], hint="Start it again.")
        return upload

    def _sweep(self) -> None:
        """Remove what kernels that died left long ago."""
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            newest = max((path.stat().st_mtime for path in [folder, *folder.glob("*")]), default=0.0)
            if folder.name not in self._uploads and time.time() - newest > STALE_AFTER:
                shutil.rmtree(folder, ignore_errors=True)  # another kernel may sweep at the same time


def _check(files: Sequence[UploadFile]) -> None:
    count, total = len(files), sum(file.size for file in files)
    require(
        (files, "files", "No file was chosen.", "Choose the files of an SAE, or a zip of them."),
        (count <= MAX_FILES, "files", f"{count:,} files are too many for one SAE; the most are {MAX_FILES}.",
         "Choose the folder of one SAE, or put it into a zip."),
        (len({file.name.casefold() for file in files}) == count, "files", "Two of the files have the same name.",
         "Rename one of them."),
        (total <= MAX_BYTES, "files",
         f"The files have {total / 1e9:,.1f} GB; an upload takes at most {MAX_BYTES / 1e9:,.0f} GB.",
         "Copy them to the kernel's machine another way, and add their folder by its path."),
    )  # fmt: skip
    for file in files:
        plain_name(file.name, "files")


def _paths(upload: Upload) -> dict[str, Path]:
    return {file.name: upload.folder / str(at) for at, file in enumerate(upload.files)}
