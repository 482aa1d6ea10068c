"""Defines `RepoFile` and `Listing`, a repository at one commit, and where its files are in the hub cache of this
machine, in the layout that huggingface_hub and everything built on it share.

    models--owner--name/
        refs/main                      the commit that a branch had when it was last looked up
        blobs/<etag>                   contents: SHA-256 for large files, git's SHA-1 for the others
        blobs/<etag>.incomplete        what has arrived of one
        snapshots/<commit>/<path>  →   ../../blobs/<etag>
    .locks/models--owner--name/<etag>.lock

huggingface_hub's own `hf_hub_download` writes the same, but since version 1.2 it throws a file away that did not arrive
in full: a paused download would begin anew.
"""

import bisect
import contextlib
import hashlib
import itertools
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeGuard

import pydantic.dataclasses
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined] # public, not declared
from pydantic import AfterValidator, Field, Strict, TypeAdapter, ValidationError

from saewidgets.durable import size_of, whole_file
from saewidgets.errors import StorageError
from saewidgets.hub.reference import HubReference, is_plain_path
from saewidgets.hub_records import RepoInfo

PARTIAL = ".incomplete"
MAX_FILES = 200_000  # of a snapshot
MOST_ROWS = 1_000


def _plain(path: str) -> str:
    if not is_plain_path(path):
        raise ValueError("not a path that may be used here")
    return path


@pydantic.dataclasses.dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a repository, checked wherever it comes from: an answer of the hub, a row of the catalog, the cache.

    `size` is that of the file itself, not of a pointer to it; `git` is the SHA-1 of its git object, `sha256` that of
    the content of files that are kept outside git (LFS, Xet).
    """

    path: Annotated[str, AfterValidator(_plain)]
    size: Annotated[int, Strict(), Field(ge=0)]
    git: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    @property
    def etag(self) -> str:
        """Its name in the hub cache, and what the hub sends as ETag."""
        return self.sha256 or self.git

    def new_digest(self) -> Any:
        """The hash that becomes its `etag` once all of the content went through."""
        return hashlib.sha256() if self.sha256 else git_digest(self.size)


def git_digest(size: int) -> Any:
    """The hash by which git names a content of so many bytes."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit.

    Attributes:
        branch: the branch or tag that was asked for (``"main"`` if none was); None for a commit.
        files: by path, and `paths`, sorted. Names that could lead out of a folder are left out.
        complete: these are all files of the commit; else those that are known on this machine.
    """

    info: RepoInfo
    branch: str | None
    files: Mapping[str, RepoFile] = field(repr=False)
    paths: Sequence[str] = field(repr=False)
    complete: bool = True

    @property
    def repo_id(self) -> str:
        return self.info.repo_id

    @property
    def revision(self) -> str:
        return self.info.revision

    def below(self, path: str) -> dict[str, RepoFile]:
        """Files in a folder (names relative to it), or the one file that `path` names."""
        if not path:
            return dict(self.files)
        if path in self.files:
            return {path.rpartition("/")[2]: self.files[path]}
        start, found = path + "/", {}
        for name in self.paths[bisect.bisect_left(self.paths, start) :]:
            if not name.startswith(start):
                break
            found[name[len(start) :]] = self.files[name]
        return found


def listing_of(repo_id: str, revision: str, files: Iterable[RepoFile], *, branch: str | None = None) -> Listing:
    """The listing of files that are known without asking the hub; the rest of the repository is not known."""
    found = {file.path: file for file in files}
    size = sum(file.size for file in found.values())
    info = RepoInfo(repo_id, revision, files=len(found), size_bytes=size, from_cache=True)
    return Listing(info, branch, found, sorted(found), complete=False)


def is_hash(value: Any, length: int) -> TypeGuard[str]:
    """Whether it is so many lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == length and not set(value) - set("0123456789abcdef")


def to_rows(files: Iterable[RepoFile]) -> list[dict[str, Any]]:
    """Files of a commit as plain JSON data: what a job is going to fetch, so that resuming it need not list again."""
    return [asdict(file) for file in files]


_ROWS = TypeAdapter(Annotated[list[RepoFile], Field(min_length=1, max_length=MOST_ROWS)])


def from_rows(repo_id: str, revision: str, path: str, rows: Any) -> Listing | None:
    """The listing that `rows` record, of the files of the SAE at `path` alone (where that is a file, with those beside
    it); None where they are not one (older jobs have none)."""
    try:
        files = _ROWS.validate_python(rows)
    except ValidationError:
        return None
    folder = path.rpartition("/")[0] if any(file.path == path for file in files) else path
    inside = all(file.path.startswith(f"{folder}/" if folder else "") for file in files)
    return listing_of(repo_id, revision, files) if inside and is_hash(revision, 40) else None


# --- The cache -------------------------------------------------------------------------------------------------------


def repo_folder(cache_dir: Path, repo_id: str, kind: str = "models") -> Path:
    """The folder of a repository; `kind` is ``models`` or ``datasets``."""
    return cache_dir / "--".join([kind, *repo_id.split("/")])


def snapshot_file(cache_dir: Path, listing: Listing, file: RepoFile) -> Path:
    """Where a file of the commit is found once it is there."""
    return repo_folder(cache_dir, listing.repo_id) / "snapshots" / listing.revision / file.path


def blob_file(cache_dir: Path, listing: Listing, file: RepoFile, end: str = "") -> Path:
    """Where the content of a file is kept or, with the end `PARTIAL`, what has arrived of it."""
    return repo_folder(cache_dir, listing.repo_id) / "blobs" / f"{file.etag}{end}"


