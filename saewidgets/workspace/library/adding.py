"""`add_local`, `add_upload`: SAEs from a folder, a file in it, a zip archive, or files that a page has sent."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import arguments
from saewidgets.durable import storage_errors
from saewidgets.errors import ConfigError, FormatError, NotFoundError, SAEWidgetsError, StorageError
from saewidgets.records import SAERecord
from saewidgets.workspace.folders import draft_folder, link, plain_name
from saewidgets.workspace.library.sae_files import FOLDER, FileOrigin, take_in, writing

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

MAX_FILES = 1_000
MAX_BYTES = 64 * 1024**3  # unpacked; the largest published SAEs have 20 GB
# Names that say nothing about an SAE: then its folder's does.
_COMMON = frozenset({
    "ae", "cfg", "checkpoint", "config", "params", "sae", "sae_weights", "sparsity", "model", "weights", "hyperparams",
})  # fmt: skip


def add_local(
    workspace: Workspace, path: Path, *, name: str | None = None, where: str | None = None, **about: Any
) -> SAERecord:
    """See `SAEs.add_local`. `where` is what people read as the place it came from; `about`: fields of `FileOrigin`."""
    path = Path(os.path.abspath(path.expanduser()))
    if not path.exists():
        raise NotFoundError("There is no such file or folder.", where=str(path), hint="Check the path of the SAE.")
    if name is not None:
        called = arguments.name(name, "a name for the SAE")
    elif path.is_dir():
        called = path.name or "sae"
    else:
        called = path.parent.name if path.stem.lower() in _COMMON and path.parent.name else path.stem
    origin = FileOrigin(source="local", where=where or str(path), name=called, **about)
    if path.is_dir() or path.suffix.lower() != ".zip":
        return take_in(workspace, path, origin)
    with draft_folder(workspace.folder / FOLDER) as draft, _in_words_of(draft, str(path), f"{path}: ", "archive"):
        unpack(path, draft)
        return take_in(workspace, draft, origin)


def add_upload(
    workspace: Workspace, files: Mapping[str, bytes | str | Path], *, name: str | None = None, **about: Any
) -> SAERecord:
    """See `SAEs.add_upload`; `about` as in `add_local`."""
    if not isinstance(files, Mapping):
        arguments.refuse(files, "files", "a dictionary of names and contents", 'Write {"cfg.json": b"…"}, for example.')
    for each, content in files.items():
        arguments.text(each, "files", "the name of a file")
        if not isinstance(content, bytes | bytearray | memoryview):
            arguments.path_text(content, "files", "the content of a file as bytes, or a path")
    if not files:
        raise ConfigError("There are no files.", where="files", hint="Choose the files of an SAE, or a zip of them.")
    names = [plain_name(each, "upload") for each in files]
    _check_names(names, "upload")
    with draft_folder(workspace.folder / FOLDER) as draft, _in_words_of(draft, "upload", "", "upload"):
        for each, content in files.items():
            _put(workspace, draft / each, content, each)
        inner = draft / names[0] if len(names) == 1 else draft
        if name is None:  # that of the folder that was chosen, else of the file
            top, stem = names[0].split("/")[0], Path(min(names)).stem
            in_one = "/" in names[0] and all(each.split("/")[0] == top for each in names)
            name = (top if in_one else "upload" if stem.lower() in _COMMON else stem)[:100]
        return add_local(workspace, inner, name=name, where="upload", **about)


def _check_names(names: Collection[str], where: str) -> None:
    if len(names) > MAX_FILES:
        said = f"These are {len(names):,} files; an SAE has a few."
        raise FormatError(said, where=where, hint="Choose the files of one SAE.")
    if len({each.casefold() for each in names}) < len(names):  # the disk may not tell a from A
        raise FormatError("Two of the files have the same name.", where=where, hint="Rename one.")


@contextmanager
def _in_words_of(draft: Path, whole: str, before: str, kind: str) -> Iterator[None]:
    """Errors name what the person gave, not the draft folder that it was put into: `whole` in its place, `before` in
    front of the name of a file in it. `kind` is ``"archive"`` or ``"upload"``."""
    try:
        yield
    except SAEWidgetsError as error:
        from saewidgets.formats.registry import SeveralSAEsError  # torch: seconds to import

        if isinstance(error, SeveralSAEsError) and "This folder" in error.what:  # else it applied to an archive in it
            error.what = error.what.replace("This folder", f"This {kind}")
            unpack = "Unpack it, and add" if kind == "archive" else "Add"
            error.hint = f"{unpack} the folder of each of them by itself."
        for path in {str(draft), str(draft.resolve())}:
            for name in ("what", "where", "hint"):
                if text := getattr(error, name):
                    setattr(error, name, text.replace(path + os.sep, before).replace(path, whole))
        error.args = (error.what, error.where, error.hint)
        raise


def _put(workspace: Workspace, path: Path, content: bytes | str | Path, name: str) -> None:
    with writing(workspace, name):
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes | bytearray | memoryview):
            path.write_bytes(content)
            return
        try:
            source = Path(content).expanduser().resolve(strict=True)
        except FileNotFoundError as error:
            raise NotFoundError("There is no such file.", where=str(content)[:300]) from error
        link(source, path)  # the library makes its own copy anyway


def unpack(archive: Path, target: Path) -> None:
    """Write the files of `archive` into the empty folder `target`. Names, number, sizes and ratios are checked before
    anything is written, and every file against its size while it is."""
    # Torch: seconds to import.
    from saewidgets.formats.archives import ZipSource
    from saewidgets.formats.source import FolderSource

    where, real = str(archive), archive.resolve()
    checked = ZipSource(FolderSource(real), real.name)  # also against overlapping members and bombs
    size = sum(member.file_size for member in checked.members.values())
    refused = storage_errors("The archive cannot be unpacked", archive, "Free some space, or add the files without it.")
    try:
        with refused, zipfile.ZipFile(archive) as opened:
            members = {
                plain_name(info.filename, where): info for info in opened.infolist()
                if not info.is_dir() and not info.filename.startswith("__MACOSX/")
                and info.filename.rpartition("/")[2] != ".DS_Store"
            }  # fmt: skip
            _check_names(members, where)
            for name, info in members.items():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG):  # 0: packed where files have no kinds
                    raise FormatError(
                        "This is a link or a device, not a file.", where=f"{where}: {name[:100]}",
                        hint="Pack the files themselves.",
                    )
            if size > (room := min(shutil.disk_usage(target).free, MAX_BYTES)):
                raise StorageError(
                    f"The archive unpacks to {size / 1e9:,.1f} GB; there is room for {room / 1e9:,.1f} GB.",
                    where=where, hint="Free some space, or add the files without an archive.",
                )
            opened.extractall(target, members.values())  # no more of each than its size, and its checksum
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FormatError(
            f"The archive is damaged ({error}).", where=where, hint="Download or pack it again."
        ) from error
