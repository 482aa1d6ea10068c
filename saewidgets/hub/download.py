"""Downloading one SAE into the hub cache: planned from the listing, resumable, every byte checked.

A download can be stopped at any moment through `check`: what arrived stays in the cache, as after a crash, and the next
download goes on from there. `discard` removes it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from saewidgets.errors import StorageError
from saewidgets.events import Progress
from saewidgets.hub import cache
from saewidgets.hub.cache import Listing, RepoFile
from saewidgets.hub.client import Attempts, HubClient, chunks, resolve_url
from saewidgets.hub.errors import (
    SWITCH,
    ConnectionLostError,
    DiskFullError,
    FileChangedError,
    HubError,
    HubOfflineError,
    HubTimeoutError,
    NoSAEError,
    TruncatedFileError,
    WrongHashError,
    explained,
)
from saewidgets.hub.listing import NOT_HERE, list_repository
from saewidgets.hub.reference import HubReference, parse_reference
from saewidgets.hub.variants import choose, needed_files, variants
from saewidgets.hub_records import Variant
from saewidgets.render.numbers import size

BLOCK = 1 << 18  # bytes that are asked of the network at once, where that can be chosen
PROGRESS = 1 << 20  # bytes of one connection after which earlier failures are forgotten
PATIENCE = 0.1  # seconds between two looks at whether to stop, while nothing comes
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What a download is going to do, known before the first byte of weights.

    Attributes:
        path: folder or file of the SAE in the repository.
        files: that make it up, with sizes and hashes; `cache.to_rows` makes plain data of them.
        missing_bytes: what is not in the cache yet, partly arrived files counted by what they lack.
        partials: absolute paths under which unfinished files are kept; `discard` removes them.
        variant: what the repository's names say of the SAE; None where `download` was given a listing.
    """

    listing: Listing = field(repr=False)
    path: str
    format: str
    files: tuple[RepoFile, ...]
    missing_bytes: int
    partials: tuple[str, ...]
    variant: Variant | None = field(default=None, repr=False)

    @property
    def repo_id(self) -> str:
        return self.listing.repo_id

    @property
    def revision(self) -> str:
        """The commit; name it in later calls to get the same files whatever happens to the branch."""
        return self.listing.revision

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """An SAE in the hub cache.

    Attributes:
        folder: where its files are, as links into the cache's blobs.
        location: what to load: `folder`, or the one file where a file is the SAE.
        revision: the commit its files are of.
        files: absolute paths.
        fetched_bytes: what came over the network this time.
        seconds: how long it took.
    """

    repo_id: str
    revision: str
    path: str
    format: str
    folder: Path
    location: Path
    files: tuple[Path, ...]
    total_bytes: int
    fetched_bytes: int
    seconds: float


def plan_download(reference: str | HubReference, *, client: HubClient | None = None) -> DownloadPlan:
    """What `download` would do with the same arguments. Lists the repository and reads no weights.

    Where the hub cannot be reached, an SAE whose files are in the cache is planned from there.

    Raises:
        ConfigError: the reference cannot be read, or means several SAEs.
        NoSAEError, HubError: as `variants`.
    """
    client = client or HubClient()
    place = parse_reference(reference)
    try:
        return _chosen(place, list_repository(place, client=client), client)
    except (HubOfflineError, HubTimeoutError, ConnectionLostError) as error:
        listing = cache.cached_listing(client.cache_dir, place)
        try:
            if listing is not None:
                return _chosen(place, listing, client)
        except (NoSAEError, HubOfflineError):
            log.info("The cache has %s only in part.", place)
        error.hint = f"{error.hint or ''} {NOT_HERE}".strip()
        raise


