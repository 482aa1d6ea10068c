"""The static copy of the SAE browser."""

from __future__ import annotations

from typing import Any

from saewidgets.render import saes_page, saes_table

CARD: dict[str, Any] = {
    "name": "gpt2-l6-topk-k32", "source_label": "Trained", "model": "gpt2", "hook_name": "blocks.6.hook_resid_post",
    "architecture": "TopK, k 32", "d_sae": 16_384, "d_in": 768, "format_label": "SAELens", "size_bytes": 101_000_000,
    "created_at": 1_790_000_000.0, "state": "ok", "state_note": "",
}  # fmt: skip


def test_a_row_has_what_the_card_has() -> None:
    html = saes_table([CARD])
    for words in ("gpt2-l6-topk-k32", "gpt2 · blocks.6.hook_resid_post", "16,384 × 768", "SAELens", "101 MB"):
        assert words in html
    assert "–" in saes_table([{**CARD, "model": None, "hook_name": None}])


def test_missing_files_are_said_below() -> None:
    html = saes_table([{**CARD, "state": "missing", "state_note": "sae.safetensors is gone."}])
    assert "⚠ Files not found. sae.safetensors is gone." in html


def test_names_are_text() -> None:
    evil = "<img src=x onerror=alert(1)>"
    html = saes_table([{**CARD, "name": evil, "model": evil, "state": "changed", "state_note": evil}])
    assert "<img" not in html
    assert html.count("&lt;img") == 3


def test_the_page_says_what_it_is() -> None:
    page = saes_page([CARD], total=5000, matching=1200, workspace="lab", taken_at=0)
    assert "Static copy of the SAE browser (lab), as of –: 1 of 5,000 SAEs, 1,200 match the filters." in page
    assert ": 1 of 1 SAE." in saes_page([CARD], total=1, matching=1, workspace="lab", taken_at=0)
    assert "No SAEs yet" in saes_page([], total=0, matching=0, workspace="lab", taken_at=0)
    assert "No SAE matches" in saes_page([], total=3, matching=0, workspace="lab", taken_at=0)
