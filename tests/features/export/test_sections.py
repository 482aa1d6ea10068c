"""A feature's part of the exported page: shades, histograms, tables, and the links between parts."""

from __future__ import annotations

import math
import re

from saewidgets.features.export import Effects, TokenEffect
from saewidgets.features.export.html_page import chip, page_of, section_html
from saewidgets.features.store.query import LatentNote
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


def test_logits_below_and_above_zero() -> None:
    up, down = TokenEffect(0, " up", 1.0), TokenEffect(1, "</td>", -0.5)
    table = Effects([up], [down], [1, 2, 3], [-1.0, -0.5, 0.0, 1.0])
    html = section_html(section(effects=table))
    down, up = re.findall(r'<path d="([^"]*)" class="bars (?:down|up)">', html)
    assert (down.count("M"), up.count("M")) == (2, 1)
    assert "<code>·up</code>" in html
    assert "&lt;/td&gt;" in html
    assert "<figcaption>Logit effects" not in section_html(section(effects=Effects([], [])))
    html = section_html(section(fired=0, density=0.0, max=0.0, mean=0.0, groups=[]))
    assert "Feature 7 did not fire on this text." in html
    assert "<svg" not in html


def test_neighbours_in_the_list_and_names() -> None:
    sections = [section(9, LatentNote("kings")), section(2, LatentNote(starred=True)), section(5)]
    page = "".join(page_of("<t>", {"read": "1 token"}, sections))
    assert re.findall(r'href="#f(\d+)" rel="(prev|next)"', page) == [
        ("2", "next"), ("9", "prev"), ("5", "next"), ("2", "prev"),
    ]  # fmt: skip
    assert "<title>&lt;t&gt;</title>" in page
    assert "9 kings" in page
    assert "★ 2 “·king”" in page
    assert page.endswith("</html>\n")
    assert page.count("<section") == 3