def download(
    reference: str | HubReference,
    *,
    client: HubClient | None = None,
    emit_progress: Callable[[Progress], None] | None = None,
    check: Callable[[], None] = lambda: None,
    on_plan: Callable[[DownloadPlan], None] = lambda _: None,
    branch: str | None = None,
    listing: Listing | None = None,
    format: str = "",
) -> Downloaded:
    """Bring one SAE into the hub cache and return where it is.

    What is in the cache already needs no network: neither with a `listing`, nor without one where the hub cannot be
    reached and the commit is named or noted in the cache.

    Every file is compared with the size and hash that the repository lists, also those that were in the cache already.
    Progress counts bytes (`unit` ``"bytes"``, phases as in `Progress`), at most ten times a second.

    Args:
        reference: as `parse_reference` takes it; its folder must hold exactly one SAE.
        client: None: the default endpoint, token and cache.
        emit_progress: told how far it is.
        check: called several times a second; what it raises ends the download.
        on_plan: told once what will be fetched, before anything is.
        branch: the branch or tag that led to the commit which `reference` names (`Listing.branch`): it is noted in
            the cache, so that other tools find the files under it without a network.
        listing: exactly the files of the SAE that `reference` names (`cache.from_rows`), so that the hub need
            not be asked for them again; None: it is.
        format: of the SAE, with a `listing`.

    Raises:
        ConfigError: the reference cannot be read, or means several SAEs.
        DiskFullError: it does not fit; nothing was fetched.
        HubError: as one of its children; what arrived is kept, except after `WrongHashError`.
        StorageError: the cache cannot be written.
        Exception: whatever `check` raised.
    """
    client = client or HubClient()
    started = time.monotonic()
    check()
    if listing is None:
        plan = plan_download(reference, client=client)
    else:
        plan = _plan(client, listing, parse_reference(reference).path, format, tuple(listing.files.values()))
    listing, total = plan.listing, plan.total_bytes
    on_plan(plan)
    check()
    free = cache.free_bytes(client.cache_dir)
    if free is not None and plan.missing_bytes > free:
        raise DiskFullError(
            f"Not enough disk space. The download needs {size(plan.missing_bytes)} and {size(free)} is free.",
            where=str(client.cache_dir),
            hint="Free some space, choose a narrower width, or set HF_HUB_CACHE to a larger disk.",
        )
    meter = _Meter(total, emit_progress)
    for file in sorted(plan.files, key=lambda file: file.size):
        _bring(client, listing, file, check, meter)
    cache.record_reference(client.cache_dir, "models", listing.repo_id, listing.branch or branch, listing.revision)
    meter.show("checking", force=True)
    location = cache.repo_folder(client.cache_dir, listing.repo_id) / "snapshots" / listing.revision / plan.path
    return Downloaded(
        repo_id=listing.repo_id,
        revision=listing.revision,
        path=plan.path,
        format=plan.format,
        folder=location.parent if plan.path in listing.files else location,
        location=location,
        files=tuple(cache.snapshot_file(client.cache_dir, listing, file) for file in plan.files),
        total_bytes=total,
        fetched_bytes=meter.fetched,
        seconds=time.monotonic() - started,
    )


def discard(partials: Iterable[str | Path]) -> int:
    """Remove unfinished files of a download that is not running (`DownloadPlan.partials`); returns the bytes freed.

    Raises:
        StorageError: a path is not an unfinished file of a hub cache.
    """
    freed = 0
    for partial in map(Path, partials):
        if partial.suffix != cache.PARTIAL or partial.parent.name != "blobs" or ".." in partial.parts:
            raise StorageError("This is not an unfinished download.", where=str(partial))
        held = cache.size_of(partial)
        try:
            partial.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"It cannot be removed ({error.strerror}).", where=str(partial)) from error
        freed += held
    return freed


def _chosen(place: HubReference, listing: Listing, client: HubClient) -> DownloadPlan:
    variant = choose(variants(place, client=client, listing=listing), place)
    files = tuple(needed_files(listing, variant.path, variant.format).values())
    return _plan(client, listing, variant.path, variant.format, files, variant)


