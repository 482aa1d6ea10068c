"""A folder on the hub of which only ranges are read, for formats to look into."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from saewidgets.errors import FormatError, StorageError
from saewidgets.hub import failures
from saewidgets.hub.cache import cached_file
from saewidgets.hub.client import HubClient
from saewidgets.hub.errors import EntryNotFoundError, FileChangedError, HubError, TruncatedFileError
from saewidgets.hub.listing import Listing, RepoFile
from saewidgets.hub.ranges import Ranges
from saewidgets.hub.transport import Attempts

MAX_BYTES = 4_000_000  # of one folder: whoever wants more wants the weights


class HubSource:
    """The files of one SAE in a repository. A `saewidgets.formats.source.Source`.

    A range is asked for once and kept by the client; what the hub's cache on this machine has is read there.
    Requests go to the pinned commit, so that all ranges are of the same files. Not for several threads.

    Args:
        listing: the repository at one commit.
        path: folder, or the file of an SAE that consists of one.

    Attributes:
        fetched: bytes that came over the network.

    Raises:
        EntryNotFoundError: the repository has neither a folder nor a file of that name.
    """

    def __init__(self, listing: Listing, path: str, client: HubClient) -> None:
        found = listing.below(path)
        if not found:
            raise EntryNotFoundError(
                "The repository has no such folder or file.",
                where=f"{listing.repo_id}/{path}",
                hint="List the SAEs of the repository first.",
            )
        self.only = path.rpartition("/")[2] if path in listing.files else None
        self.folder = path.rpartition("/")[0] if self.only else path
        self.label = f"{listing.repo_id}@{listing.revision}" + (f"/{self.folder}" if self.folder else "")
        self.fetched = 0
        self._listing = listing
        self._client = client
        self._files: Mapping[str, RepoFile] = found
        self._ranges = client.once(("ranges", listing.repo_id, listing.revision), Ranges)
        self._storage: dict[str, str] = {}  # where a file's redirect led: the next range asks there at once

    def around(self) -> HubSource | None:
        """As `saewidgets.formats.source.OfOneFile.around`."""
        return HubSource(self._listing, self.folder, self._client) if self.only else None

    def files(self) -> Mapping[str, int]:
        return {name: file.size for name, file in self._files.items()}

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """As `Source.read`.

        Raises:
            FormatError: there is no such file, or more is asked for than a look needs.
            HubError: the hub did not deliver it.
        """
        file = self._files.get(name)
        if file is None:
            raise FormatError("The file is missing.", where=f"{self.label}/{name}")
        end = file.size if length is None else min(file.size, start + length)
        if start < 0 or end <= start:
            return b""
        if (kept := self._ranges.find(file.path, start, end)) is not None:
            return kept
        if (path := cached_file(self._client.cache_dir, self._listing, file)) is not None:
            try:
                with path.open("rb") as cached:
                    cached.seek(start)
                    return cached.read(end - start)
            except OSError as error:
                raise StorageError("A file of the hub cache cannot be read.", where=str(path)) from error
        if self.fetched + end - start > MAX_BYTES:
            raise FormatError(
                "More of this file would have to be read than a preview should fetch.",
                where=f"{self.label}/{name}",
                hint="Download the SAE to see what it is.",
            )
        data = self._fetch(file, name, start, end)
        self.fetched += len(data)
        self._ranges.keep(file.path, start, data)
        return data

    def _fetch(self, file: RepoFile, name: str, start: int, end: int) -> bytes:
        attempts = Attempts(self._client)
        while True:
            url = self._storage.get(name) or resolve_url(self._client, self._listing, file)
            try:
                return self._range(file, name, url, start, end)
            except Exception as error:  # noqa: BLE001 - of two network libraries; sorted out in `failures`
                stale = self._storage.pop(name, None) is not None  # a signed address may have run out
                attempts.failed(failures.from_exception(error, url, self._client.redact), again=stale)

    def _range(self, file: RepoFile, name: str, url: str, start: int, end: int) -> bytes:
        client, where = self._client, f"{self.label}/{name}"
        with client.open(
            url,
            headers={"range": f"bytes={start}-{end - 1}"},
            on_redirect=lambda reply: check_version(reply.headers, file, where),
        ) as reply:
            if reply.status not in (200, 206):
                raise failures.from_reply(reply.status, reply.headers, reply.start(), url, client.redact)
            if reply.url == url:
                check_version(reply.headers, file, where)
            else:
                self._storage[name] = reply.url
            skip = start if reply.status == 200 else 0  # a server without ranges sends all of it: stop when there
            if skip > MAX_BYTES:
                raise HubError("The hub does not send parts of files.", where=where, hint="Download the SAE instead.")
            parts, size = [], 0
            for chunk in reply.chunks():
                parts.append(chunk)
                size += len(chunk)
                if size >= skip + end - start:
                    break
        data = b"".join(parts)[skip : skip + end - start]
        if len(data) != end - start:
            raise TruncatedFileError("The hub sent less of the file than it said.", where=where, hint="Try again.")
        return data


def resolve_url(client: HubClient, listing: Listing, file: RepoFile) -> str:
    """The address of a file at the pinned commit."""
    return f"{client.endpoint}/{quote(listing.repo_id)}/resolve/{listing.revision}/{quote(file.path)}"


def check_version(headers: Mapping[str, str], file: RepoFile, where: str) -> None:
    """Raise `FileChangedError` if an answer of the hub itself is about another content than the listing's."""
    etag = headers.get("x-linked-etag") or headers.get("etag") or ""
    etag = etag.removeprefix("W/").strip('"')
    size = headers.get("x-linked-size") or ""
    if (etag and etag not in (file.etag, file.git)) or (size.isdigit() and int(size) != file.size):
        raise FileChangedError(
            "The hub serves another version of the file than the one it listed.",
            where=where,
            hint="List the repository again, then retry.",
        )
