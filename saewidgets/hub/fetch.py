"""One file from the hub into the cache: ranged, resumed, hashed while it arrives.

A thread of its own reads from the network, so that a pause takes effect at once even while the hub says nothing; the
caller's thread hashes and writes. What is on the disk was always hashed, and nothing gets its final name before its
hash is right.
"""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from saewidgets.errors import StorageError
from saewidgets.hub import cache, failures
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import (
    ConnectionLostError,
    DiskFullError,
    FileChangedError,
    HubError,
    HubOfflineError,
    TruncatedFileError,
    WrongHashError,
)
from saewidgets.hub.listing import Listing, RepoFile
from saewidgets.hub.source import check_version, resolve_url
from saewidgets.hub.transport import Attempts, Reply
from saewidgets.render.numbers import size

BLOCK = 1 << 20  # bytes that go through the queue at once
AHEAD = 16  # blocks that may wait for the disk
PATIENCE = 0.1  # seconds between two looks at whether to stop


class Meter(Protocol):
    """Counts bytes: those that came over the network, and those that need not (or, negative, have to again).

    `retrying` is told while nothing comes because a try failed: which repetition is next, and in how many seconds.
    """

    def add(self, count: int) -> None: ...
    def skip(self, count: int) -> None: ...
    def retrying(self, attempt: int, wait: float) -> None: ...


def fetch(client: HubClient, listing: Listing, file: RepoFile, check: Callable[[], None], meter: Meter) -> None:
    """Bring `file` into the cache's blobs, from where an earlier try stopped. The caller holds its lock.

    Raises:
        HubError: as one of its children; the part that arrived is kept unless its hash is wrong.
        StorageError: the cache cannot be written.
        Exception: whatever `check` raises.
    """
    blob = cache.blob_file(client.cache_dir, listing, file)
    partial = cache.partial_file(client.cache_dir, listing, file)
    where = f"{listing.repo_id}/{file.path}"
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        if partial.is_symlink() or not partial.is_file():
            partial.unlink(missing_ok=True)
        with partial.open("r+b" if partial.exists() else "w+b", buffering=0) as target:
            digest, have = _resume(target, file, check)
            if have < file.size:
                with _Stream(client, listing, file, have) as stream:
                    while have < file.size:
                        check()
                        block = stream.take()
                        if block:
                            _write(target, block)
                            digest.update(block)
                            have += len(block)
                            meter.add(len(block))
                        elif (failed := stream.failed) is not None:
                            meter.retrying(failed[0], max(0.0, failed[1] - time.monotonic()))
        if digest.hexdigest() != file.etag:
            partial.unlink(missing_ok=True)
            meter.skip(-file.size)
            raise WrongHashError(
                "The file that arrived is not the one the repository lists: its hash differs.",
                where=where,
                hint="It was thrown away. Try again; if it happens again, tell the owner of the repository.",
            )
        os.replace(partial, blob)
    except OSError as error:
        if isinstance(error, StorageError | HubError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"The disk is full; {size(file.size)} were to be written.",
                where=str(partial),
                hint="Free some space and try again: the download continues where it stopped.",
            ) from error
        raise StorageError(
            f"The hub cache cannot be written ({error.strerror or error}).",
            where=str(partial),
            hint="Check the folder that HF_HUB_CACHE names.",
        ) from error


def has_right_hash(path: Path, file: RepoFile, check: Callable[[], None], tick: Callable[[], None]) -> bool:
    """Whether what lies at `path` is the listed file."""
    digest = new_digest(file)
    try:
        with path.open("rb", buffering=0) as source:
            while block := source.read(8 * BLOCK):
                digest.update(block)
                check()
                tick()
    except OSError:
        return False
    return bool(digest.hexdigest() == file.etag)


def new_digest(file: RepoFile) -> Any:
    """The hash by which the repository lists the file: SHA-256 of large ones, git's own for the others."""
    if file.sha256 is not None:
        return hashlib.sha256()
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % file.size)
    return digest


def _write(target: Any, block: bytes) -> None:
    """All of `block`: an unbuffered file may take less at once."""
    rest = memoryview(block)
    while rest:
        rest = rest[target.write(rest) :]


def _resume(target: Any, file: RepoFile, check: Callable[[], None]) -> tuple[Any, int]:
    """The hash of what has arrived earlier, and how much that is. Too much is none."""
    digest, have = new_digest(file), 0
    if os.fstat(target.fileno()).st_size > file.size:
        target.truncate(0)
    while block := target.read(8 * BLOCK):
        digest.update(block)
        have += len(block)
        check()
    return digest, have


