"""Many questions at once: a few threads, answers as they come, and an end that waits for nobody."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from saewidgets.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")

MAX_CONCURRENCY = 256
_LOOK = 0.1  # seconds between two looks at whether somebody asked to stop


def each(
    items: Iterable[T], work: Callable[[T], R], *, concurrency: int, check: Callable[[], None]
) -> Generator[tuple[T, R], None, None]:
    """Every item with its result, in the order in which they are done.

    At most `concurrency` are under way; `items` is read in the caller's thread, just in time. With 0 everything runs in
    the caller's thread. `check` is called ten times a second, and what it raises ends everything at once: what has not
    begun is dropped, what is under way ends in its thread, unseen.

    Raises:
        ConfigError: the concurrency is out of range.
    """
    if not 0 <= concurrency <= MAX_CONCURRENCY:
        raise ConfigError(f"{concurrency} at once is not possible.", where="concurrency", hint="Choose 1 to 256.")
    if concurrency == 0:
        for item in items:
            check()
            yield item, work(item)
        return
    source = iter(items)
    pending: dict[Future[R], T] = {}
    executor = ThreadPoolExecutor(concurrency, thread_name_prefix="labels")
    try:
        more = True
        while more or pending:
            check()
            while more and len(pending) < concurrency:
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                else:
                    pending[executor.submit(work, item)] = item
            done, _ = wait(pending, timeout=_LOOK, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), _result(future)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _result(future: Future[R]) -> R:
    try:
        return future.result()
    except CancelledError as error:  # a coroutine cancelled itself; it is no cancellation of ours
        raise RuntimeError("the language model's coroutine was cancelled") from error
