"""`Listeners`: whoever wants to know that something has changed in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Listeners:
    """Functions that are told the id of what has changed, from the thread that changed it."""

    def __init__(self) -> None:
        self._all: tuple[Callable[[str | None], None], ...] = ()

    def add(self, fn: Callable[[str | None], None]) -> Callable[[], None]:
        """Add a listener; the returned function removes it again."""
        self._all = (*self._all, fn)

        def end() -> None:
            self._all = tuple(each for each in self._all if each is not fn)

        return end

    def tell(self, changed: str | None) -> None:
        """Tell all; one that fails does not keep the others from hearing it."""
        for fn in self._all:
            try:
                fn(changed)
            except Exception:  # a broken view must not undo the change it was told of; the traceback says which
                log.exception("A listener of the library failed: %r", fn)


def all_of(*ends: Callable[[], None]) -> Callable[[], None]:
    """The function that ends several subscriptions."""

    def end() -> None:
        for each in ends:
            each()

    return end
