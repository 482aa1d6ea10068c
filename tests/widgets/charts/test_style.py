"""Python's chart colours are the page's tokens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from saewidgets.widgets.charts.style import PALETTES

TOKENS = Path(__file__).resolve().parents[3] / "js" / "src" / "styles" / "tokens.css"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_match_the_tokens(theme: str) -> None:
    css = TOKENS.read_text("utf-8")
    block = re.search(rf'data-sw-theme="{theme}"\]\s*{{(.*?)}}', css, re.DOTALL)
    assert block
    tokens = dict(re.findall(r"--sw-([\w-]+):\s*(#[0-9a-f]{6})", block[1]))
    palette = PALETTES[theme]
    assert palette.series == tuple(tokens[f"s{i}"] for i in range(1, 7))
    assert (palette.grid, palette.tick, palette.text) == (tokens["grid"], tokens["text-3"], tokens["text-2"])
