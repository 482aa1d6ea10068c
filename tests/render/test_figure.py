"""Charts as SVG: drawable numbers only, names as text, a text alternative."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.render.figure import (
    PAGE,
    PAPER,
    Axis,
    Frame,
    Key,
    Trace,
    doubling_ticks,
    figure,
    linear_ticks,
    log_ticks,
    tick_text,
    widened,
)

X = Axis("tokens", 0.0, 2e6, [(0.0, "0"), (2e6, "2M")])
Y = Axis("loss", 0.5, 3.0, [(1.0, "1")], log=True)


@pytest.mark.parametrize("frame", [PAGE, PAPER])
def test_a_chart_draws_its_lines_inside_its_box(frame: Frame) -> None:
    svg = figure("Loss", X, Y, [Trace([0, 1e6, 2e6], [3.0, 1.0, 0.5], "#123456", dash="6 3")], frame=frame).svg
    path = re.search(r'd="(M[^"]*L[^"]*)"[^>]*stroke-dasharray="6 3"', svg)
    assert path
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", path[1])]
    assert all(frame.left <= x <= frame.end for x in numbers[::2])
    assert all(frame.top <= y <= frame.bottom for y in numbers[1::2])
    assert numbers[1] < numbers[3] < numbers[5]  # a falling loss goes down on the screen
    assert ">2M<" in svg


def test_gaps_and_impossible_values_do_not_break_the_drawing() -> None:
    svg = figure("FVU", X, Y, [Trace([0, 1, 2, 3, 4], [1, math.nan, -1, 0.5, math.inf], "#123456")]).svg
    assert "nan" not in svg.lower()
    assert "inf" not in svg.lower()


def test_on_a_page_a_line_has_a_colour_for_light_and_for_dark() -> None:
    trace = Trace([0, 1], [1, 2], "#123456", dark="#abcdef")
    svg = figure("Loss", X, Y, [trace], frame=PAGE, says="Loss against tokens").svg
    assert 'stroke="#123456" style="stroke:light-dark(#123456,#abcdef)"' in svg
    assert "<title>Loss against tokens</title>" in svg
    assert 'fill="#ffffff"' not in svg
    assert "#abcdef" not in figure("Loss", X, Y, [trace]).svg  # paper is white


def test_names_are_text() -> None:
    trace = Trace([0, 1], [1, 2], "#123456", name="<img>")
    svg = figure("</svg><script>", X, Y, [trace], [Key("<b>", "#123456", line=True)]).svg
    assert "<script" not in svg
    assert "<img" not in svg
    assert "<b>" not in svg
    assert 'role="img"' in svg


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
    values = (0.25, 2.0, 1500.0, 1e-5, 0.0, 999_999.0, 2.5e6, -1e9, 999_999.9, 1e12)
    words = ["0.25", "2", "1,500", "1e-5", "0", "999,999", "2.5M", "−1B", "1M", "1e12"]
    assert [tick_text(value) for value in values] == words


def test_a_flat_range_is_widened() -> None:
    assert widened(1, 2) == (1, 2)
    low, high = widened(7.99, 8.01)
    assert (round(low, 9), round(high, 9)) == (7.2, 8.8)
    assert widened(0, 0) == (-0.1, 0.1)
    low, high = widened(-8.0, -8.0)
    assert low < -8 < high


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
