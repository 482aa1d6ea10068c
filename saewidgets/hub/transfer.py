"""Downloads one SAE into the hub cache: planned from the listing, resumable, every byte checked.

A download can be stopped at any moment through `check`: what arrived stays in the cache, as after a crash, and the next
download goes on from there. `discard` removes it.
"""

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from saewidgets.durable import disk_full, size_of, storage_errors
from saewidgets.errors import StorageError
from saewidgets.events import Progress
from saewidgets.hub import cache, errors
from saewidgets.hub.browse import choose, needed_files, variants
from saewidgets.hub.cache import Listing, RepoFile
from saewidgets.hub.client import Attempts, HubClient, chunks
from saewidgets.hub.reference import HubReference, parse_reference
from saewidgets.hub.repository import NOT_HERE, list_repository
from saewidgets.hub_records import Variant
from saewidgets.render.numbers import size

BLOCK = 1 << 18  # bytes requested at once, where that can be chosen
READ = 1 << 23  # and of the disk
PROGRESS = 1 << 20  # bytes of one connection after which earlier failures are forgotten
PATIENCE = 0.1  # seconds between two looks at whether to stop, while nothing comes
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """The plan of a download, known before the first byte of weights.

    Attributes:
        path: folder or file of the SAE in the repository.
        missing_bytes: what is not in the cache yet, partly arrived files counted by what they lack.
        partials: absolute paths under which unfinished files are kept; `discard` removes them.
        variant: what the repository's names show of the SAE; None where `download` was given a listing.
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
    """An SAE in the hub cache, in `folder`; what to load is its `location`, `folder` or the one file that is the SAE.
    `fetched_bytes` came over the network this time."""

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
    """What `download` would do: from the listing, or where the hub cannot be reached from what the cache has."""
    client = client or HubClient()
    place = parse_reference(reference)
    try:
        return _chosen(place, list_repository(place, client), client)
    except (errors.HubOfflineError, errors.HubTimeoutError, errors.ConnectionLostError) as error:
        listing = cache.cached_listing(client.cache_dir, place)
        try:
            if listing is not None:
                return _chosen(place, listing, client)
        except (errors.NoSAEError, errors.HubOfflineError):
            log.info("The cache has %s only in part.", place)
        error.hint = f"{error.hint or ''} {NOT_HERE}".strip()
        raise


def download(
    reference: str | HubReference, *, client: HubClient | None = None,
    emit_progress: Callable[[Progress], None] | None = None, check: Callable[[], None] = lambda: None,
    on_plan: Callable[[DownloadPlan], None] = lambda _: None, branch: str | None = None,
    listing: Listing | None = None, format: str = "",
) -> Downloaded:
    """Bring one SAE into the hub cache and return where it is (see `Workspace.hub.download`).

    What is in the cache already needs no network: neither with a `listing`, nor without one where the hub cannot be
    reached and the commit is named or noted in the cache. Every file is compared with the size and hash that the
    repository lists, also those that were in the cache already.

    Args:
        emit_progress: called at most ten times a second with the bytes that have arrived.
        check: called several times a second; what it raises ends the download.
        on_plan: called once with what will be fetched, before the first byte is.
        branch: the branch or tag that led to the commit which `reference` names: it is noted in the cache, so that
            other tools find the files under it without a network.
        listing: exactly the files of the SAE that `reference` names (`cache.from_rows`); None: from the hub.
        format: of the SAE, with a `listing`.

    Raises:
        DiskFullError: it does not fit; nothing was fetched.
        HubError, StorageError: what arrived is kept, except after `WrongHashError`.
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
        raise errors.DiskFullError(
            f"Not enough disk space. The download needs {size(plan.missing_bytes)} and {size(free)} is free.",
            where=str(client.cache_dir),
            hint="Free some space, choose a narrower width, or set HF_HUB_CACHE to a larger disk.",
        )
    transfer = _Transfer(client, listing, total, check, emit_progress or (lambda _: None))
    for file in sorted(plan.files, key=lambda file: file.size):
        transfer.bring(file)
    cache.record_reference(client.cache_dir, "models", listing.repo_id, listing.branch or branch, listing.revision)
    transfer.show("checking", force=True)
    location = cache.repo_folder(client.cache_dir, listing.repo_id) / "snapshots" / listing.revision / plan.path
    return Downloaded(
        repo_id=listing.repo_id, revision=listing.revision, path=plan.path, format=plan.format,
        folder=location.parent if plan.path in listing.files else location, location=location,
        files=tuple(cache.snapshot_file(client.cache_dir, listing, file) for file in plan.files), total_bytes=total,
        fetched_bytes=transfer.fetched, seconds=time.monotonic() - started,
    )


