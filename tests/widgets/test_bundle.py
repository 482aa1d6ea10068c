"""The bundles: read once, and a clear error when they were not built."""

from __future__ import annotations

from pathlib import Path

import pytest

from saewidgets.errors import NotFoundError
from saewidgets.widgets import shell
from saewidgets.widgets.shell import load_bundle  # before tests/widgets/conftest.py puts another in its place


@pytest.fixture(autouse=True)
def fresh() -> object:
    load_bundle.cache_clear()
    yield
    load_bundle.cache_clear()


def test_each_view_gets_its_bundle_and_the_style_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "saewidgets.js").write_text("export default {}", "utf-8")
    (tmp_path / "library.js").write_text("export default { library }", "utf-8")
    (tmp_path / "features.js").write_text("export default { features }", "utf-8")
    (tmp_path / "steering.js").write_text("export default { steering }", "utf-8")
    (tmp_path / "saewidgets.css").write_text(".sw{}", "utf-8")
    monkeypatch.setattr(shell, "STATIC", tmp_path)
    assert load_bundle("training_panel") == ("export default {}", ".sw{}")
    for view in ("sae_browser", "download"):
        assert load_bundle(view) == ("export default { library }", ".sw{}")
    assert load_bundle("steering") == ("export default { steering }", ".sw{}")
    assert load_bundle("extraction_viewer") == ("export default { features }", ".sw{}")


def test_a_missing_bundle_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "STATIC", tmp_path)
    with pytest.raises(NotFoundError, match="npm run build") as caught:
        load_bundle("training_panel")
    assert caught.value.where == str(tmp_path / "saewidgets.js")
