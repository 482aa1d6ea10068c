"""A folder on the hub of which only ranges are read, for formats to look into."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from saewidgets.errors import FormatError, StorageError
from saewidgets.hub.cache import cached_file
from saewidgets.hub.client import HubClient, resolve_url
from saewidgets.hub.errors import EntryNotFoundError, TruncatedFileError
from saewidgets.hub.repository import Listing, RepoFile

MAX_BYTES = 4_000_000  # of one folder: whoever wants more wants the weights
KEPT_BYTES = 8_000_000  # of one commit; what was used longest ago goes first


class HubSource:
    """The files of one SAE in a repository. A `saewidgets.formats.source.Source`.

    A range is asked for once and kept by the client; what the hub's cache on this machine has is read there.
    Requests go to the pinned commit, so that all ranges are of the same files. Not for several threads.

    Args:
        listing: the repository at one commit.
        path: folder, or the file of an SAE that consists of one.

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
        self._fetched = 0
        self._listing = listing
        self._client = client
        self._files: Mapping[str, RepoFile] = found
        self._ranges = client.once(("ranges", listing.repo_id, listing.revision), _Ranges)

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
        where, file = f"{self.label}/{name}", self._files.get(name)
        if file is None:
            raise FormatError("The file is missing.", where=where)
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
        if self._fetched + end - start > MAX_BYTES:
            raise FormatError(
                "More of this file would have to be read than a preview should fetch.",
                where=where,
                hint="Download the SAE to see what it is.",
            )
        url = resolve_url(self._client, self._listing.repo_id, self._listing.revision, file.path)
        data = self._client.get_range(url, start, end)
        if len(data) != end - start:
            raise TruncatedFileError("The hub sent less of the file than it said.", where=where, hint="Try again.")
        self._fetched += len(data)
        self._ranges.keep(file.path, start, data)
        return data


class _Ranges:
    """Parts of the files of one commit. For several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def find(self, path: str, start: int, end: int) -> bytes | None:
        """The bytes from `start` up to `end` of a file, if one part has all of them."""
        with self._lock:
            for key, data in self._kept.items():
                if key[0] == path and key[1] <= start and end <= key[1] + len(data):
                    self._kept.move_to_end(key)
                    return data[start - key[1] : end - key[1]]
        return None

    def keep(self, path: str, start: int, data: bytes) -> None:
        """Keep a part that begins at `start`."""
        with self._lock:
            self._held += len(data) - len(self._kept.pop((path, start), b""))
            self._kept[path, start] = data
            while self._held > KEPT_BYTES:
                self._held -= len(self._kept.popitem(last=False)[1])
