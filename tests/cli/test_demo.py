"""The demo's tables."""

from __future__ import annotations

from saewidgets.cli.runs import evaluation_table


def test_the_table_shows_what_was_measured() -> None:
    text = evaluation_table({"fvu": 0.0612, "l0": 32.0, "ce_loss_clean": 3.2014, "something_else": 1.0})
    lines = text.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["metric", "value"],
        ["FVU", "0.0612"],
        ["L0", "32.0"],
        ["CE,", "as"],
    ]
    assert "fraction of variance unexplained" in lines[1]
