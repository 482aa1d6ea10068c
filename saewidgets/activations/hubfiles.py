"""The files of a dataset on the hub, opened where they are: in the cache of this machine, else by ranged reads."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from huggingface_hub import HfFileSystem, try_to_load_from_cache

from saewidgets.activations.shards import Shard, kind_of
from saewidgets.hub import HubClient
from saewidgets.hub.errors import HubOfflineError, TruncatedFileError


def file_system(client: HubClient) -> HfFileSystem:
    """Files of the hub by ranged reads, with the endpoint and token of `client`."""
    return HfFileSystem(endpoint=client.endpoint, token=client.secret(), skip_instance_cache=True)


def hub_shard(client: HubClient, system: HfFileSystem, path: str, commit: str, address: str) -> Shard | None:
    """The file at `address` (``hf://datasets/owner/name@commit/file``); None where it has no rows that are known here.

    `datasets` made the address from the repository's card, so it may lead anywhere: see `inside`.
    """
    file = inside(path, commit, address)
    kind = None if file is None else kind_of(file)
    if file is None or kind is None:
        return None
    return Shard(f"{path}/{file}", kind, partial(_open, client, system, path, commit, file))


def snapshot(client: HubClient, path: str, commit: str) -> Path | None:
    """The copy of the repository at this commit in the cache of this machine, which may lack files; None without."""
    folder = client.cache_dir / "--".join(["datasets", *path.split("/")]) / "snapshots" / commit
    return folder if folder.is_dir() else None


def address(copy: Path | None, path: str, commit: str, file: str) -> str:
    """The address on the hub of a file that was found in a copy; other addresses as they are."""
    if copy is None or "://" in file or not Path(file).is_relative_to(copy):
        return file
    return f"hf://datasets/{path}@{commit}/{Path(file).relative_to(copy).as_posix()}"


def require_all(path: str, files: Sequence[str]) -> None:
    """Raise `HubOfflineError` where a copy lacks some of the files of a split, by what their names count."""
    counted = [found for file in files if (found := re.search(r"-(\d{5})-of-(\d{5})\.", file))]
    total = sum({file[: found.start()]: int(found[2]) for file, found in zip(files, counted, strict=False)}.values())
    if len(counted) == len(files) and len(files) < total:
        raise HubOfflineError(
            f"Of the {total:,} files of this split of {path} the cache has {len(files):,}; the hub cannot be asked.",
            where="corpus", hint=f"Fetch the others while there is a network: hf download {path} --repo-type dataset.",
        )


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
