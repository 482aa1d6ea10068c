from __future__ import annotations

import math
import re

import pytest

from saewidgets.render.features_page import (
    FeatureCard,
    LogitTable,
    Row,
    RowGroup,
    activation,
    card_html,
    chip,
    features_page,
    percent,
    step_of,
)


def card(index: int = 7, **changes: object) -> FeatureCard:
    row = Row(4.0, [("a ", 0.0), (" kin", 1.0), (" king", 4.0), (" <b>", 0.00001), ("s", 0.5)], 2, before=True)
    known: dict[str, object] = {
        "index": index, "label": "", "label_note": "", "starred": False, "fired": 12, "density": 0.0021, "max": 4.0,
        "mean": 1.5, "counts": [6, 0, 4, 2], "edges": [0.0, 1.0, 2.0, 3.0, 4.0], "top_tokens": [" king"],
        "groups": [RowGroup("Top activations", [row])],
    }  # fmt: skip
    return FeatureCard(**(known | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [5e-5, 0.01, 0.3, 0.5, 0.999, 1.0])
def test_the_steps_are_those_of_the_widgets(value: float) -> None:
    assert step_of(value * 40, 40) == math.ceil(8 * math.log10(1 + 9 * value))


def test_no_shade() -> None:
    assert [step_of(v, 40) for v in (0.0, 4.9e-5, -3.0, math.nan)] == [0, 0, 0, 0]
    assert step_of(1.0, 0.0) == 0
    assert step_of(50.0, 40.0) == 8  # a neighbour above the largest example


def test_numbers() -> None:
    assert [percent(v) for v in (0, 0.0024, 0.000021, 0.12, 1, 2e-9)] == [
        "0 %", "0.24 %", "0.0021 %", "12 %", "100 %", "0.00000020 %",
    ]  # fmt: skip
    found = [activation(v) for v in (41.73, 3.1249, 0.0042, 0.5, 123456.0)]
    assert found == ["41.73", "3.12", "0.0042", "0.5", "1.2e5"]
    assert chip("  a b") == "··a b"


def test_a_row_shades_tokens_and_marks_the_strongest() -> None:
    html = card_html(card())
    assert '<i class="a8 peak" title=4>king</i>' in html
    assert " <i class=a5 title=1>kin</i>" in html
    assert " &lt;b&gt;<i class=a3 title=0.5>s</i>" in html  # too weak for a shade: plain text
    assert "<b>4.00&nbsp;</b>" in html
    assert "<span><span>… a " in html


def test_the_peak_is_marked_even_without_an_activation() -> None:
    html = card_html(card(groups=[RowGroup("Top", [Row(0.0, [("x", 0.0), ("y", 0.0)], 1)])]))
    assert '<i class="a0 peak" title=0>y</i>' in html


def test_the_histogram_is_drawn_inside_its_box() -> None:
    html = card_html(card())
    path = re.search(r'<path d="([^"]+)" class="bars">', html)
    assert path
    heights = [float(v) for v in re.findall(r"v-([\d.]+)", path[1])]
    assert heights == [56.0, 37.3, 18.7]  # the empty bin is not drawn
    assert max(float(x) for x in re.findall(r"M([\d.]+)", path[1])) < 242
    assert "Histogram of 12 activations from 0 to 4.00; the fullest bin has 6." in html


def test_logits_below_and_above_zero() -> None:
    table = LogitTable([(" up", 1.0)], [("</td>", -0.5)], [1, 2, 3], [-1.0, -0.5, 0.0, 1.0])
    html = card_html(card(logits=table))
    down, up = re.findall(r'<path d="([^"]*)" class="bars (?:down|up)">', html)
    assert (down.count("M"), up.count("M")) == (2, 1)
    assert "<code>·up</code>" in html
    assert "&lt;/td&gt;" in html
    assert "<figcaption>Logit effects" not in card_html(card(logits=LogitTable([], [])))


def test_a_feature_that_did_not_fire() -> None:
    html = card_html(card(fired=0, density=0.0, max=0.0, mean=0.0, counts=[], edges=[0.0], groups=[], top_tokens=[]))
    assert "Feature 7 did not fire on this text." in html
    assert "<svg" not in html


def test_neighbours_in_the_list_and_names() -> None:
    page = "".join(features_page("<t>", {"read": "1 token"}, [card(9, label="kings"), card(2, starred=True), card(5)]))
    assert re.findall(r'href="#f(\d+)" rel="(prev|next)"', page) == [
        ("2", "next"), ("9", "prev"), ("5", "next"), ("2", "prev"),
    ]  # fmt: skip
    assert "<title>&lt;t&gt;</title>" in page
    assert "9 kings" in page
    assert "★ 2 “·king”" in page
    assert page.endswith("</html>\n")
    assert page.count("<section") == 3
