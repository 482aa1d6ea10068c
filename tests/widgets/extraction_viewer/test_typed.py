"""What is typed means the same here as on the page (`js/tests/lib/format.test.ts`)."""

from __future__ import annotations

import pytest

from saewidgets.widgets.extraction_viewer.typed import decimal, share, shown_share, whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,000,000", 1_000_000), (" 1M ", 1_000_000), ("1.5k", 1500), ("16_384", 16_384), ("16 384", 16_384),
        ("-3", -3), ("1.5", None), ("", None), ("abc", None), ("1e6", 1_000_000), ("2.5E+3", 2500),
        ("1e-3", None), ("1,5M", None), ("16, 32", None), ("1,2", None), ("1,0000", None), ("0,001", None),
        ("9" * 17, None), ("9" * 5000, None),
        ("0.0000001m", None), ("²", None),
    ],
)  # fmt: skip
def test_whole_numbers(text: str, value: int | None) -> None:
    assert whole(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4), ("1,000.5", 1000.5), (".5", 0.5), ("5.", 5.0), ("0,001", None), ("2,5", None),
        ("1,000,00", None), ("1.1,000", None), ("nan", None), ("1e99999", None),
    ],
)  # fmt: skip
def test_numbers(text: str, value: float | None) -> None:
    assert decimal(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 % of max", 0.01), ("1%", 0.01), ("0.01", 0.01), ("0.01 of max", 0.01), ("2.5 % of the maximum", 0.025),
        ("0", 0.0), ("7 % of max", 0.07), ("% of max", None), ("1 % of mean", None), ("", None), ("of max", None),
    ],
)  # fmt: skip
def test_shares(text: str, value: float | None) -> None:
    assert share(text) == value


@pytest.mark.parametrize("value", [0.01, 0.07, 0.3, 0.0, 1e-5, 0.123456])
def test_a_share_that_is_shown_is_read_again(value: float) -> None:
    assert share(shown_share(value)) == value
