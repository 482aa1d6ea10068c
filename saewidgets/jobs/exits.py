"""Something to do before the interpreter ends."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from typing import Any


def before_exit(fn: Callable[[], Any]) -> Callable[[], None]:
    """Call `fn` when the interpreter ends normally; the returned function takes that back.

    `atexit` callbacks run after thread pools have been shut down, so a checkpoint that uses one would fail there.
    `threading` has an earlier hook, private but what `concurrent.futures` itself uses; callbacks registered later run
    earlier, hence the import. Where the hook is missing, `atexit` is used.
    """
    import concurrent.futures.thread  # noqa: F401 - registers its own hook before ours

    alive = [True]

    def call() -> None:
        if alive:
            alive.clear()
            fn()

    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(call)
    else:
        atexit.register(call)
    return alive.clear
