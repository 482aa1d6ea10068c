"""Numbers as the specification writes them."""

import math

import pytest

from saewidgets.render.labels import short_float
from saewidgets.render.numbers import column, duration, metric, size, tokens


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (48_210, "48.2K"), (6_200_000, "6.2M"), (10_000_000, "10M"), (999_960, "1M"), (2e9, "2B")],
)
def test_tokens(value: float, text: str) -> None:
    assert tokens(value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("loss", 0.28413, "0.2841"),
        ("fvu", 0.118, "0.118"),
        ("l0", 32.0, "32.0"),
        ("ce_loss_score", 0.9571, "0.957"),
        ("dead", 0.021, "2.1 %"),
        ("loss", None, "–"),
        ("loss", math.nan, "NaN"),
        ("loss", "NaN", "NaN"),
        ("loss", math.inf, "∞"),
        ("loss", 99.99996, "100.0"),
        ("l0", 219.65, "219.7"),
        ("loss", 999.96, "1,000"),
        ("loss", 99_999.7, "1.0e5"),
        ("loss", -329_731.2, "−3.3e5"),
        ("ce_loss_score", -0.271, "−0.271"),
        ("loss", -math.inf, "−∞"),
        ("val_fvu", 0.118, "0.118"),
        ("val_dead", 0.021, "2.1 %"),
        ("lr", 0.00073, "7.30e-4"),
        ("lr", 0.004, "0.0040"),
        ("tokens_per_second", 6543.2, "6,543"),
    ],
)
def test_metrics(name: str, value: float | str | None, text: str) -> None:
    assert metric(name, value) == text


def test_durations_sizes_and_small_numbers() -> None:
    assert [duration(s) for s in (4.4, 59.6, 79, 208, 3600, 7500)] == [
        "4 s", "1 min", "1 min 19 s", "3 min 28 s", "1 h 0 min", "2 h 5 min",
    ]  # fmt: skip
    assert [size(n) for n in (12, 302_000_000, 6.1e9, 1e12)] == ["12 B", "302 MB", "6.1 GB", "1.0 TB"]
    assert [short_float(v) for v in (3e-4, 0.05, 5.0, 0, 1.5e-3, 123456.0)] == [
        "3e-4",
        "0.05",
        "5",
        "0",
        "1.5e-3",
        "1.235e5",
    ]


def test_a_column_has_one_format() -> None:
    assert column("loss", [0.28413, 54.051, None, -219.65]) == ("0.2841", "54.0510", "–", "−219.6500")
    assert column("l0", [32.0, 1234.4]) == ("32.0", "1,234.4")
    assert column("loss", [0.5, 329_731.2, math.nan]) == ("0.5000", "3.3e5", "NaN")  # what diverged has no decimals
    assert column("dead", [0.021, 0.5]) == ("2.1 %", "50.0 %")
