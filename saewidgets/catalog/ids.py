"""Identifiers: sortable by creation where lists are in that order, random where they are not."""

from __future__ import annotations

import secrets
import threading
import time
import uuid

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


def new_training_id() -> str:
    """``train_{ulid}``."""
    return f"train_{ulid()}"


def new_group_id() -> str:
    """``group_{ulid}``, of trainings that share a job."""
    return f"group_{ulid()}"


def new_sae_id() -> str:
    """``sae_{uuid}``."""
    return f"sae_{uuid.uuid4()}"


def new_checkpoint_id() -> str:
    """``ckpt_{ulid}``."""
    return f"ckpt_{ulid()}"


def new_template_id() -> str:
    """``tmpl_{uuid}``."""
    return f"tmpl_{uuid.uuid4()}"


def new_store_id() -> str:
    """``acts_{ulid}``, of a store of activations."""
    return f"acts_{ulid()}"
