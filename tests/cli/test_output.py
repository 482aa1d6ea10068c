"""Text, numbers and tables as a terminal shows them."""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.cli import output
from saewidgets.events import JobStatus


@given(st.text())
def test_printable_leaves_nothing_a_terminal_obeys(text: str) -> None:
    shown = output.printable(text)
    obeyed = [character for character in shown if unicodedata.category(character) in ("Cc", "Cf", "Cs")]
    assert set(obeyed) <= {"\n"}
    shown.encode("utf-8")  # no lone surrogates


@pytest.mark.parametrize(
    ("write", "values"),
    [
        (output.duration, {None: "–", 0.4: "0 s", 59.4: "59 s", 185: "3 min 5 s", 7_805: "2 h 10 min"}),
        (output.size, {None: "–", 12: "12 B", 1_500: "1.5 kB", 12_300_000: "12 MB", 4e12: "4.0 TB"}),
        (output.number, {None: "–", 32: "32", 16_384: "16,384", 0.061234: "0.06123", float("nan"): "nan"}),
    ],
)
def test_numbers_with_their_units(write: Callable[[Any], str], values: dict[Any, str]) -> None:
    assert {value: write(value) for value in values} == values


@dataclass(frozen=True)
class Thing:
    status: JobStatus
    values: dict[str, float]
    path: Path


def test_records_become_json(capsys: pytest.CaptureFixture[str]) -> None:
    thing = Thing(JobStatus.PAUSED, {"fvu": float("nan"), "l0": np.float32(32.0)}, Path("a/b"))
    output.write_json([thing])
    assert json.loads(capsys.readouterr().out) == [
        {"status": "paused", "values": {"fvu": None, "l0": 32.0}, "path": str(Path("a/b"))}
    ]
