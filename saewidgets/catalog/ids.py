"""Identifiers: sortable by creation where lists are in that order, random where they are not."""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from collections.abc import Callable

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80


class _Ulids:
    """Monotonic ULIDs (https://github.com/ulid/spec): two made within one millisecond differ by one, and a clock that
    steps back is held, so that the order of ids made by one process is the order of creation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._time = 0
        self._random = 0

    def __call__(self) -> str:
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._time:
                # The top bit stays clear: there is always room to count up within the millisecond.
                self._time, self._random = now, secrets.randbits(_RANDOM_BITS - 1)
            else:
                self._random += 1
            value = (self._time << _RANDOM_BITS) | self._random
        return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


ulid = _Ulids()


def _new(prefix: str, make: Callable[[], object] = ulid) -> Callable[[], str]:
    return lambda: f"{prefix}_{make()}"


new_training_id = _new("train")
new_group_id = _new("group")  # of trainings that share a job
new_checkpoint_id = _new("ckpt")
new_store_id = _new("acts")  # of a store of activations
new_sae_id = _new("sae", uuid.uuid4)
new_template_id = _new("tmpl", uuid.uuid4)
