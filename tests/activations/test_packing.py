"""Packing: the policy for special tokens, the split, and files that are whole or absent."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from saewidgets.activations import PackedTokens, documents, open_corpus, pack, packing
from saewidgets.activations.shuffle import split
from saewidgets.config import TextCorpus
from saewidgets.config.packing import Packing
from saewidgets.errors import ConfigError, FormatError, StorageError
from saewidgets.lm import LoadedModel
from tests.conftest import TINY_TEXT
from tests.lm.models import encoder_tokenizer

TEXTS = ("The king went down to the river.", "Call me Ishmael.", "", "The people followed him to the sea.")


def _stream(tokenizer: Any, texts: tuple[str, ...] = TEXTS) -> list[int]:
    return [
        i for t in texts if t for i in [tokenizer.eos_token_id, *tokenizer(t, add_special_tokens=False)["input_ids"]]
    ]


def _left(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".lock-")]


@pytest.mark.parametrize("prepend_bos", [True, False])
def test_contexts_are_the_documents_one_after_another(lm: LoadedModel, tmp_path: Path, prepend_bos: bool) -> None:
    packed = pack(
        open_corpus(TextCorpus(strings=TEXTS)), lm.tokenizer, folder=tmp_path, context_size=10,
        packing=Packing(prepend_bos=prepend_bos),
    )
    found = packed.contexts(np.arange(packed.n_contexts))
    expected = _stream(lm.tokenizer)
    if prepend_bos:
        assert (found[:, 0] == lm.tokenizer.bos_token_id).all()
        found = found[:, 1:]
    assert list(found.reshape(-1)) == expected[: found.size]
    assert len(expected) - found.size == packed.facts.n_dropped_tokens < found.shape[1]
    assert packed.facts.n_documents == 3
    assert packed.facts.largest_id == max(expected)
    assert (packed.folder / "tokens.bin").stat().st_size == packed.n_contexts * 10 * 2  # uint16


def test_a_special_token_spelled_out_in_a_text_is_text(lm: LoadedModel, tmp_path: Path) -> None:
    mark = lm.tokenizer.eos_token
    corpus = open_corpus(TextCorpus(strings=[f"hello {mark} world. " * 40, "a second document " * 40]))
    packed = pack(corpus, lm.tokenizer, folder=tmp_path, context_size=32, packing=Packing(prepend_bos=False))
    ids = packed.contexts(range(packed.n_contexts)).reshape(-1)
    assert int((ids == lm.tokenizer.eos_token_id).sum()) == 2, "one before each document"
    assert lm.tokenizer.decode(ids[:60].tolist()).count(f"hello {mark} world") >= 1


def test_a_long_document_gets_no_separator_inside(
    lm: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PIECE_CHARACTERS", 40)
    monkeypatch.setattr(documents, "CHUNK_CHARACTERS", 60)
    text = "\n".join(TEXTS) * 5
    packed = pack(open_corpus(TextCorpus(strings=(text,))), lm.tokenizer, folder=tmp_path, context_size=8)
    tokens = packed.contexts(np.arange(packed.n_contexts))[:, 1:].reshape(-1)
    assert list(np.flatnonzero(tokens == lm.tokenizer.eos_token_id)) == [0]
    assert lm.tokenizer.decode(tokens[1:]) == text[: len(lm.tokenizer.decode(tokens[1:]))]


def test_the_same_text_is_packed_once(lm: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = open_corpus(TextCorpus(strings=TEXTS))
    first = pack(corpus, lm.tokenizer, folder=tmp_path, context_size=10)
    with monkeypatch.context() as patch:
        patch.setattr(packing, "_read", lambda *a, **k: pytest.fail("packed twice"))
        again = pack(corpus, lm.tokenizer, folder=tmp_path, context_size=10, validation_share=0.4)
    assert again.folder == first.folder
    others = [
        pack(corpus, lm.tokenizer, folder=tmp_path, context_size=9),
        pack(corpus, lm.tokenizer, folder=tmp_path, context_size=10, packing=Packing(prepend_bos=False)),
        pack(open_corpus(TextCorpus(strings=TEXTS[:2])), lm.tokenizer, folder=tmp_path, context_size=10),
    ]
    assert len({first.fingerprint, *(o.fingerprint for o in others)}) == 4


@pytest.mark.parametrize(
    ("n", "share", "expected"), [(1000, 0.02, 20), (10, 0.02, 1), (1, 0.02, 0), (10, 0.0, 0), (2, 0.4, 1)]
)
def test_the_split_is_even_disjoint_and_whole(n: int, share: float, expected: int) -> None:
    train, validation = split(n, 0, share)
    assert len(validation) == expected
    assert sorted([*train, *validation]) == list(range(n))
    if expected > 2:
        gaps = np.diff(validation)
        assert gaps.max() - gaps.min() <= 1


def test_packings_of_former_versions_hold_out_the_contexts_at_their_end(lm: LoadedModel, tmp_path: Path) -> None:
    packed = pack(open_corpus(TextCorpus(strings=TEXTS * 3)), lm.tokenizer, folder=tmp_path, context_size=10)
    facts = packed.folder / "pack.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"n_held_out": 2}))
    again = PackedTokens(packed.folder, 0.4)
    assert list(again.validation) == list(again.named) == [packed.n_contexts - 2, packed.n_contexts - 1]
    assert list(again.train) == list(range(packed.n_contexts - 2))


def test_without_held_out_text_evaluation_reads_training_text(lm: LoadedModel, tmp_path: Path) -> None:
    corpus = open_corpus(TextCorpus(strings=TEXTS * 4))
    packed = pack(corpus, lm.tokenizer, folder=tmp_path, context_size=10, validation_share=0)
    assert len(packed.validation) == 0
    assert packed.evaluation_contexts(35).shape == (4, 10)
    assert packed.evaluation_contexts(10**9).shape == (packed.n_contexts, 10)


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_corpus(lm: LoadedModel, tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"holds no text|less than one context") as caught:
        pack(open_corpus(TextCorpus(strings=(text,))), lm.tokenizer, folder=tmp_path, context_size=64)
    assert caught.value.where == "corpus"
    assert _left(tmp_path) == []


def test_an_interrupted_packing_leaves_no_files(lm: LoadedModel, tmp_path: Path) -> None:
    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(open_corpus(TextCorpus(strings=TEXTS)), lm.tokenizer, folder=tmp_path, context_size=10, check=check)
    assert _left(tmp_path) == []


def test_a_full_disk_is_reported(lm: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        pack(open_corpus(TextCorpus(strings=TEXTS)), lm.tokenizer, folder=tmp_path, context_size=10)
    assert caught.value.where == str(tmp_path)
    assert _left(tmp_path) == []


@pytest.mark.parametrize("damage", ["truncated", "no json", "wrong dtype"])
def test_damaged_files_are_refused(lm: LoadedModel, tmp_path: Path, damage: str) -> None:
    packed = pack(open_corpus(TextCorpus(strings=TEXTS)), lm.tokenizer, folder=tmp_path, context_size=10)
    facts = packed.folder / "pack.json"
    if damage == "truncated":
        tokens = packed.folder / "tokens.bin"
        tokens.write_bytes(tokens.read_bytes()[:-2])
    elif damage == "no json":
        facts.write_text("{")
    else:
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"dtype": "O"}))
    with pytest.raises(FormatError, match="Delete this folder"):
        PackedTokens(packed.folder)


def test_a_tokenizer_that_cuts_texts_cuts_none_and_is_left_as_it_was(lm: LoadedModel, tmp_path: Path) -> None:
    corpus = open_corpus(TextCorpus(strings=TEXTS))
    lm.tokenizer.backend_tokenizer.enable_truncation(3)
    try:
        packed = pack(corpus, lm.tokenizer, folder=tmp_path, context_size=10)
        assert lm.tokenizer.backend_tokenizer.truncation["max_length"] == 3
    finally:
        lm.tokenizer.backend_tokenizer.no_truncation()
    assert packed.n_contexts > 1
    assert pack(corpus, lm.tokenizer, folder=tmp_path, context_size=10).folder == packed.folder


@pytest.fixture(scope="module")
def framing(tiny_tokenizer_folder: Path) -> Any:
    return encoder_tokenizer(AutoTokenizer.from_pretrained(tiny_tokenizer_folder))


def test_contexts_of_encoders_stand_between_cls_and_sep(framing: Any, tmp_path: Path) -> None:
    packed = pack(open_corpus(TextCorpus(strings=tuple(TINY_TEXT))), framing, folder=tmp_path, context_size=16)
    contexts = packed.contexts(np.arange(packed.n_contexts))
    assert (contexts[:, 0] == 0).all()
    assert (contexts[:, -1] == 1).all()
    inner = contexts[:, 1:-1].reshape(-1)
    expected = [i for text in TINY_TEXT for i in (1, *framing(text, add_special_tokens=False).input_ids)]
    assert inner.tolist() == expected[: len(inner)]
    kept = packed.kept(contexts)
    assert not kept[:, [0, -1]].any()
    assert kept.sum() == (inner != 1).sum()


def test_a_context_must_have_room_for_text(framing: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no room for text") as caught:
        pack(open_corpus(TextCorpus(strings=("a king",))), framing, folder=tmp_path, context_size=2)
    assert caught.value.where == "context_size"
    assert not list(tmp_path.glob("*/tokens.bin"))
