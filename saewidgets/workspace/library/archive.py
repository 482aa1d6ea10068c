"""A zip archive from a stranger, unpacked into an empty folder: nothing lands outside it or grows without limit."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from saewidgets.errors import FormatError, StorageError
from saewidgets.formats.zips import ZipSource
from saewidgets.workspace.folders import plain_name
from saewidgets.workspace.library.sae_files import no_room

MAX_FILES = 1_000
MAX_BYTES = 64 * 1024**3  # unpacked; the largest published SAEs have 20 GB
_BLOCK = 1 << 20
_LEFT_OUT = ("__MACOSX/", ".DS_Store")


def unpack(archive: Path, target: Path) -> None:
    """Write the files of `archive` into the empty folder `target`.

    Names, number, sizes and ratios are checked before anything is written, and every file against its size while it is
    written.
    """
    checked = ZipSource(_OneFile(archive), archive.name)  # also against overlapping members and bombs
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if not _is_left_out(info)]
            _check(archive, members)
            _check_room(archive, target, sum(member.file_size for member in checked.members.values()))
            for info in members:
                _write(opened, info, target / plain_name(info.filename, f"{archive}"))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FormatError(
            f"The archive is damaged ({error}).", where=str(archive), hint="Download or pack it again."
        ) from error
    except OSError as error:
        if isinstance(error, StorageError | FormatError):
            raise
        size = sum(member.file_size for member in checked.members.values())
        raise no_room(error, target.parent, str(archive), size) from error


def _is_left_out(info: zipfile.ZipInfo) -> bool:
    return info.is_dir() or info.filename.startswith(_LEFT_OUT) or info.filename.rpartition("/")[2] in _LEFT_OUT


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_FILES:
        raise FormatError(
            f"The archive holds {len(members):,} files; an SAE has a few.", where=str(archive),
            hint="Unpack it, and add the folder of one SAE.",
        )
    seen: set[str] = set()
    for info in members:
        name = plain_name(info.filename, str(archive))
        where = f"{archive}: {info.filename[:100]}"
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):  # 0: packed where files have no kinds
            raise FormatError("This is a link or a device, not a file.", where=where, hint="Pack the files themselves.")
        folded = name.casefold()  # the disk may not tell a from A
        if folded in seen:
            raise FormatError("The archive holds this file twice.", where=where, hint="Pack it again.")
        seen.add(folded)


def _check_room(archive: Path, target: Path, size: int) -> None:
    free = shutil.disk_usage(target).free
    if size > min(free, MAX_BYTES):
        raise StorageError(
            f"The archive unpacks to {size / 1e9:,.1f} GB; there is room for {min(free, MAX_BYTES) / 1e9:,.1f} GB.",
            where=str(archive), hint="Free some space, or add the files without an archive.",
        )


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(info) as packed, path.open("xb") as file:
        while block := packed.read(_BLOCK):
            written += len(block)
            if written > info.file_size:
                raise zipfile.BadZipFile(f"{info.filename[:100]} is longer than it says")
            file.write(block)
    if written != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename[:100]} is shorter than it says")


class _OneFile:
    """One file as a `Source`: what lies beside it does not matter."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.label = str(path.parent)

    def files(self) -> Mapping[str, int]:
        return {self._path.name: self._path.stat().st_size}

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)
