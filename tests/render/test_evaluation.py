import math

import pytest

from saewidgets.render.evaluation import FIGURES, SHARE, evaluation_card, shown

BY_NAME = {figure.name: figure for figure in FIGURES}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("fvu", 0.13194, "0.1319"), ("l0", 31.87, "31.9"), ("dead", 0.042, "4.2 %"), ("dead", 0.000021, "0.0021 %"),
        ("dead", 0.0, "0.0 %"), ("density_above_10pct", 1.0, "100.0 %"), ("ce_loss_score", math.nan, "–"),
        ("mse", 12345.6, "12,346"),
    ],
)  # fmt: skip
def test_values(name: str, value: float, said: str) -> None:
    assert shown(BY_NAME[name], value) == said


def test_every_figure_appears_once_under_one_heading() -> None:
    assert len(BY_NAME) == len(FIGURES) == len({figure.title for figure in FIGURES})
    groups = [figure.group for figure in FIGURES]
    assert [group for i, group in enumerate(groups) if i == 0 or groups[i - 1] != group] == list(dict.fromkeys(groups))
    assert all(figure.unit == SHARE for figure in FIGURES if figure.name.startswith(("density_", "firings_", "dead")))


def test_text_is_escaped_and_missing_figures_are_left_out() -> None:
    density = {"counts": [2, 0, 4], "edges": [1e-4, 1e-3, 1e-2, 1e-1]}
    page = evaluation_card("<i>x</i>", [("Model", "<script>")], {"fvu": 0.1, "n_tokens": 5}, density, ["1 < 2"])
    assert "<i>" not in page
    assert "<script" not in page
    assert "1 &lt; 2" in page
    assert page.count("v-") == 2  # bars
    assert "6 latents that fired, from 1.0e-04 to 1.0e-01" in page
    assert "CE recovered" not in page
