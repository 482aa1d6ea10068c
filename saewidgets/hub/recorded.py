"""A listing kept in a job's row: what a download is going to fetch, so that resuming it need not list again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from saewidgets.hub.listing import Listing, RepoFile, is_hash, listing_of
from saewidgets.hub.reference import is_plain_path

MOST_FILES = 1_000


def to_rows(files: Iterable[RepoFile]) -> list[dict[str, Any]]:
    """Files of a commit as plain JSON data."""
    return [{"path": f.path, "size": f.size, "git": f.git, "sha256": f.sha256} for f in files]


def from_rows(repo_id: str, revision: str, path: str, rows: Any) -> Listing | None:
    """The listing that `rows` record, of the files of the SAE at `path` alone (where that is a file, with those beside
    it); None where they are not one (older jobs have none).

    A catalog may be shared, so what it says is checked like an answer of the hub.
    """
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_FILES or not is_hash(revision, 40):
        return None
    files = [_file(row) for row in rows]
    folder = path
    if any(file is not None and file.path == path for file in files):
        folder = path.rpartition("/")[0]
    known = [file for file in files if file is not None and file.path.startswith(f"{folder}/" if folder else "")]
    return listing_of(repo_id, revision, known) if len(known) == len(rows) else None


def _file(row: Any) -> RepoFile | None:
    if not isinstance(row, Mapping):
        return None
    path, size, git, sha256 = (row.get(key) for key in ("path", "size", "git", "sha256"))
    if not (isinstance(path, str) and is_plain_path(path) and type(size) is int and size >= 0 and is_hash(git, 40)):
        return None
    if sha256 is not None and not is_hash(sha256, 64):
        return None
    return RepoFile(path, size, str(git), sha256)