def _plan(
    client: HubClient,
    listing: Listing,
    path: str,
    format: str,
    files: tuple[RepoFile, ...],
    variant: Variant | None = None,
) -> DownloadPlan:
    missing = cache.missing_bytes(client.cache_dir, listing, files)
    partials = tuple(str(cache.partial_file(client.cache_dir, listing, file).absolute()) for file in files)
    return DownloadPlan(listing, path, format, files, missing, partials, variant)


# ---------------------------------------------------------------------------------------------------- one file


def _bring(client: HubClient, listing: Listing, file: RepoFile, check: Callable[[], None], meter: _Meter) -> None:
    """One file, checked and placed in its snapshot; from the cache if it is there."""
    with cache.locked(client.cache_dir, listing, file, check):
        present = cache.cached_file(client.cache_dir, listing, file)
        if present is not None and _has_right_hash(present, file, check, meter):
            meter.skip(file.size)
        else:
            _fetch(client, listing, file, check, meter)
        cache.place(client.cache_dir, listing, file)


def _fetch(client: HubClient, listing: Listing, file: RepoFile, check: Callable[[], None], meter: _Meter) -> None:
    """Bring `file` into the cache's blobs, from where an earlier try stopped. The caller holds its lock.

    What is on the disk was always hashed, and nothing gets its final name before its hash is right.
    """
    blob = cache.blob_file(client.cache_dir, listing, file)
    partial = cache.partial_file(client.cache_dir, listing, file)
    with _storage_errors(partial, file):
        partial.parent.mkdir(parents=True, exist_ok=True)
        if partial.is_symlink() or not partial.is_file():
            partial.unlink(missing_ok=True)
        with partial.open("r+b" if partial.exists() else "w+b", buffering=0) as target:
            if os.fstat(target.fileno()).st_size > file.size:
                target.truncate(0)
            digest = _new_digest(file)
            have = 0
            for block in _read(target, check):
                digest.update(block)
                have += len(block)
            meter.skip(have)
            for block in _arriving(client, listing, file, have, check, meter):
                _write(target, block)
                digest.update(block)
                meter.add(len(block))
        if digest.hexdigest() != file.etag:
            partial.unlink(missing_ok=True)
            meter.skip(-file.size)
            raise WrongHashError(
                "The file that arrived is not the one the repository lists: its hash differs.",
                where=f"{listing.repo_id}/{file.path}",
                hint="It was thrown away. Try again; if it happens again, tell the owner of the repository.",
            )
        os.replace(partial, blob)


