"""The shared bundle: read once, and a clear error when it was not built."""

from __future__ import annotations

from pathlib import Path

import pytest

from saewidgets.errors import NotFoundError
from saewidgets.widgets import bundle


@pytest.fixture(autouse=True)
def fresh() -> object:
    bundle.load_bundle.cache_clear()
    yield
    bundle.load_bundle.cache_clear()


def test_both_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "saewidgets.js").write_text("export default {}", "utf-8")
    (tmp_path / "saewidgets.css").write_text(".sw{}", "utf-8")
    monkeypatch.setattr(bundle, "STATIC", tmp_path)
    assert bundle.load_bundle() == ("export default {}", ".sw{}")


def test_a_missing_bundle_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "STATIC", tmp_path)
    with pytest.raises(NotFoundError, match="npm run build") as caught:
        bundle.load_bundle()
    assert caught.value.where == str(tmp_path / "saewidgets.js")
