"""Parts of files that were read over the network, kept so that the next look at the same SAE need not ask again."""

from __future__ import annotations

import threading
from collections import OrderedDict

MOST_BYTES = 8_000_000  # of one commit; what was used longest ago goes first


class Ranges:
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
            while self._held > MOST_BYTES:
                self._held -= len(self._kept.popitem(last=False)[1])
