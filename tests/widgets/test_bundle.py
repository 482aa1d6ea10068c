"""The bundles: read once, and a clear error when they were not built."""

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


@pytest.mark.parametrize(
    ("view", "bundle"),
    [
        ("training_panel", "saewidgets"), ("sae_browser", "library"), ("download", "library"),
        ("extraction_viewer", "features"), ("steering", "steering"),
    ],
)  # fmt: skip
def test_each_view_gets_its_bundle(view: str, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("saewidgets.js", "library.js", "features.js", "steering.js", "saewidgets.css"):
        (tmp_path / name).write_text(name, "utf-8")
    monkeypatch.setattr(shell, "STATIC", tmp_path)
    assert load_bundle(view) == (f"{bundle}.js", "saewidgets.css")


def test_a_missing_bundle_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "STATIC", tmp_path)
    with pytest.raises(NotFoundError, match="npm run build") as caught:
        load_bundle("training_panel")
    assert caught.value.where == str(tmp_path / "saewidgets.js")
