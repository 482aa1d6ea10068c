"""The files of a dataset on the hub, opened where they are: in the cache of this machine, else by ranged reads."""

from __future__ import annotations

import io
from functools import partial
from typing import IO, Any
from urllib.parse import unquote

from huggingface_hub import HfFileSystem, try_to_load_from_cache

from saewidgets.activations.shards import Shard, kind_of
from saewidgets.hub import HubClient
from saewidgets.hub.errors import TruncatedFileError


def file_system(client: HubClient) -> HfFileSystem:
    """Files of the hub by ranged reads, with the endpoint and token of `client`."""
    return HfFileSystem(endpoint=client.endpoint, token=client.secret(), skip_instance_cache=True)


def hub_shard(client: HubClient, system: HfFileSystem, path: str, commit: str, address: str) -> Shard | None:
    """The file at `address` (``hf://datasets/owner/name@commit/file``); None where it has no rows that are known here.

    `datasets` made the address from the repository's card, so it may lead anywhere: see `is_inside`.
    """
    file = inside(path, commit, address)
    kind = None if file is None else kind_of(file)
    if file is None or kind is None:
        return None
    return Shard(f"{path}/{file}", kind, partial(_open, client, system, path, commit, file))


def inside(path: str, commit: str, address: str) -> str | None:
    """The file below the root of the repository; None where `address` leads out of it."""
    start = f"hf://datasets/{path}@{commit}/"
    found = unquote(address)
    if not found.startswith(start) or "::" in found or ".." in found.split("/"):
        return None
    return found.removeprefix(start)


def _open(client: HubClient, system: HfFileSystem, path: str, commit: str, file: str) -> IO[bytes]:
    cached = try_to_load_from_cache(path, file, cache_dir=client.cache_dir, revision=commit, repo_type="dataset")
    if isinstance(cached, str):
        return open(cached, "rb")
    return io.BufferedReader(_Checked(system.open(f"datasets/{path}@{commit}/{file}", "rb"), f"{path}/{file}"), 1 << 16)


class _Checked(io.RawIOBase):
    """A remote file that notices when it got fewer bytes than it asked for."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name, self._size = file, name, int(file.size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        place = self._file.tell()
        wanted = min(len(buffer), self._size - place)
        data = self._file.read(wanted) if wanted > 0 else b""
        if len(data) < wanted:
            raise TruncatedFileError(
                f"The hub sent {len(data):,} bytes where {wanted:,} were expected.", where=self._name, hint="Try again."
            )
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
