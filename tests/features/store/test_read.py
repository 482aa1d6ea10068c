import json
import os
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from saewidgets.activations.packed import PackedTokens
from saewidgets.errors import FormatError, StorageError
from saewidgets.features.logit_effects import stored_effects
from saewidgets.features.store.feature_data import example_at, feature_data
from saewidgets.features.store.layout import LOGIT_ARRAYS, STORED, write_logits
from saewidgets.features.store.read import FeatureStore
from tests.features.store.made import D, make_store

Latents = npt.NDArray[np.float32]
DAMAGE = ("cut", "missing", "shape", "type", "objects")


def without_checksums(store: FeatureStore) -> dict[str, Any]:
    """The manifest as versions before checksums wrote it."""
    data = json.loads((store.folder / "extraction.json").read_text())
    del data["sha256"], data["checksums"]
    return dict(data)


def test_every_flipped_bit_is_found(store: FeatureStore) -> None:
    tokens = store.folder.parent / "tokens"
    for path in sorted(store.folder.iterdir()):
        raw = path.read_bytes()
        for at in {len(raw) // 2, len(raw) - 2}:
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
            with pytest.raises(FormatError, match=rf"{path.name}|manifest") as caught:
                feature_data(FeatureStore(store.folder, tokens), 5)
            assert "Extract it again" in str(caught.value)
        path.write_bytes(raw)
    feature_data(FeatureStore(store.folder, tokens), 5)


def test_text(store: FeatureStore, packed: PackedTokens, tokenizer: Any) -> None:
    row = 2
    ids = store.context(row)
    assert (ids == packed.context(row)).all()
    assert "".join(store.pieces(ids[1:])) == tokenizer.decode(ids[1:])
    positions = np.array([[row * 24 + 5, -1]])
    assert store.tokens_at(positions).tolist() == [[int(ids[5]), -1]]
    assert store.bytes_of(299_999) == b"<299999>"


def test_texts_are_remembered_and_shared_characters_put_together(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {1: b"caf", 2: "é".encode()[:1], 3: "é".encode()[1:], 4: b" au", 5: b"\xff"}
    asked: list[int] = []

    def bytes_of(token: int) -> bytes:
        asked.append(token)
        return words[token]

    monkeypatch.setattr(store, "bytes_of", bytes_of)
    for _ in range(2):
        assert store.pieces([1, 4, 1]) == ["caf", " au", "caf"]
    assert asked == [1, 4]
    assert store.pieces(np.array([1, 2, 3, 4])) == ["caf", "é", "", " au"]
    assert store.pieces([4, 5]) == [" au", "\ufffd"]
    assert store.pieces([]) == []


def test_an_example_begins_and_ends_with_whole_characters(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = "é".encode()[:1], "é".encode()[1:]
    monkeypatch.setattr(store, "bytes_of", lambda token: halves[token % 2])
    monkeypatch.setattr(store, "context", lambda row: np.arange(store.manifest.context_size))
    monkeypatch.setattr("saewidgets.features.store.feature_data.WINDOW", 2)
    pieces = example_at(store, 7, 1.0, np.ones(5, dtype=np.float32)).pieces  # tokens 5 to 9; 5 and 9 are second halves
    assert "\ufffd" not in "".join(pieces)
    assert len(pieces) == 5


def test_peak_tokens_are_the_commonest_of_the_top_examples(store: FeatureStore) -> None:
    for index in range(store.d_sae):
        tokens = store.tokens_at(store["top_positions"][index])
        counts = Counter(t for t in tokens.tolist() if t >= 0)
        first = {t: i for i, t in reversed(list(enumerate(tokens.tolist())))}
        expected = sorted(counts, key=lambda t: (-counts[t], first[t]))[:3]
        assert store.peak_tokens[index].tolist() == expected + [-1] * (3 - len(expected))
    again = FeatureStore(store.folder, store.folder.parent / "tokens")
    assert (again.peak_tokens == store.peak_tokens).all()


@pytest.mark.parametrize(("name", "damage"), list(zip(sorted(STORED), cycle(DAMAGE))))
def test_damaged_arrays_are_named(store: FeatureStore, name: str, damage: str) -> None:
    path = store.folder / f"{name}.npy"
    array = np.load(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: max(10, path.stat().st_size // 2)])
    elif damage == "missing":
        path.unlink()
    elif damage == "shape":
        np.save(path, array[None])
    elif damage == "type":
        np.save(path, array.astype(np.complex64))
    else:
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match=name):
        FeatureStore(store.folder, store.folder.parent / "tokens")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 99}, "newer version"), ({"d_sae": 41}, "shape"), ({"d_sae": -1}, "d_sae"),
        ({"tokens": "../../etc"}, "tokens"), ({"context_size": "x"}, "context_size"),
        *((text, "manifest is damaged") for text in ("", "[]", "{}", "{", "null")),
    ],
)
def test_damaged_manifests(store: FeatureStore, change: dict[str, Any] | str, says: str) -> None:
    path = store.folder / "extraction.json"
    path.write_text(change if isinstance(change, str) else json.dumps(without_checksums(store) | change))
    with pytest.raises(FormatError, match=says):
        FeatureStore(store.folder, store.folder.parent / "tokens")


