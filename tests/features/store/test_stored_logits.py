"""Logit tables beside an extraction: written whole, found when they come, read without a tokenizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from saewidgets.errors import FormatError, StorageError
from saewidgets.features.export import stored_effects
from saewidgets.features.store.layout import LOGIT_ARRAYS
from saewidgets.features.store.read import Store, open_store
from saewidgets.features.store.write import write_logits
from tests.features.store.conftest import D

WORDS = [b" ship", "é".encode()[:1], b"<b>\x00"]
VOCABULARY = np.array([[5, 0, 5], [9, 5, 6], [40_000, 6, 10]])


def tables(seed: int = 0, **changes: Any) -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(seed)
    found = {
        name: rng.choice([5, 9, 40_000], (D, 10)) if "tokens" in name else rng.normal(size=(D, 10)).astype("f4")
        for name in LOGIT_ARRAYS
    }
    return found | changes


def put(store: Store, arrays: dict[str, npt.NDArray[Any]]) -> None:
    write_logits(store.folder, arrays, VOCABULARY, b"".join(WORDS))


def test_they_are_found_when_they_come(store: Store) -> None:
    assert store.logits is None
    assert stored_effects(store) is None
    before = store.size_bytes
    put(store, tables())
    assert store.logits is not None  # of a store that was open all the time
    assert store.size_bytes > before
    for name, expected in tables().items():
        np.testing.assert_array_equal(store.logits[name], expected)
        assert store.logits[name].dtype == LOGIT_ARRAYS[name].dtype
    assert [store.logit_text(token) for token in (5, 9, 40_000)] == [" ship", "\ufffd", "<b>\x00"]
    assert store.logit_text(12_345) == "<12345>"
    effects = stored_effects(store)
    assert effects is not None
    found = effects(3)
    assert found is not None
    assert [one.token for one in found.raises] == tables()["top_tokens"][3].tolist()
    assert {one.text for one in found.raises} <= {" ship", "\ufffd", "<b>\x00"}
    assert [one.value for one in found.lowers] == tables()["bottom_logits"][3].tolist()


def test_new_ones_replace_old_ones(store: Store, packed: Any) -> None:
    put(store, tables())
    (store.folder / ".logits.old").mkdir()  # of a process that was killed
    (store.folder / ".logits.tmp").mkdir()
    (store.folder / ".logits.tmp" / "half.npy").write_bytes(b"x")
    put(store, tables(1))
    again = open_store(store.folder, packed.folder.parent).logits
    assert again is not None
    np.testing.assert_array_equal(again["top_logits"], tables(1)["top_logits"])
    assert not list(store.folder.glob(".logits*"))


def test_a_disk_that_refuses(store: Store, packed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, tables())

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        put(store, tables(1))
    monkeypatch.undo()
    assert caught.value.where == str(store.folder)

    rename = Path.rename

    def once(self: Path, target: Path) -> Path:
        if self.name == ".logits.tmp":
            raise OSError(13, os.strerror(13))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(StorageError):
        put(store, tables(1))
    monkeypatch.undo()
    kept = open_store(store.folder, packed.folder.parent).logits
    assert kept is not None
    np.testing.assert_array_equal(kept["top_logits"], tables()["top_logits"])
    assert not list(store.folder.glob(".logits*"))


@pytest.mark.parametrize("wrong", [{"top_tokens": np.zeros((D, 9))}, {"more": np.zeros(1)}])
def test_mistakes_of_the_caller(store: Store, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"top_tokens|layout"):
        put(store, tables(**wrong))
    assert store.logits is None


@pytest.mark.parametrize(
    ("name", "content"),
    [("top_tokens.npy", b"broken"), ("vocabulary.npy", b"broken"), ("vocabulary.bin", b""), ("vocabulary.bin", None)],
)
def test_damaged_tables_are_named(store: Store, name: str, content: bytes | None) -> None:
    put(store, tables())
    file = store.folder / "logits" / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(FormatError, match=f"logits/{name}"):
        _ = store.logits
    assert store.manifest.d_sae == D
