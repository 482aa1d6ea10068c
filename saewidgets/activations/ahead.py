"""Reading ahead in a thread: while one chunk is tokenised, the next ones arrive; who waits can be interrupted."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

_DEPTH = 3  # items that wait to be taken
_LOOK = 0.2  # seconds after which somebody who waits is asked whether to go on


def read_ahead(items: Iterator[T], check: Callable[[], None]) -> Iterator[T]:
    """`items`, made in a thread of their own, in their order.

    `check` is called while waiting, and what it raises ends the reading; a read that is under way in the thread is not
    waited for. What `items` raises is raised here, behind the items before it.
    """
    ready: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(_DEPTH)
    stopped = threading.Event()

    def hand_over(word: str, what: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put((word, what), timeout=_LOOK)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                hand_over("item", item)
                if stopped.is_set():
                    return
            hand_over("end", None)
        except BaseException as error:  # noqa: BLE001 - raised where the items are taken
            hand_over("error", error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    threading.Thread(target=work, name="saewidgets-reading", daemon=True).start()
    try:
        while True:
            check()
            try:
                word, what = ready.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if word == "end":
                return
            if word == "error":
                assert isinstance(what, BaseException)  # what `work` handed over
                raise what
            yield what  # type: ignore[misc] # an item
    finally:
        stopped.set()
