from __future__ import annotations

import threading
import time

from saewidgets.catalog.ids import ulid


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


def test_the_time_is_in_the_first_ten_characters() -> None:
    value = 0
    for character in ulid()[:10]:
        value = value * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(character)
    assert abs(value / 1000 - time.time()) < 60