def cached_file(cache_dir: Path, listing: Listing, file: RepoFile) -> Path | None:
    """The file in the cache if it is there in full (by its size; a download also compares the hash)."""
    for path in (snapshot_file(cache_dir, listing, file), blob_file(cache_dir, listing, file)):
        try:
            if path.stat().st_size == file.size:
                return path
        except OSError:
            continue
    return None


def missing_bytes(cache_dir: Path, listing: Listing, files: Iterable[RepoFile]) -> int:
    """What a download would have to fetch: neither whole nor, for partial files, the part that arrived."""
    return sum(
        max(0, file.size - size_of(blob_file(cache_dir, listing, file, PARTIAL)))
        for file in files if cached_file(cache_dir, listing, file) is None
    )  # fmt: skip


def free_bytes(folder: Path) -> int | None:
    """Free space on the disk of `folder`, which need not exist yet; None if the system does not say."""
    for place in (folder, *folder.absolute().parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def place(cache_dir: Path, listing: Listing, file: RepoFile) -> None:
    """Make the blob visible in its snapshot, by a link where the file system has them, else by a copy."""
    blob, target = blob_file(cache_dir, listing, file), snapshot_file(cache_dir, listing, file)
    if not blob.exists():  # a cache without links keeps the file itself in the snapshot
        return
    with contextlib.suppress(OSError):
        if target.samefile(blob):
            return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{uuid.uuid4().hex[:12]}")
        try:
            draft.symlink_to(os.path.relpath(blob, target.parent))
        except OSError:
            shutil.copyfile(blob, draft)
        os.replace(draft, target)
    except OSError as error:
        raise not_writable(error, target) from error


def record_reference(cache_dir: Path, kind: str, repo_id: str, branch: str | None, commit: str) -> None:
    """Note the commit of `branch`, as huggingface_hub does: other tools then find it offline."""
    if branch is None or not is_plain_path(branch):
        return
    path = repo_folder(cache_dir, repo_id, kind) / "refs" / branch
    with contextlib.suppress(OSError):  # a cache that others own may not be writable; nothing here depends on it
        if path.is_file() and path.read_text() == commit:
            return
        with whole_file(path) as file:
            file.write(commit)


def reference_of(cache_dir: Path, kind: str, repo_id: str, branch: str) -> str | None:
    """The commit of a branch or tag when it was last looked up from this machine; None if it never was."""
    if not is_plain_path(branch):
        return None
    try:
        with (repo_folder(cache_dir, repo_id, kind) / "refs" / branch).open(encoding="ascii") as text:
            found = text.read(100).strip()
    except (OSError, ValueError):
        return None
    return found if is_hash(found, 40) else None


@contextlib.contextmanager
def locked(cache_dir: Path, listing: Listing, file: RepoFile, check: Callable[[], None]) -> Iterator[None]:
    """Hold the lock under which huggingface_hub writes this file too; `check` is called twice a second meanwhile."""
    path = repo_folder(cache_dir / ".locks", listing.repo_id) / f"{file.etag}.lock"
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(waited_lock(path, check))
        except OSError as error:
            raise not_writable(error, path) from error
        yield


@contextlib.contextmanager
def waited_lock(path: Path, check: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of this file; `check` is called twice a second while another process or thread has it."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(WeakFileLock(path, timeout=0.5))
                break
            except TimeoutError:  # filelock's is one
                check()
                time.sleep(0.01)
        yield


def not_writable(error: OSError, path: Path) -> StorageError:
    """The error for a cache that another user owns, a file in its place, …."""
    what, hint = f"The hub cache cannot be written ({error.strerror or error}).", "Check what HF_HUB_CACHE names."
    return StorageError(what, where=str(path), hint=hint)


# --- Without the hub -------------------------------------------------------------------------------------------------


def cached_listing(cache_dir: Path, place: HubReference) -> Listing | None:
    """The files of `place`'s repository that are in the cache, at its commit; None if there are none.

    The commit of a branch is the one it had at the last download from it (``refs/``). A file has the
    hash after which its blob is named, so that a download compares the content with it as always; a cache without links
    has files without such a name, which are taken as they are.
    """
    folder = repo_folder(cache_dir, place.repo_id)
    branch = None if is_hash(place.revision, 40) else place.revision or "main"
    commit = place.revision if branch is None else reference_of(cache_dir, "models", place.repo_id, branch)
    if commit is None:
        return None
    files = list(_files(folder / "snapshots" / commit, folder / "blobs"))
    return listing_of(place.repo_id, commit, files, branch=branch) if files else None


def _files(snapshot: Path, blobs: Path) -> Iterator[RepoFile]:
    paths = (Path(parent, name) for parent, _, names in os.walk(snapshot) for name in names)  # no links to folders
    for path in itertools.islice(paths, MAX_FILES):
        inside = path.relative_to(snapshot).as_posix()
        with contextlib.suppress(OSError):
            if is_plain_path(inside) and (file := _file(blobs, path, inside)) is not None:
                yield file


def _file(blobs: Path, path: Path, inside: str) -> RepoFile | None:
    """One file of a snapshot; None where a link leads nowhere or out of the repository's own blobs."""
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        blob = blobs / os.path.basename(os.readlink(path))
        if not path.samefile(blob):
            return None
        if is_hash(blob.name, 64):
            return RepoFile(inside, blob.stat().st_size, "0" * 40, blob.name)
        return RepoFile(inside, blob.stat().st_size, blob.name) if is_hash(blob.name, 40) else None
    if not stat.S_ISREG(facts.st_mode):
        return None
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, lambda: git_digest(facts.st_size))
    return RepoFile(inside, facts.st_size, digest.hexdigest())
