"""Defines `FollowedLoad`, the number of threads of a run on the CPU where OpenMP's threads spin: fewer while other
programs use the cores. Used by `run`; `others_compute` by the estimate."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

_EVERY = 5.0  # seconds between two looks
_NOTHING = 0.25  # cores that others may use: an editor, a browser
_SETTING = threading.Lock()
_STAT = Path("/proc/stat")


def own_cores() -> set[int]:
    """The cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


class CoresOfOthers:
    """How many of its cores other programs have used between two calls, on Linux; 0 where that is unknown."""

    def __init__(self) -> None:
        self._before = self._now()

    def __call__(self) -> float:
        before, self._before = self._before, self._now()
        elapsed, used, own = (now - then for now, then in zip(self._before, before, strict=True))
        return max(0.0, (used - own) / elapsed) if elapsed and used else 0.0

    def _now(self) -> tuple[float, float, float]:
        """Seconds by the clock, of these cores, and of this process."""
        names, used = {f"cpu{number}" for number in own_cores()}, 0
        try:
            for name, *ticks in map(str.split, _STAT.read_text().splitlines()):
                if name in names:
                    user, nice, system, _, _, *interrupts = map(int, ticks[:7])
                    used += user + nice + system + sum(interrupts)
        except (OSError, ValueError):
            used = 0
        return time.monotonic(), used / os.sysconf("SC_CLK_TCK"), time.process_time()


def others_compute(seconds: float = 0.1) -> bool:
    """Whether others use a core beside several threads of ours, as they do in the next `seconds`."""
    if torch.get_num_threads() == 1:
        return False
    load = CoresOfOthers()
    time.sleep(seconds)
    return load() > 2 * _NOTHING


def set_threads_here(number: int) -> None:
    """`torch.set_num_threads` for the calling thread alone: torch also gives the number to threads that begin to
    compute later, so another one sets it back."""
    torch.get_num_threads()  # or a later call would take the usual number
    with _SETTING, ThreadPoolExecutor(1) as other:
        usual = other.submit(torch.get_num_threads).result()
        torch.set_num_threads(number)
        other.submit(torch.set_num_threads, usual).result()


class FollowedLoad:
    """The threads with which the calling thread computes, as a context: as many as cores that others leave free, at
    most those that it had. As text, for the record: the fewest and the most that there were."""

    def __init__(self) -> None:
        self._load, self._looked, self._said_more = CoresOfOthers(), time.monotonic(), False
        self._usual = self._number = self._fewest = torch.get_num_threads()

    def __enter__(self) -> "FollowedLoad":
        return self

    def __exit__(self, *error: object) -> None:
        if self._number != self._usual:
            set_threads_here(self._usual)

    def __str__(self) -> str:
        return f"{self._fewest} to {self._usual}"

    def follow(self) -> bool:
        """Look every few seconds. Whether there are now fewer than there ever were."""
        if self._usual == 1 or time.monotonic() - self._looked < _EVERY:
            return False
        self._looked = time.monotonic()
        return self.take(self._load())

    def take(self, used: float) -> bool:
        """As `follow`, where others use so many cores. More threads are taken when it has twice been said."""
        free = max(1, min(self._usual, int(len(own_cores()) - used + _NOTHING)))
        more = free > self._number
        if free < self._number or (more and self._said_more):
            self._number, more = free, False
            set_threads_here(free)
        self._said_more = more
        fewer = free < self._fewest
        self._fewest = min(free, self._fewest)
        return fewer
