"""Tables of runs for saved notebooks."""

from __future__ import annotations

import re

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.records import ErrorInfo
from saewidgets.render.runs import facts_card, runs_html, runs_page
from tests.widgets.fake_workspace import make_record


def test_a_run_is_one_row_with_status_in_words() -> None:
    record = make_record("t", TrainingConfig(), status=JobStatus.FAILED, latest={"loss": 0.5, "dead": 0.01})
    html = runs_html([record])
    assert "✕ Failed" in html
    assert "0.5000" in html
    assert "1.0 %" in html
    assert "TopK k 32 · d_sae 16,384" in html


def test_whatever_comes_from_outside_is_text() -> None:
    bad = "<img src=x onerror=alert(1)>"
    error = ErrorInfo(bad, bad)
    config = TrainingConfig(model=bad)
    html = runs_html([make_record("t", config, name=bad, error=error)])
    assert "<img" not in html
    assert html.count("&lt;img") == 4


def test_columns_are_as_wide_as_hook_names() -> None:
    html = runs_html([make_record("t", TrainingConfig())])
    assert re.search("<table style=\"[^\"]*table-layout:auto", html)  # JupyterLab's own rule is "fixed"


def test_the_page_is_marked_as_a_copy() -> None:
    page = runs_page([], workspace="mine", taken_at=1e9)
    assert "Static copy of the training panel (mine), as of 2001-09-0" in page
    assert "No trainings yet" in page
    assert "as of –" in runs_page([], workspace="mine", taken_at=0.0)


def test_a_card_of_facts() -> None:
    assert facts_card("SAE <1>", {"d_sae": 5}).count("&lt;1&gt;") == 1
