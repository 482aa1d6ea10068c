"""The page's types are those of the Python models."""

from __future__ import annotations

from tools import wire


def test_the_generated_types_are_up_to_date() -> None:
    assert wire.TARGET.read_text("utf-8") == wire.text(), "Run `python tools/wire.py`."