@pytest.mark.parametrize(
    ("name", "place", "value", "says"),
    [
        ("top_windows_counts", ..., 100, "windows_counts"), ("interval_windows_starts", ..., 100, "windows_counts"),
        ("top_windows_offsets", ..., 100, "windows_counts"), ("contexts", 0, 10**9, "contexts"),
        ("top_positions", (5, 0), 2**30, "outside the text"), ("vocabulary", (-1, 2), 10**9, r"vocabulary\.bin"),
    ],
)
def test_arrays_that_do_not_fit_each_other(store: FeatureStore, name: str, place: Any, value: int, says: str) -> None:
    (store.folder / "extraction.json").write_text(json.dumps(without_checksums(store)))
    array = np.load(store.folder / f"{name}.npy")
    array[place] = value
    np.save(store.folder / f"{name}.npy", array)
    damaged = FeatureStore(store.folder, store.folder.parent / "tokens")
    with pytest.raises(FormatError, match=says):
        feature_data(damaged, 5)
    if name == "top_positions":
        with pytest.raises(FormatError, match=says):
            _ = damaged.peak_tokens


def test_writing_rejects_arrays_of_wrong_width(tmp_path: Path, packed: PackedTokens, tokenizer: Any) -> None:
    latents = np.ones((packed.n_contexts * packed.context_size, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="d"):
        make_store(tmp_path / "bad", packed, tokenizer, latents, d_sae=4)
    assert not (tmp_path / "bad" / "extraction.json").exists()


WORDS = [b" ship", "é".encode()[:1], b"<b>\x00"]
VOCABULARY = np.array([[5, 0, 5], [9, 5, 6], [40_000, 6, 10]])


def tables(seed: int = 0, **changes: Any) -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(seed)
    found = {
        name: rng.choice([5, 9, 40_000], (D, 10)) if "tokens" in name else rng.normal(size=(D, 10)).astype("f4")
        for name in LOGIT_ARRAYS
    }
    return found | changes


def put(store: FeatureStore, arrays: dict[str, npt.NDArray[Any]]) -> None:
    write_logits(store.folder, arrays, VOCABULARY, b"".join(WORDS))


def test_they_are_found_when_they_come(store: FeatureStore) -> None:
    for wrong in ({"top_tokens": np.zeros((D, 9))}, {"more": np.zeros(1)}):
        with pytest.raises(ValueError, match=r"top_tokens|layout"):
            put(store, tables(**wrong))
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
    (store.folder / "logits" / "vocabulary.npy").unlink()  # tables made before there was one have none
    assert FeatureStore(store.folder, store.folder.parent / "tokens").logit_text(5) == store.text_of(5)
    effects = stored_effects(store)
    assert effects is not None
    found = effects(3)
    assert found is not None
    assert [one.token for one in found.raises] == tables()["top_tokens"][3].tolist()
    assert {one.text for one in found.raises} <= {" ship", "\ufffd", "<b>\x00"}
    assert [one.value for one in found.lowers] == tables()["bottom_logits"][3].tolist()


def test_new_ones_replace_old_ones(store: FeatureStore, packed: Any) -> None:
    put(store, tables())
    (store.folder / ".logits.old").mkdir()  # of a process that was killed
    (store.folder / ".logits.tmp").mkdir()
    (store.folder / ".logits.tmp" / "half.npy").write_bytes(b"x")
    put(store, tables(1))
    again = FeatureStore(store.folder, packed.folder.parent).logits
    assert again is not None
    np.testing.assert_array_equal(again["top_logits"], tables(1)["top_logits"])
    assert not list(store.folder.glob(".logits*"))


def test_a_disk_that_refuses(store: FeatureStore, packed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, tables())

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        put(store, tables(1))
    monkeypatch.undo()
    assert caught.value.where == str(store.folder / "logits")

    rename = Path.rename

    def once(self: Path, target: Path) -> Path:
        if self.name.startswith(".logits.") and self.suffix == ".tmp":
            raise OSError(13, os.strerror(13))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(StorageError):
        put(store, tables(1))
    monkeypatch.undo()
    kept = FeatureStore(store.folder, packed.folder.parent).logits
    assert kept is not None
    np.testing.assert_array_equal(kept["top_logits"], tables()["top_logits"])
    assert not list(store.folder.glob(".logits*"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("top_tokens.npy", b"broken"), ("vocabulary.npy", b"broken"), ("vocabulary.bin", b""), ("vocabulary.bin", None)],
)
def test_damaged_tables_are_named(store: FeatureStore, name: str, content: bytes | None) -> None:
    put(store, tables())
    file = store.folder / "logits" / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(FormatError, match=f"logits/{name}"):
        _ = store.logits
    assert store.manifest.d_sae == D


def test_damaged_peaks_are_rebuilt_and_a_missing_store_is_an_error(store: FeatureStore, tmp_path: Path) -> None:
    tokens, expected = store.folder.parent / "tokens", store.peak_tokens
    (store.folder / "peak_tokens.npy").write_bytes(b"\x93NUMPY broken")  # it can be made again
    assert (FeatureStore(store.folder, tokens).peak_tokens == expected).all()
    with pytest.raises(StorageError, match="gone"):
        write_logits(tmp_path / "gone", tables(), VOCABULARY, b"".join(WORDS))
    assert not (tmp_path / "gone").exists()