def _arriving(
    client: HubClient, listing: Listing, file: RepoFile, have: int, check: Callable[[], None], meter: _Meter
) -> Iterator[bytes]:
    """The bytes of a file from `have` on. A connection that breaks off is taken up again where it did."""
    url = resolve_url(client, listing.repo_id, listing.revision, file.path)
    where = f"{listing.repo_id}/{file.path}"
    changed = FileChangedError(
        "The hub serves another version of the file than the one it listed.",
        where=where,
        hint="List the repository again, then retry.",
    )

    def wait(seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            check()
            left = max(0.0, until - time.monotonic())
            meter.retrying(attempts.count, left)
            if not left:
                return
            time.sleep(min(PATIENCE, left))

    attempts = Attempts(client, wait)
    while have < file.size:
        check()
        try:
            with client.open(url, {"range": f"bytes={have}-"} if have else {}) as response:
                whole = response.status_code == 200  # the hub ignored the range and sends all of it again
                if not whole and not response.headers.get("content-range", "").startswith(f"bytes {have}-"):
                    raise changed
                skip, before = have if whole else 0, have
                for chunk in chunks(response, BLOCK):
                    skip, block = max(0, skip - len(chunk)), chunk[skip:]
                    if have + len(block) > file.size:
                        raise changed
                    if block:
                        have += len(block)
                        yield block
                    if have - before >= PROGRESS:
                        attempts.succeeded()
                    check()
            if have < file.size:
                raise TruncatedFileError("The hub sent less of the file than it lists.", where=where)
        except Exception as error:  # noqa: BLE001 - of two network libraries (or of `check`); sorted out in `explained`
            found = explained(error, url, client.redact)
            broken_off = _with_amount(found, attempts.count + 1, have, file, where)
            attempts.failed(broken_off or found, again=broken_off is not None)


def _with_amount(error: BaseException, count: int, have: int, file: RepoFile, where: str) -> HubError | None:
    """A broken connection as the person reads it: how often, where, and that nothing is lost; None for other errors."""
    if not isinstance(error, ConnectionLostError | TruncatedFileError | HubOfflineError) or error.where == SWITCH:
        return None
    arrived, times = f"{size(have)} of {size(file.size)}", "once" if count == 1 else f"{count} times"
    what = f"Lost the connection {times} at {arrived}. What arrived is kept."
    if isinstance(error, TruncatedFileError):
        what = f"The hub ended the file early {times}, at {arrived}. What arrived is kept."
    told = type(error)(what, where=where, hint="Try again: the download continues where it stopped.")
    told.__cause__ = error.__cause__
    return told


def _has_right_hash(path: Path, file: RepoFile, check: Callable[[], None], meter: _Meter) -> bool:
    """Whether what lies at `path` is the listed file."""
    digest = _new_digest(file)
    try:
        with path.open("rb", buffering=0) as source:
            for block in _read(source, check):
                digest.update(block)
                meter.show("checking")
    except OSError:
        return False
    return bool(digest.hexdigest() == file.etag)


def _new_digest(file: RepoFile) -> Any:
    """The hash by which the repository lists the file: SHA-256 of large ones, git's own for the others."""
    if file.sha256 is not None:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def _read(source: BinaryIO, check: Callable[[], None]) -> Iterator[bytes]:
    while block := source.read(1 << 23):
        yield block
        check()


def _write(target: BinaryIO, block: bytes) -> None:
    """All of `block`: an unbuffered file may take less at once."""
    rest = memoryview(block)
    while rest:
        rest = rest[target.write(rest) :]


@contextlib.contextmanager
def _storage_errors(partial: Path, file: RepoFile) -> Iterator[None]:
    """What the disk of the cache refuses, in our words."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"The disk is full; {size(file.size)} were to be written.",
                where=str(partial),
                hint="Free some space and try again: the download continues where it stopped.",
            ) from error
        raise cache.not_writable(error, partial) from error


class _Meter:
    """Counts bytes and tells them at most ten times a second; the rate is that of the last five seconds."""

    def __init__(self, total: int, emit: Callable[[Progress], None] | None) -> None:
        self._total, self._emit = total, emit
        self._done, self.fetched = 0, 0
        self._told = -1.0
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def skip(self, count: int) -> None:
        """Bytes that were there already; negative for some that have to be fetched again."""
        self._done += count
        self.show("downloading")

    def add(self, count: int) -> None:
        """Bytes that came over the network."""
        self.fetched += count
        self.skip(count)

    def retrying(self, attempt: int, wait: float) -> None:
        """Nothing comes: a try failed, and the next one is `wait` seconds away."""
        if self._due(force=False):
            self._tell(Progress(self._done, self._total, "bytes", phase="retrying", attempt=attempt, wait_seconds=wait))

    def show(self, phase: str, *, force: bool = False) -> None:
        if not self._due(force):
            return
        now = self._told
        self._recent.append((now, self.fetched))
        while now - self._recent[0][0] > 5 and len(self._recent) > 2:
            self._recent.popleft()
        since, before = self._recent[0]
        rate = (self.fetched - before) / (now - since) if now - since > 0.2 else None
        eta = (self._total - self._done) / rate if rate else None
        self._tell(Progress(self._done, self._total, "bytes", rate, eta, phase))

    def _due(self, force: bool) -> bool:
        now = time.monotonic()
        if now - self._told < 0.1 and not force:
            return False
        self._told = now
        return True

    def _tell(self, progress: Progress) -> None:
        if self._emit is not None:
            self._emit(progress)
