"""`RepoFile` and `Listing`: a repository at one commit, from the hub, from the cache, or from a job's row."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from saewidgets.hub.reference import is_plain_path
from saewidgets.hub_records import RepoInfo

MOST_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a repository.

    Attributes:
        path: below the root, with ``/`` between parts.
        size: bytes of the file itself, not of a pointer to it.
        git: SHA-1 of its git object.
        sha256: of its content, for files that are kept outside git (LFS, Xet); else None.
    """

    path: str
    size: int
    git: str
    sha256: str | None = None

    @property
    def etag(self) -> str:
        """Its name in the hub cache, and what the hub sends as ETag."""
        return self.sha256 or self.git


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit.

    Attributes:
        branch: the branch or tag that was asked for (``"main"`` if none was); None for a commit.
        files: by path. Names that could lead out of a folder are left out.
        paths: theirs, sorted.
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


def checked_file(path: Any, size: Any, git: Any, sha256: Any) -> RepoFile | None:
    """A file as the hub or a row describes it; None where that is no file, or its name must not become a path here."""
    if not (isinstance(path, str) and is_plain_path(path) and type(size) is int and size >= 0 and is_hash(git, 40)):
        return None
    return RepoFile(path, size, git, sha256) if sha256 is None or is_hash(sha256, 64) else None


def is_hash(value: Any, length: int) -> TypeGuard[str]:
    """Whether it is so many lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == length and not set(value) - set("0123456789abcdef")


def to_rows(files: Iterable[RepoFile]) -> list[dict[str, Any]]:
    """Files of a commit as plain JSON data: what a job is going to fetch, so that resuming it need not list again."""
    return [{"path": f.path, "size": f.size, "git": f.git, "sha256": f.sha256} for f in files]


def from_rows(repo_id: str, revision: str, path: str, rows: Any) -> Listing | None:
    """The listing that `rows` record, of the files of the SAE at `path` alone (where that is a file, with those beside
    it); None where they are not one (older jobs have none).

    A catalog may be shared, so what it says is checked like an answer of the hub.
    """
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_ROWS or not is_hash(revision, 40):
        return None
    columns = ("path", "size", "git", "sha256")
    files = [checked_file(*map(row.get, columns)) if isinstance(row, Mapping) else None for row in rows]
    folder = path.rpartition("/")[0] if any(file is not None and file.path == path for file in files) else path
    known = [file for file in files if file is not None and file.path.startswith(f"{folder}/" if folder else "")]
    return listing_of(repo_id, revision, known) if len(known) == len(rows) else None
