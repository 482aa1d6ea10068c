"""`HubClient`: one endpoint, one token kept in memory, the cache on this machine, and what was already listed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import constants

from saewidgets.hub.errors import HubError
from saewidgets.hub.transport import Transport

T = TypeVar("T")


class HubClient(Transport):
    """The hub as this package sees it. Safe to use from several threads.

    Args:
        token: access token, kept in memory only; None: huggingface_hub's own rules (``HF_TOKEN``, a saved login).
        endpoint: None: huggingface_hub's (``HF_ENDPOINT``).
        cache_dir: the hub cache that other tools share; None: huggingface_hub's (``HF_HUB_CACHE``).
        timeout: seconds to wait for a connection and for each piece of an answer; None: ``HF_HUB_DOWNLOAD_TIMEOUT``.
        retries: how often a request is tried again after a failure that may pass.
        storage_hosts: further hosts that may serve files.

    Raises:
        InvalidTokenError: `token` cannot be one; the message does not show it.
    """

    def __init__(
        self,
        token: str | None = None,
        endpoint: str | None = None,
        *,
        cache_dir: str | Path | None = None,
        timeout: float | None = None,
        retries: int = 5,
        storage_hosts: tuple[str, ...] = (),
    ) -> None:
        super().__init__(token, endpoint, timeout=timeout, retries=retries, storage_hosts=storage_hosts)
        self.cache_dir = Path(cache_dir or constants.HF_HUB_CACHE)
        self._known: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def account(self) -> str | None:
        """The name that the token belongs to; None without a token or if the hub does not say."""
        if not self.signed_in():
            return None
        try:
            data, _ = self.get_json(f"{self.endpoint}/api/whoami-v2")
        except HubError:
            return None
        return str(data["name"]) if isinstance(data, dict) and data.get("name") else None

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` returned for `key` the last time; the 32 used last are kept. Errors are not."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                found: T = self._known[key]
                return found
        made = make()
        with self._lock:
            self._known[key] = made
            while len(self._known) > 32:
                self._known.popitem(last=False)
        return made

    def kept(self, key: Any) -> Any:
        """What `once` returned for `key`; None if it was not asked or is kept no longer."""
        with self._lock:
            return self._known.get(key)

    def refresh(self) -> None:
        """Forgets every listing, so that the next look asks the hub again."""
        with self._lock:
            self._known.clear()
