"""Downloading one SAE into the hub cache: planned from the listing, resumable, every byte checked.

A download can be stopped at any moment through `check`, which raises `Interruption`: after a pause (or a crash) what
arrived stays in the cache and the next download goes on from there; after a cancel it is removed.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from saewidgets.errors import StorageError
from saewidgets.events import Interruption, Progress, Request
from saewidgets.hub import cache, space
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import (
    ConnectionLostError,
    DiskFullError,
    HubOfflineError,
    HubTimeoutError,
    NoSAEError,
)
from saewidgets.hub.fetch import fetch, has_right_hash
from saewidgets.hub.listing import Listing, RepoFile, list_repository
from saewidgets.hub.looking import NOT_HERE
from saewidgets.hub.offline import cached_listing
from saewidgets.hub.reference import HubReference, parse_reference
from saewidgets.hub.variants import choose, needed_files, variants
from saewidgets.hub_records import Variant
from saewidgets.render.numbers import size

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What a download is going to do, known before the first byte of weights.

    Attributes:
        revision: the commit; name it in later calls to get the same files whatever happens to the branch.
        path: folder or file of the SAE in the repository.
        total_bytes: of all its files.
        missing_bytes: what is not in the cache yet, partly arrived files counted by what they lack.
        partials: absolute paths under which unfinished files are kept; `discard` removes them.
        asked: the branch or tag by which the commit was found; None for a commit.
        listed: `files` with sizes and hashes; `recorded.to_rows` makes plain data of them.
        variant: what the repository's names say of the SAE; None where `download` was given a listing.
        base_models, license: models and licence that the repository's card names.
    """

    repo_id: str
    revision: str
    path: str
    format: str
    files: tuple[str, ...]
    total_bytes: int
    missing_bytes: int
    partials: tuple[str, ...]
    asked: str | None = None
    listed: tuple[RepoFile, ...] = field(default=(), repr=False)
    variant: Variant | None = field(default=None, repr=False)
    base_models: tuple[str, ...] = ()
    license: str | None = None


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
    return _plan(client, _find(reference, client))


def download(
    reference: str | HubReference,
    *,
    client: HubClient | None = None,
    emit_progress: Callable[[Progress], None] | None = None,
    check: Callable[[], None] | None = None,
    on_plan: Callable[[DownloadPlan], None] | None = None,
    asked: str | None = None,
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
        check: called several times a second; what it raises ends the download. `Interruption` with
            `Request.CANCEL` also removes what has arrived of unfinished files; anything else keeps it.
        on_plan: told once what will be fetched, before anything is.
        asked: the branch or tag that led to the commit which `reference` names (`DownloadPlan.asked`): it is noted in
            the cache, so that other tools find the files under it without a network.
        listing: exactly the files of the SAE that `reference` names (`recorded.from_rows`), so that the hub need not be
            asked for them again; None: it is.
        format: of the SAE, with a `listing`.

    Raises:
        ConfigError: the reference cannot be read, or means several SAEs.
        DiskFullError: it does not fit; nothing was fetched.
        HubError: as one of its children; what arrived is kept, except after `WrongHashError`.
        StorageError: the cache cannot be written.
        Interruption: whatever `check` raised.
    """
    client, check = client or HubClient(), check or _nothing
    started = time.monotonic()
    check()
    if listing is None:
        found = _find(reference, client)
    else:
        path = parse_reference(reference).path
        found = _Found(listing, path, format, tuple(listing.files.values()))
    listing, files = found.listing, found.files
    plan = _plan(client, found)
    if on_plan is not None:
        on_plan(plan)
    check()
    _require_space(client.cache_dir, plan)
    meter = _Meter(plan.total_bytes, emit_progress)
    try:
        for file in sorted(files, key=lambda file: file.size):
            _bring(client, listing, file, check, meter)
    except Interruption as interruption:
        if interruption.request is Request.CANCEL:
            discard(plan.partials)
        raise
    cache.record_branch(client.cache_dir, listing, listing.asked or asked)
    meter.show("checking", force=True)
    paths = {file.path: cache.snapshot_file(client.cache_dir, listing, file) for file in files}
    location = cache.repo_folder(client.cache_dir, listing.repo_id) / "snapshots" / listing.revision / plan.path
    return Downloaded(
        repo_id=listing.repo_id,
        revision=listing.revision,
        path=plan.path,
        format=plan.format,
        folder=location.parent if plan.path in listing.files else location,
        location=location,
        files=tuple(paths[name] for name in plan.files),
        total_bytes=plan.total_bytes,
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


@dataclass(frozen=True, slots=True)
class _Found:
    """One SAE of a listing, and the files that make it up."""

    listing: Listing
    path: str
    format: str
    files: tuple[RepoFile, ...]
    variant: Variant | None = None


def _find(reference: str | HubReference, client: HubClient) -> _Found:
    place = parse_reference(reference)
    try:
        return _found(place, list_repository(place, client=client), client)
    except (HubOfflineError, HubTimeoutError, ConnectionLostError) as error:
        listing = cached_listing(client.cache_dir, place)
        try:
            if listing is not None:
                return _found(place, listing, client)
        except (NoSAEError, HubOfflineError):
            log.info("The cache has %s only in part.", place)
        error.hint = f"{error.hint or ''} {NOT_HERE}".strip()
        raise


def _found(place: HubReference, listing: Listing, client: HubClient) -> _Found:
    variant = choose(variants(place, client=client, listing=listing), place)
    files = needed_files(listing, variant.path, variant.format).values()
    return _Found(listing, variant.path, variant.format, tuple(files), variant)


def _plan(client: HubClient, found: _Found) -> DownloadPlan:
    listing, files = found.listing, found.files
    return DownloadPlan(
        repo_id=listing.repo_id,
        revision=listing.revision,
        path=found.path,
        format=found.format,
        files=tuple(file.path for file in files),
        total_bytes=sum(file.size for file in files),
        missing_bytes=cache.missing_bytes(client.cache_dir, listing, files),
        partials=tuple(str(cache.partial_file(client.cache_dir, listing, file).absolute()) for file in files),
        asked=listing.asked,
        listed=files,
        variant=found.variant,
        base_models=listing.info.base_models,
        license=listing.info.license,
    )


def _require_space(folder: Path, plan: DownloadPlan) -> None:
    free = space.free_bytes(folder)
    if free is not None and plan.missing_bytes > free:
        raise DiskFullError(
            f"Not enough disk space. The download needs {size(plan.missing_bytes)} and {size(free)} is free.",
            where=str(folder),
            hint="Free some space, choose a narrower width, or set HF_HUB_CACHE to a larger disk.",
        )


def _bring(client: HubClient, listing: Listing, file: RepoFile, check: Callable[[], None], meter: _Meter) -> None:
    """One file, checked and placed in its snapshot; from the cache if it is there."""
    with cache.locked(client.cache_dir, listing, file, check):
        present = cache.cached_file(client.cache_dir, listing, file)
        if present is not None and has_right_hash(present, file, check, lambda: meter.show("checking")):
            meter.skip(file.size)
        else:
            held = min(file.size, cache.size_of(cache.partial_file(client.cache_dir, listing, file)))
            meter.skip(held)
            fetch(client, listing, file, check, meter)
        cache.place(client.cache_dir, listing, file)


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
        self._done += count
        self.fetched += count
        self.show("downloading")

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


def _nothing() -> None:
    return None
