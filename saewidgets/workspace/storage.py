"""`Storage`: the files of a workspace that was given as a URL (``s3://bucket/lab``), through fsspec.

Everything is made in a folder of this machine, as always. What is whole is uploaded, what is not here is fetched when
it is used, and what was uploaded leaves the folder again when that grows too large.

    <url>/manifests/<kind>/<id>.json     the files of <kind>/<id>: name → [bytes, SHA-256, time]; sealed, written last
    <url>/<kind>/<id>/<name>.<digest>    one file by its content, never written over: what a manifest names stays
    <folder>/.storage/<kind>/<id>.json   the manifest that the folder <kind>/<id> of this machine was equal to
    <folder>/.storage/<kind>/<id>.todo   there while something of it waits to be uploaded
    <folder>/.storage/<kind>/<id>.gone   there while it was deleted here and not yet in the storage
"""

import json
import logging
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from saewidgets.durable import require_space, seal_of, sealed, sha256_of, write_json
from saewidgets.errors import ConfigError, FormatError, SAEWidgetsError, StorageError
from saewidgets.events import Interruption
from saewidgets.settings import plain_url
from saewidgets.workspace.folders import draft_folder, plain_name

log = logging.getLogger(__name__)
_KINDS = frozenset({"trainings", "saes", "extractions", "activations"})
_FRESH = 10.0  # seconds for which what the storage has is not looked up again
_MANIFEST_BYTES = 64 * 2**20
_NOTHING: dict[str, Any] = {"sha256": None, "files": {}}
_DIGEST = re.compile("[0-9a-f]{64}")
_SECRET = re.compile(r"(?<=://)[^/\s@]*@|\?\S*")  # of a URL in an error of a library
_RETRY = "Check the network and your access. The next upload tries it again; so does the job when it is resumed."


