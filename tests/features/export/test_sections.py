"""A feature's part of the exported page: shades, histograms, tables, and the links between parts."""

import math
import re

from saewidgets.features.export.html_page import chip, section_html
from saewidgets.render.html import step_of
from saewidgets.render.numbers import activation, percent
from tests.features.export.examples import example, section


def test_shades_and_numbers_are_those_of_the_widgets() -> None:
    for value in (5e-5, 0.01, 0.3, 0.5, 0.999, 1.0):
        assert step_of(value * 40, 40) == math.ceil(8 * math.log10(1 + 9 * value))
    assert [step_of(v, 40) for v in (0.0, 4.9e-5, -3.0, math.nan)] == [0, 0, 0, 0]
    assert (step_of(1.0, 0.0), step_of(50.0, 40.0)) == (0, 8)  # also a neighbour above the largest example
    assert " · ".join(percent(v) for v in (0, 0.0024, 0.000021, 0.12, 1, 2e-9)) == (
        "0 % · 0.24 % · 0.0021 % · 12 % · 100 % · 0.00000020 %"
    )
    assert " ".join(activation(v) for v in (41.73, 3.1249, 0.0042, 0.5, 123456.0)) == "41.73 3.12 0.0042 0.5 1.2e5"
    assert chip("  a b") == "··a b"


def test_a_row_shades_tokens_and_marks_the_strongest() -> None:
    html = section_html(section())
    assert '<i class="a8 peak" title=4>king</i>' in html
    assert " <i class=a5 title=1>kin</i>" in html
    assert " &lt;b&gt;<i class=a3 title=0.5>s</i>" in html  # too weak for a shade: plain text
    assert "<b>4.00&nbsp;</b>" in html
    assert "<span><span>… a " in html
    html = section_html(section(examples=[example(("x", 0.0), ("y", 0.0), peak=1)]))
    assert '<i class="a0 peak" title=0>y</i>' in html  # the peak, even without an activation


def test_the_histogram_is_drawn_inside_its_box() -> None:
    html = section_html(section())
    path = re.search(r'<path d="([^"]+)" class="bars">', html)
    assert path
    heights = [float(v) for v in re.findall(r"v-([\d.]+)", path[1])]
    assert heights == [56.0, 37.3, 18.7]  # the empty bin is not drawn
    assert max(float(x) for x in re.findall(r"M([\d.]+)", path[1])) < 242
    assert "Histogram of 12 activations from 0 to 4.00; the fullest bin has 6." in html
