from __future__ import annotations

from pathlib import Path

from saewidgets.hub import space


def test_free_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert space.free_bytes(tmp_path / "a/b/c") == space.free_bytes(tmp_path)
    assert (space.free_bytes(tmp_path) or 0) > 0


def test_free_memory() -> None:
    assert (space.free_memory("cpu") or 0) > 1_000_000
    assert space.free_memory("cuda:99") is None
