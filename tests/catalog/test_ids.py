from __future__ import annotations

import re
import threading
import time

import pytest

from saewidgets.catalog import ids
from saewidgets.catalog.ids import new_sae_id, new_training_id, ulid


def test_forms() -> None:
    assert re.fullmatch(r"train_[0-7][0-9A-HJKMNP-TV-Z]{25}", new_training_id())
    assert re.fullmatch(r"sae_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", new_sae_id())


def test_ulids_are_sorted_by_creation_and_never_equal() -> None:
    made = [ulid() for _ in range(5000)]
    assert made == sorted(set(made))


def test_also_from_several_threads() -> None:
    made: list[list[str]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda m=m: m.extend(ulid() for _ in range(500))) for m in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({u for m in made for u in m}) == 2000
    assert all(m == sorted(m) for m in made)


def test_a_clock_that_steps_back_does_not_disorder_them(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ulid()
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_000_000)
    assert ulid() > before


def test_the_time_is_in_the_first_ten_characters() -> None:
    value = 0
    for character in ulid()[:10]:
        value = value * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(character)
    assert abs(value / 1000 - time.time()) < 60