def discard(partials: Iterable[str | Path]) -> int:
    """Remove unfinished files of a download that is not running (`DownloadPlan.partials`); returns the bytes freed.
    Raises `StorageError` where a path is not such a file of a hub cache."""
    freed = 0
    for partial in map(Path, partials):
        if partial.suffix != cache.PARTIAL or partial.parent.name != "blobs" or ".." in partial.parts:
            raise StorageError("This is not an unfinished download.", where=str(partial))
        with storage_errors("It cannot be removed", partial, "Remove it by hand."):
            held = size_of(partial)
            partial.unlink(missing_ok=True)
            freed += held
    return freed


def _chosen(place: HubReference, listing: Listing, client: HubClient) -> DownloadPlan:
    variant = choose(variants(place, client=client, listing=listing), place)
    files = tuple(needed_files(listing, variant.path, variant.format).values())
    return _plan(client, listing, variant.path, variant.format, files, variant)


def _plan(
    client: HubClient, listing: Listing, path: str, format: str, files: tuple[RepoFile, ...],
    variant: Variant | None = None,
) -> DownloadPlan:
    missing = cache.missing_bytes(client.cache_dir, listing, files)
    blobs = (cache.blob_file(client.cache_dir, listing, file, cache.PARTIAL) for file in files)
    partials = tuple(str(blob.absolute()) for blob in blobs)
    return DownloadPlan(listing, path, format, files, missing, partials, variant)


# --- File after file -------------------------------------------------------------------------------------------------