class Storage:
    """The storage at `url` and its copy in `folder`, the workspace's; None: there is none, and nothing is done.

    Files that are in the storage, too, take at most `room` bytes here, but for those of rows that jobs work on now:
    `in_use` gives their ids.
    """

    def __init__(self, folder: Path, url: str | None, room: float, in_use: Callable[[], Collection[str]]) -> None:
        self.url, self.name, self._folder, self._room, self._in_use = url, plain_url(url or ""), folder, room, in_use
        self.remote = None if url is None else self
        self._notes = folder / ".storage"
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._manifests: dict[str, tuple[float, dict[str, Any]]] = {}
        self._listed: dict[str, tuple[float, frozenset[str]]] = {}
        if url is not None:
            from fsspec.core import url_to_fs  # only workspaces with a URL need it

            local = {"auto_mkdir": True} if urlsplit(url).scheme in ("file", "local") else {}
            try:
                self._fs, root = url_to_fs(url, use_listings_cache=False, **local)
            except (ImportError, ValueError) as error:
                hint = f"Run `pip install 'fsspec[{urlsplit(url).scheme}]'`, or check the URL."
                raise ConfigError(f"It cannot be opened ({_said(error)}).", where=self.name, hint=hint) from None
            self._root = str(root).rstrip("/")

    # ------------------------------------------------------------------------------------------------ upload

    def publish(self, folder: Path) -> None:
        """Upload what has changed in the folder of a row: others see all of it, or what was there before. Raises
        `StorageError` where the storage is not reached; the next call for any row tries again."""
        if (place := self._place(folder)) is None:
            return
        (note := self._note(place[0], ".todo")).parent.mkdir(parents=True, exist_ok=True)
        note.touch()
        self._publish(place[0])
        for other in self._notes.glob("*/*.todo"):  # of failures and kills
            if other.stem not in self._in_use():
                with suppress(SAEWidgetsError):
                    self._publish(f"{other.parent.name}/{other.stem}", is_late=True)
        for other in self._notes.glob("*/*.gone"):
            with suppress(SAEWidgetsError):
                self._remove(f"{other.parent.name}/{other.stem}")
        self._evict()

    def offer(self, folder: Path) -> None:
        """`publish`; a failure, which is no reason to refuse what was made here, is logged."""
        try:
            self.publish(folder)
        except StorageError as error:
            log.warning("%s", error)

    def _publish(self, row: str, is_late: bool = False) -> None:
        with self._locks[row], self._reaching(f"{row} was not uploaded"):
            before, copy, here = self._manifest(row), self._copy(row), self._folder / row
            known, files = copy["files"], dict[str, list[Any]]()
            is_behind = is_late and before["sha256"] != copy["sha256"]  # another machine has gone on with it
            for path in () if is_behind else sorted(here.rglob("*")):
                name = path.relative_to(here).as_posix()
                if path.is_file() and not path.is_symlink() and not any(part[0] == "." for part in name.split("/")):
                    same, (size, when) = known.get(name, [None] * 3), _stamp(path)
                    files[name] = [size, same[1] if [size, when] == same[::2] else sha256_of(path), when]
            there = {key: each["size"] for key, each in self._fs.find(f"{self._root}/{row}", detail=True).items()}
            keys = {self._key(row, name, file): name for name, file in files.items()}
            for key, name in keys.items():
                if there.get(key) != files[name][0]:
                    self._fs.put_file(str(here / name), key)
                    if (size := self._fs.info(key)["size"]) != files[name][0]:
                        raise OSError(f"{size:,} of the {files[name][0]:,} bytes of {name} arrived")
            manifest = sealed({"format": 1, "files": files})
            if files and manifest["sha256"] != before["sha256"]:
                draft = f"{self._root}/manifests/{row}.{os.urandom(6).hex()}"
                self._fs.pipe_file(draft, json.dumps(manifest).encode())
                self._fs.mv(draft, f"{self._root}/manifests/{row}.json")  # whole also where a write is not
            if files:
                self._keep(row, manifest)
                for key in there.keys() - keys:
                    self._fs.rm_file(key)
        self._note(row, ".todo").unlink(missing_ok=True)

    def remove(self, folder: Path) -> None:
        """Remove what was deleted here. A failure is logged; the next upload of any row tries it again."""
        if (place := self._place(folder)) is None:
            return
        (note := self._note(place[0], ".gone")).parent.mkdir(parents=True, exist_ok=True)
        note.touch()
        try:
            self._remove(place[0])
        except StorageError as error:
            log.warning("%s", error)

    def _remove(self, row: str) -> None:
        """First the manifest, without which nobody sees the files."""
        with self._locks[row], self._reaching(f"{row} was not removed"):
            for path in (f"{self._root}/manifests/{row}.json", f"{self._root}/{row}"):
                with suppress(FileNotFoundError):
                    self._fs.rm(path, recursive=True)
            for suffix in (".json", ".todo", ".gone"):
                self._note(row, suffix).unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------------ fetch

    def has(self, path: str | Path) -> bool:
        """Whether the storage has files of this row, so that any machine can use them."""
        if (place := self._place(path)) is None:
            return False
        kind, _, row_id = place[0].partition("/")
        when, ids = self._listed.get(kind, (float("-inf"), frozenset()))
        known = row_id in ids or self._note(place[0], ".json").exists()
        if not known and time.monotonic() - when > _FRESH:
            with suppress(Exception):  # there is none of this kind, or it is not reached: a list is shown all the same
                ids = frozenset(Path(each).stem for each in self._fs.ls(f"{self._root}/manifests/{kind}", detail=False))
            self._listed[kind] = time.monotonic(), ids
        return known or row_id in ids

    def fetch(
        self, path: str | Path, *, fresh: bool = False, if_fits: bool = False, check: Callable[[], None] = lambda: None
    ) -> Path:
        """Bring a file or folder of a row here, unless it is, and return its path; what the storage does not have is
        left as it is. `fresh`: look whether another machine has just changed it. `if_fits`: only where all of it fits
        into the room for copies. `check` is called before each file. Raises `StorageError`, and `FormatError` where
        what is there is not what was uploaded."""
        path = Path(path)
        if (place := self._place(path)) is not None:
            with self._locks[place[0]], self._reaching(f"{place[0]} was not fetched"):
                try:
                    came = self._fetch(*place, fresh, if_fits, check)
                except FileNotFoundError:  # replaced by its owner between manifest and file
                    came = self._fetch(*place, True, if_fits, check)
            if came:
                self._evict(came)
        return path

    def _fetch(self, row: str, rest: str, fresh: bool, if_fits: bool, check: Callable[[], None]) -> Collection[Path]:
        known, here = self._copy(row), self._folder / row
        try:
            manifest = self._manifest(row, 0.0 if fresh or row.startswith("trainings/") else _FRESH)
        except Exception:  # a reader takes what is here
            if fresh or known is _NOTHING:
                raise
            manifest = known
        files, is_new = manifest["files"], manifest["sha256"] != known["sha256"]  # else what differs here is newer
        asked = {name for name in files if not rest or f"{name}/".startswith(f"{rest}/")}
        if manifest is _NOTHING or (if_fits and sum(files[name][0] for name in asked) > self._room):
            return ()
        wanted = {
            name: file for name, file in files.items()
            if (is_new and not _is_here(here / name, file) if (here / name).exists() else name in asked)
        }  # fmt: skip
        need = sum(file[0] for file in wanted.values())
        require_space(self._folder, need, f"the files of {row}", "Free some space, or lower SAEWIDGETS_CACHE_GB.")
        with draft_folder(self._notes) as draft:
            for name, (size, digest, when) in wanted.items():
                check()
                (target := draft / name).parent.mkdir(parents=True, exist_ok=True)
                self._require_size(key := self._key(row, name, files[name]), name, size)  # before a byte of it comes
                self._fs.get_file(key, str(target))
                if sha256_of(target) != digest:
                    raise self._damaged(f"{name} was changed after it was uploaded")
                os.utime(target, ns=(when * 1000, when * 1000))
            for name in wanted:
                (here / name).parent.mkdir(parents=True, exist_ok=True)
                (draft / name).replace(here / name)
        for name, file in known["files"].items():  # of a state that another machine has left behind
            if name not in files and _is_here(here / name, file):
                (here / name).unlink()
                with suppress(OSError):
                    (here / name).parent.rmdir()
        self._keep(row, manifest) if wanted or is_new else self._note(row, ".json").touch()
        return [here / name for name in wanted]

    def ranges(self, wanted: Sequence[tuple[Path, int, int]]) -> Sequence[bytes]:
        """The bytes from a first to a last one of files that need not be here, all at once. They are not compared with
        the SHA-256, which is that of a whole file."""
        with self._reaching("The stored activations cannot be read"):
            places = [self._place(path) or ("", "") for path, _, _ in wanted]
            keys = [self._key(row, name, self._manifest(row, float("inf"))["files"][name]) for row, name in places]
            _, starts, ends = (list(each) for each in zip(*wanted, strict=True))
            found: Sequence[bytes] = self._fs.cat_ranges(keys, starts, ends, on_error="raise")
        return found

    # ------------------------------------------------------------------------------------------------ inside

    def _evict(self, keep: Collection[Path] = ()) -> None:
        """Remove copies, those of the row that was used longest ago first, until the others fit into the room."""
        rows, total = [], 0
        for note in self._notes.glob("*/*.json"):
            row = f"{note.parent.name}/{note.stem}"
            files = {self._folder / row / name: file for name, file in self._copy(row)["files"].items()}
            here = {path: file[0] for path, file in files.items() if _is_here(path, file)}
            total += sum(here.values())
            rows.append((note.stat().st_mtime_ns, row, here))
        stay = {*self._in_use(), *(note.stem for note in self._notes.glob("*/*.todo"))} if total > self._room else ()
        for _, row, here in sorted(rows, key=lambda each: each[0]):
            if total > self._room and row.partition("/")[2] not in stay and self._locks[row].acquire(blocking=False):
                for path, size in here.items():
                    if total > self._room and path not in keep:
                        with suppress(OSError):  # open, on Windows
                            path.unlink()
                            total -= size
                self._locks[row].release()

    def _manifest(self, row: str, age: float = 0.0) -> dict[str, Any]:
        """The manifest of a row, read at most so many seconds ago; `_NOTHING` where the storage does not have it."""
        when, found = self._manifests.get(row, (float("-inf"), _NOTHING))
        if time.monotonic() - when <= age and found is not _NOTHING:
            return found
        try:
            found = json.loads(self._fs.cat_file(f"{self._root}/manifests/{row}.json", start=0, end=_MANIFEST_BYTES))
            if found["sha256"] != seal_of(found) or found["format"] != 1:
                raise ValueError
            for name, (size, digest, changed) in found["files"].items():
                if not (plain_name(name, row) and type(size) is type(changed) is int and _DIGEST.fullmatch(digest)):
                    raise ValueError
        except FileNotFoundError:
            found = _NOTHING
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, FormatError):
            raise self._damaged(f"the manifest of {row} is none") from None
        self._manifests[row] = time.monotonic(), found
        return found

    def _require_size(self, key: str, name: str, size: int) -> None:
        if (found := self._fs.info(key)["size"]) != size:
            raise self._damaged(f"{name} has {found:,} bytes, not {size:,}")

    def _damaged(self, what: str) -> FormatError:
        hint = "Upload it again from the machine that made it, or delete it."
        return FormatError(f"A file in the storage is damaged: {what}.", where=self.name, hint=hint)

    def _keep(self, row: str, manifest: dict[str, Any]) -> None:
        self._manifests[row] = time.monotonic(), manifest
        (note := self._note(row, ".json")).parent.mkdir(parents=True, exist_ok=True)
        write_json(note, manifest)

    def _copy(self, row: str) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(self._note(row, ".json").read_text("utf-8"))
            return found
        return _NOTHING

    def _place(self, path: str | Path) -> tuple[str, str] | None:
        """The row that a path belongs to (``trainings/train_…``) and the rest of it; None: to no row."""
        if self.url is None or not Path(path).is_relative_to(self._folder):
            return None
        kind, *parts = Path(path).relative_to(self._folder).parts or ("",)
        is_row = kind in _KINDS and parts and parts[0][0] != "." and ".." not in parts
        return (f"{kind}/{parts[0]}", "/".join(parts[1:])) if is_row else None

    def _note(self, row: str, suffix: str) -> Path:
        return self._notes / f"{row}{suffix}"

    def _key(self, row: str, name: str, file: Sequence[Any]) -> str:
        return f"{self._root}/{row}/{name}.{file[1][:16]}"

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        try:
            yield
        except (SAEWidgetsError, Interruption):
            raise
        except Exception as error:  # noqa: BLE001 - every file system has errors of its own
            raise StorageError(f"{what} ({_said(error)}).", where=self.name, hint=_RETRY) from None


def _said(error: Exception) -> str:
    return _SECRET.sub("", f"{type(error).__name__}: {error}".splitlines()[0])[:300].rstrip(".")


def _stamp(path: Path) -> list[int]:
    """Bytes and time of a file, in microseconds, which every disk keeps."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns // 1000]


def _is_here(path: Path, file: Sequence[Any]) -> bool:
    with suppress(OSError):
        return _stamp(path) == list(file[::2])
    return False
