"""Charts as SVG: drawable numbers only, names as text, a text alternative."""

from __future__ import annotations

import math
import re

import pytest

from saewidgets.render.figure import PAGE, PAPER, Axis, Frame, Key, Trace, figure

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
