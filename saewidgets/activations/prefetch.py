"""Prepares the next data in a thread while others are used: `read_ahead` for text, `WindowsAhead` for activations."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from saewidgets.activations.row_format import floats

Check = Callable[[], None]
T = TypeVar("T")
Fill = Callable[[int, Mapping[str, Tensor], Check], None]
"""Writes a window, by its number, into hook name → ``[window, width]``. What the check raises ends it."""

_PATIENCE = 0.05  # seconds between two checks for requests, while a window is waited for


class _NotWantedError(Exception):
    """The window is not needed any more."""


@dataclass(slots=True)
class _PendingWindow:
    number: int
    left: threading.Event = field(default_factory=threading.Event)
    future: Future[None] | None = None

    def check(self) -> None:
        if self.left.is_set():
            raise _NotWantedError


class WindowsAhead:
    """Windows in their order, each filled while the one before it is used. They are shown on `device`; None: where
    their memory is, which `buffer` makes twice."""

    def __init__(
        self, fill: Fill, buffer: Callable[[], dict[str, Tensor]], *, device: torch.device | None = None, name: str
    ) -> None:
        self._fill, self._device = fill, device
        self._buffers = [buffer(), buffer()]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._turn = 0  # the buffer that is written into
        self._coming: _PendingWindow | None = None
        self._held: int | None = None
        self._shown: dict[str, Tensor] = {}
        place = next(iter(self._buffers[0].values())).device
        # A stream of its own: on that of the training, each would wait for what the other queues.
        self._stream: Any = torch.cuda.Stream(place) if place.type == "cuda" else None

    def window(self, number: int, check: Check) -> Mapping[str, Tensor]:
        """Window `number`; the one before it is lost. Raises what filling it raised, or `check` while waiting."""
        if self._held == number:
            return self._shown
        self._held = None
        if self._coming is not None and self._coming.number != number:
            self._coming.left.set()  # a reader lags behind, or has jumped
            self._settle(check)
        if self._coming is None:
            self._submit(number)
        self._settle(check, own=True)
        shown = self._buffers[self._turn]
        self._shown = shown if self._device is None else {name: each.to(self._device) for name, each in shown.items()}
        self._held, self._turn = number, 1 - self._turn
        self._submit(number + 1)
        return self._shown

    def close(self) -> None:
        if self._coming is not None:
            self._coming.left.set()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._buffers, self._shown = [], {}

    def _submit(self, number: int) -> None:
        # What reads this memory may still be queued on its device.
        read = None if self._stream is None else torch.cuda.current_stream(self._stream.device).record_event()
        coming = self._coming = _PendingWindow(number)
        coming.future = self._thread.submit(self._work, coming, self._buffers[self._turn], read)

    def _settle(self, check: Check, *, own: bool = False) -> None:
        """Until the thread is done; `check` may end it. With `own`, raises what the thread met."""
        assert self._coming is not None
        future = self._coming.future
        assert future is not None
        check()
        while not future.done():
            wait([future], _PATIENCE)
            check()
        self._coming = None
        if own:
            future.result()

    def _work(self, coming: _PendingWindow, targets: dict[str, Tensor], read: Any) -> None:
        stream = self._stream
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            if stream is not None:
                stream.wait_event(read)
            try:
                self._fill(coming.number, targets, coming.check)
            finally:
                if stream is not None:  # readers need not know of streams
                    stream.synchronize()


def handed_over(window: Tensor, chosen: Tensor, device: torch.device) -> Tensor:
    """The rows `chosen` of a window, as a batch: ``[batch, width]`` float32 on `device`. On the way from the CPU to a
    GPU it waits in pinned memory, so that the copy runs beside whatever the GPU is doing."""
    if window.device.type == "cpu" and device.type == "cuda":
        shape = (len(chosen), window.shape[1])
        rows = torch.empty(shape, dtype=window.dtype, pin_memory=True)
        torch.index_select(window, 0, chosen, out=rows)
    else:
        rows = window.index_select(0, chosen)
    return floats(rows.to(device, non_blocking=device.type == "cuda"))


_DEPTH = 3  # items that wait to be taken
_LOOK = 0.2  # seconds of waiting after which `check` is called


def read_ahead(items: Iterator[T], check: Check) -> Generator[T]:
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
