"""A repository as the cache on this machine has it, for when the hub cannot be asked."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from saewidgets.hub.cache import reference_of, repo_folder
from saewidgets.hub.listing import MAX_FILES, Listing, RepoFile, is_hash, listing_of
from saewidgets.hub.reference import HubReference, is_plain_path


def cached_listing(cache_dir: Path, place: HubReference) -> Listing | None:
    """The files of `place`'s repository that are in the cache, at its commit; None if there are none.

    The commit of a branch is the one it stood for when somebody downloaded from it last (``refs/``). A file has the
    hash after which its blob is named, so that a download compares the content with it as always; a cache without links
    has files without such a name, which are taken as they are.
    """
    folder = repo_folder(cache_dir, place.repo_id)
    commit = _commit(cache_dir, place.repo_id, place.revision)
    if commit is None:
        return None
    files = list(_files(folder, commit))
    asked = None if place.revision == commit else place.revision or "main"
    return listing_of(place.repo_id, commit, files, asked=asked, complete=False) if files else None


def _commit(cache_dir: Path, repo_id: str, revision: str | None) -> str | None:
    if is_hash(revision, 40):
        return revision
    return reference_of(cache_dir, "models", repo_id, revision or "main")


def _files(folder: Path, commit: str) -> Iterator[RepoFile]:
    snapshot = folder / "snapshots" / commit
    count = 0
    for parent, _, names in os.walk(snapshot):  # does not follow links to folders
        for name in names:
            path = Path(parent, name)
            count += 1
            if count > MAX_FILES:
                return
            inside = path.relative_to(snapshot).as_posix()
            if is_plain_path(inside) and (file := _file(folder / "blobs", path, inside)) is not None:
                yield file


def _file(blobs: Path, path: Path, inside: str) -> RepoFile | None:
    """One file of a snapshot; None where a link leads nowhere or out of the repository's own blobs."""
    try:
        facts = path.lstat()
        if stat.S_ISLNK(facts.st_mode):
            blob = blobs / os.path.basename(os.readlink(path))
            if not path.samefile(blob):
                return None
            size = blob.stat().st_size
            if is_hash(blob.name, 64):
                return RepoFile(inside, size, "0" * 40, blob.name)
            return RepoFile(inside, size, blob.name) if is_hash(blob.name, 40) else None
        if not stat.S_ISREG(facts.st_mode):
            return None
        digest = hashlib.sha1(b"blob %d\0" % facts.st_size, usedforsecurity=False)
        with path.open("rb", buffering=0) as source:
            while block := source.read(1 << 23):
                digest.update(block)
        return RepoFile(inside, facts.st_size, digest.hexdigest())
    except OSError:
        return None