class _Transfer:
    """Brings files into the cache and reports bytes at most ten times a second; the rate is that of the last five
    seconds."""

    def __init__(
        self, client: HubClient, listing: Listing, total: int, check: Callable[[], None],
        emit: Callable[[Progress], None],
    ) -> None:
        self._client, self._listing, self._total = client, listing, total
        self._check, self._emit = check, emit
        self._done, self.fetched = 0, 0
        self._told = -1.0
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def bring(self, file: RepoFile) -> None:
        """One file, checked and placed in its snapshot; from the cache if it is there."""
        folder = self._client.cache_dir
        with cache.locked(folder, self._listing, file, self._check):
            present, digest = cache.cached_file(folder, self._listing, file), file.new_digest()
            if present is not None:
                with contextlib.suppress(OSError), present.open("rb", buffering=0) as source:
                    while block := source.read(READ):
                        digest.update(block)
                        self._check()
                        self.show("checking")
            if present is not None and digest.hexdigest() == file.etag:
                self._count(file.size)
            else:
                self._fetch(file)
            cache.place(folder, self._listing, file)

    def _fetch(self, file: RepoFile) -> None:
        """Bring `file` into the cache's blobs, from where an earlier try stopped. The caller holds its lock.

        What is on the disk was always hashed, and nothing gets its final name before its hash is right.
        """
        partial = cache.blob_file(self._client.cache_dir, self._listing, file, cache.PARTIAL)
        with _disk_errors(partial, file):
            partial.parent.mkdir(parents=True, exist_ok=True)
            if partial.is_symlink() or not partial.is_file():
                partial.unlink(missing_ok=True)
            with open(partial, "r+b" if partial.exists() else "w+b") as target:
                if os.fstat(target.fileno()).st_size > file.size:
                    target.truncate(0)
                digest, have = file.new_digest(), 0
                while block := target.read(READ):
                    digest.update(block)
                    have += len(block)
                    self._check()
                self._count(have)
                for block in self._arriving(file, have):
                    target.write(block)
                    digest.update(block)
                    self.fetched += len(block)
                    self._count(len(block))
            if digest.hexdigest() != file.etag:
                partial.unlink(missing_ok=True)
                self._count(-file.size)
                raise errors.WrongHashError(
                    "The file that arrived is not the one the repository lists: its hash differs.",
                    where=f"{self._listing.repo_id}/{file.path}",
                    hint="It was thrown away. Try again; if it happens again, tell the owner of the repository.",
                )
            os.replace(partial, cache.blob_file(self._client.cache_dir, self._listing, file))

    def _arriving(self, file: RepoFile, have: int) -> Iterator[bytes]:
        """The bytes of a file from `have` on. A connection that breaks off is taken up again where it did."""
        url = self._client.file_url(self._listing.repo_id, self._listing.revision, file.path)
        where = f"{self._listing.repo_id}/{file.path}"
        changed = errors.FileChangedError(
            "The hub serves another version of the file than the one it listed.", where=where,
            hint="List the repository again, then retry.",
        )

        def wait(seconds: float) -> None:
            until = time.monotonic() + seconds
            while True:
                self._check()
                left = max(0.0, until - time.monotonic())
                if self._due():
                    self._emit(Progress(
                        self._done, self._total, "bytes", phase="retrying", attempt=attempts.count, wait_seconds=left
                    ))  # fmt: skip
                if not left:
                    return
                time.sleep(min(PATIENCE, left))

        attempts = Attempts(self._client, wait)
        while have < file.size:
            self._check()
            try:
                with self._client.open(url, {"range": f"bytes={have}-"} if have else {}) as response:
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
                            attempts.count = 0
                        self._check()
                if have < file.size:
                    raise errors.TruncatedFileError("The hub sent less of the file than it lists.", where=where)
            except Exception as error:  # noqa: BLE001 - of two network libraries (or of `check`); see `explained`
                found = errors.explained(error, url, self._client.redact)
                broken_off = _with_amount(found, attempts.count + 1, have, file, where)
                attempts.failed(broken_off or found, again=broken_off is not None)

    def _count(self, count: int) -> None:
        """Bytes that are there now; negative for some that have to be fetched again."""
        self._done += count
        self.show("downloading")

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
        self._emit(Progress(self._done, self._total, "bytes", rate, eta, phase))

    def _due(self, force: bool = False) -> bool:
        now = time.monotonic()
        if now - self._told < 0.1 and not force:
            return False
        self._told = now
        return True


def _with_amount(error: BaseException, count: int, have: int, file: RepoFile, where: str) -> errors.HubError | None:
    """A broken connection as the person reads it: how often, where, and that nothing is lost; None for other errors."""
    passing = (errors.ConnectionLostError, errors.TruncatedFileError, errors.HubOfflineError)
    if not isinstance(error, passing) or error.where == errors.SWITCH:
        return None
    what = "The hub ended the file early" if isinstance(error, errors.TruncatedFileError) else "Lost the connection"
    times = "once" if count == 1 else f"{count} times"
    told = type(error)(
        f"{what} {times} at {size(have)} of {size(file.size)}. What arrived is kept.", where=where,
        hint="Try again: the download continues where it stopped.",
    )
    told.__cause__ = error.__cause__
    return told


@contextlib.contextmanager
def _disk_errors(partial: Path, file: RepoFile) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if disk_full(error):
            what = f"The disk is full; {size(file.size)} were to be written."
            hint = "Free some space and try again: the download continues where it stopped."
            raise errors.DiskFullError(what, where=str(partial), hint=hint) from error
        raise cache.not_writable(error, partial) from error