class _Stream:
    """The bytes of a file from `start` on, read by a thread that tries again by itself."""

    def __init__(self, client: HubClient, listing: Listing, file: RepoFile, start: int) -> None:
        self._client, self._file = client, file
        self._url = resolve_url(client, listing, file)
        self._where = f"{listing.repo_id}/{file.path}"
        self._position = start
        self._blocks: queue.Queue[bytes | BaseException] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="saewidgets-download", daemon=True)
        self._attempts = Attempts(client, self._wait)
        self.failed: tuple[int, float] | None = None  # which repetition comes, and when, until something arrives

    def __enter__(self) -> _Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that waits for a silent hub ends with its time-out; nobody has to wait for that.
        self._stop.set()
        self._thread.join(PATIENCE)

    def take(self) -> bytes:
        """The next bytes; empty if there are none yet. Raises what ended the stream."""
        try:
            block = self._blocks.get(timeout=PATIENCE)
        except queue.Empty:
            return b""
        if isinstance(block, BaseException):
            raise block
        return block

    def _run(self) -> None:
        attempts = self._attempts
        try:
            while self._position < self._file.size:
                try:
                    self._read()
                except _StoppedError:
                    raise
                except Exception as error:  # noqa: BLE001 - of two network libraries; sorted out in `failures`
                    found = failures.from_exception(error, self._url, self._client.redact)
                    offline = isinstance(found, HubOfflineError) and found.where != failures.SWITCH
                    attempts.failed(self._told(found, attempts.count + 1), again=offline or _cut(found))
        except _StoppedError:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller's thread must hear of it
            self._put(error, quiet=True)

    def _read(self) -> None:
        headers = {"range": f"bytes={self._position}-"} if self._position else {}
        with self._client.open(self._url, headers=headers, on_redirect=self._check, endless=True) as reply:
            if reply.status not in (200, 206):
                body = reply.start()
                raise failures.from_reply(reply.status, reply.headers, body, self._url, self._client.redact)
            skip = self._begin(reply)
            held: list[bytes] = []
            count, since = 0, time.monotonic()
            try:
                for chunk in reply.chunks():
                    if self._stop.is_set():
                        raise _StoppedError
                    if skip:
                        skip, chunk = max(0, skip - len(chunk)), chunk[skip:]
                    held.append(chunk)
                    count += len(chunk)
                    if count >= BLOCK or time.monotonic() - since > PATIENCE:
                        full, held = held, []
                        amount, count, since = count, 0, time.monotonic()
                        self._hand_over(full, amount)
                        self._attempts.succeeded()
            finally:  # what came before a connection broke off counts too
                self._hand_over(held, count)
        if self._position < self._file.size:
            raise TruncatedFileError("The hub sent less of the file than it lists.", where=self._where)

    def _begin(self, reply: Reply) -> int:
        """How many bytes at the start of this answer are there already."""
        if reply.url == self._url:
            self._check(reply)
        length, span = reply.headers.get("content-length", ""), reply.headers.get("content-range", "")
        if reply.status == 206:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", span.strip())
            if found is None or int(found[1]) != self._position or found[3] not in ("*", str(self._file.size)):
                raise self._changed()
            return 0
        if length.isdigit() and int(length) > self._file.size:
            raise self._changed()
        return self._position  # the hub ignored the range and sends all of it again

    def _check(self, reply: Reply) -> None:
        check_version(reply.headers, self._file, self._where)

    def _changed(self) -> FileChangedError:
        return FileChangedError(
            "The hub serves another version of the file than the one it listed.",
            where=self._where,
            hint="List the repository again, then retry.",
        )

    def _hand_over(self, blocks: list[bytes], count: int) -> None:
        if self._position + count > self._file.size:
            raise self._changed()
        if count:
            self._position += count
            self.failed = None
            self._put(b"".join(blocks))

    def _put(self, block: bytes | BaseException, *, quiet: bool = False) -> None:
        while not self._stop.is_set():
            try:
                return self._blocks.put(block, timeout=PATIENCE)
            except queue.Full:
                continue
        if not quiet:
            raise _StoppedError

    def _wait(self, seconds: float) -> None:
        self.failed = (self._attempts.count, time.monotonic() + seconds)
        if self._stop.wait(seconds):
            raise _StoppedError

    def _told(self, error: BaseException, count: int) -> BaseException:
        """A broken connection as the person reads it: how often, where, and that nothing is lost."""
        if not isinstance(error, ConnectionLostError | TruncatedFileError | HubOfflineError):
            return error
        if isinstance(error, HubOfflineError) and error.where == failures.SWITCH:
            return error
        arrived = f"{size(self._position)} of {size(self._file.size)}"
        times = "once" if count == 1 else f"{count} times"
        what = f"Lost the connection {times} at {arrived}. What arrived is kept."
        if isinstance(error, TruncatedFileError):
            what = f"The hub ended the file early {times}, at {arrived}. What arrived is kept."
        told = type(error)(what, where=self._where, hint="Try again: the download continues where it stopped.")
        told.__cause__ = error.__cause__
        return told


class _StoppedError(Exception):
    """The caller has gone; the thread ends."""


def _cut(error: BaseException) -> bool:
    return isinstance(error, TruncatedFileError)
