"""Ticks are round, ordered, inside, and few."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.render.figure import doubling_ticks, linear_ticks, log_ticks, tick_text, widened

LOW = st.floats(-1e9, 1e9)
SPAN = st.floats(1e-3, 1e9)


@given(LOW, SPAN, st.integers(2, 8))
def test_linear_ticks(low: float, span: float, wanted: int) -> None:
    ticks = linear_ticks(low, low + span, wanted)
    assert ticks == sorted(set(ticks))
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    assert len(ticks) <= 2 * wanted + 1


@given(st.floats(1e-6, 1e6), st.floats(1.02, 1e9))
def test_log_ticks(low: float, factor: float) -> None:
    ticks = log_ticks(low, low * factor, 6)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 9
    assert all(low * 0.999 <= tick <= low * factor * 1.001 for tick in ticks)


def test_examples() -> None:
    assert linear_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert log_ticks(0.2, 5) == [0.2, 0.5, 1, 2, 5]
    assert log_ticks(0.01, 1000) == [0.01, 0.1, 1, 10, 100, 1000]
    assert log_ticks(0.11, 0.13) == [0.11, 0.115, 0.12, 0.125, 0.13]
    assert log_ticks(0, 1) == []
    assert linear_ticks(3, 3) == [3]
    assert [tick_text(v) for v in (0.25, 2.0, 1500.0, 1e-5, 0.0)] == ["0.25", "2", "1,500", "1e-5", "0"]


def test_large_ticks_have_units_and_no_exponents() -> None:
    values = (10_000.0, 999_999.0, 1e6, 2.5e6, 30e6, -1e9, 999_999.9, 1e12)
    assert [tick_text(v) for v in values] == ["10,000", "999,999", "1M", "2.5M", "30M", "-1B", "1M", "1e12"]


def test_a_flat_range_is_widened() -> None:
    assert widened(1, 2) == (1, 2)
    low, high = widened(7.99, 8.01)
    assert (round(low, 9), round(high, 9)) == (7.2, 8.8)
    assert widened(0, 0) == (-0.1, 0.1)
    low, high = widened(-8.0, -8.0)
    assert low < -8 < high


def test_doublings() -> None:
    assert doubling_ticks(12, 300, 250) == [16, 32, 64, 128, 256]
    assert doubling_ticks(20, 30, 250) == [20, 25, 30]


@pytest.mark.parametrize("low", [2.0**-11, 1e-5, 0.2, 0.9, 14.0])
@pytest.mark.parametrize("high", [17.0, 900.0, 2.0**20])
@pytest.mark.parametrize("width", [250, 560])
def test_names_of_doublings_do_not_touch(low: float, high: float, width: int) -> None:
    ticks = doubling_ticks(low, high, width)
    assert len(ticks) >= 2
    texts = [tick_text(tick) for tick in ticks]
    assert max(map(len, texts)) <= 9
    places = [width * math.log(tick / low) / math.log(high / low) for tick in ticks]
    half = [6.2 * len(text) / 2 for text in texts]
    for i in range(len(ticks) - 1):
        assert places[i] + half[i] < places[i + 1] - half[i + 1], texts
