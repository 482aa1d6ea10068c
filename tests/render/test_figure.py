"""Inline SVG charts: drawable numbers only, names as text, a text alternative."""

from __future__ import annotations

import math
import re

from saewidgets.render import Line, line_chart


def test_a_chart_draws_its_lines_inside_its_box() -> None:
    svg = line_chart("Loss", [Line("a", [0, 1e6, 2e6], [3.0, 1.0, 0.5], dash="6 3")], log_y=True)
    path = re.search(r'd="(M[^"]*L[^"]*)"[^>]*stroke-dasharray="6 3"', svg)
    assert path
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", path[1])]
    assert all(0 <= x <= 280 for x in numbers[::2])
    assert all(0 <= y <= 170 for y in numbers[1::2])
    assert numbers[1] < numbers[3] < numbers[5]  # a falling loss goes down on the screen
    assert ">2M<" in svg


def test_gaps_and_impossible_values_do_not_break_the_drawing() -> None:
    svg = line_chart("FVU", [Line("a", [0, 1, 2, 3, 4], [1, math.nan, -1, 0.5, math.inf])], log_y=True)
    assert "nan" not in svg.lower()
    assert "inf" not in svg.lower()


def test_flat_and_empty_charts() -> None:
    assert "no data yet" in line_chart("Loss", [])
    assert "<path" in line_chart("Loss", [Line("a", [0, 1], [2, 2])])
    flat = line_chart("L0", [Line("a", [0, 1, 2], [8, 7.99, 8])])
    assert ">7.5<" in flat
    assert ">8.5<" in flat


def test_names_are_text() -> None:
    svg = line_chart("</svg><script>", [Line("<img>", [0, 1], [1, 2])])
    assert "<script" not in svg
    assert "<img" not in svg
    assert 'role="img"' in svg
