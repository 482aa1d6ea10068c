"""How documents fill contexts: joined with a separator of one's own, or each on its own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saewidgets.activations import PackedTokens, open_corpus, pack
from saewidgets.activations.documents import Document
from saewidgets.activations.packing import Contexts
from saewidgets.config import TextCorpus
from saewidgets.config.packing import Packing, as_separator
from saewidgets.errors import ConfigError
from saewidgets.features.extraction.extractor import Documents
from saewidgets.lm import LoadedModel, SpecialTokens

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "saelens" / "packing.json").read_text())
LONG = "The king went down to the river and the people followed him to the sea."
TEXTS = (LONG, "Call me Ishmael.", LONG + " " + LONG, LONG.upper())


class Vocabulary:
    """All that `Contexts` asks of a tokenizer when the ids are there."""

    backend_tokenizer = None

    def __len__(self) -> int:
        return 50


def _rows(contexts: Contexts, documents: list[list[int]], pieces: int) -> list[list[int]]:
    """The contexts of documents that come in pieces of so many tokens, a few pieces at a time."""
    parts = [
        Document("", "", continues=start > 0, ids=np.array(ids[start : start + pieces], dtype=np.int64))
        for ids in documents
        for start in range(0, len(ids), pieces)
    ]
    return [row for at in range(0, len(parts), 5) for row in contexts.add(parts[at : at + 5]).tolist()]


@pytest.mark.parametrize(("bos", "pieces"), [(True, 100), (False, 8), (True, 3), (False, 1)])
def test_documents_that_are_not_joined_give_the_contexts_of_saelens(bos: bool, pieces: int) -> None:
    special = SpecialTokens(bos=GOLDEN["bos"], separator=0, all=(0, 1))
    contexts = Contexts(Vocabulary(), special, GOLDEN["context_size"], prepend_bos=bos, join=False)
    found = _rows(contexts, GOLDEN["documents"], pieces)
    assert found == GOLDEN["with_bos" if bos else "without_bos"]
    assert contexts.documents == len(GOLDEN["documents"])


def test_a_document_that_goes_on_later_is_not_begun_again() -> None:
    special = SpecialTokens(bos=1, separator=0, all=(0, 1))
    first = Contexts(Vocabulary(), special, 5, join=False)
    start = [Document("", "", ids=np.arange(10, 13)), Document("", "", continues=True, ids=np.arange(13, 14))]
    assert first.add(start[:1]).tolist() == []
    second = Contexts(Vocabulary(), special, 5, join=False, rest=first.rest)
    assert second.add(start[1:]).tolist() == [[1, 10, 11, 12, 13]]
    third = Contexts(Vocabulary(), special, 5, join=False, rest=second.rest)
    assert third.add([Document("", "", continues=True, ids=np.arange(20, 40))]).tolist() == []
    assert third.add([Document("", "", ids=np.arange(2, 5))]).tolist() == []
    assert third.end() == 3


def _packed(lm: LoadedModel, folder: Path, **packing: Any) -> PackedTokens:
    corpus = open_corpus(TextCorpus(strings=TEXTS))
    return pack(corpus, lm.tokenizer, folder=folder, context_size=8, packing=Packing(**packing))


def test_every_context_begins_a_document(lm: LoadedModel, tmp_path: Path) -> None:
    packed = _packed(lm, tmp_path, join=False)
    ids = [lm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    bos = lm.tokenizer.bos_token_id
    rows = [[bos, *each[:7]] for each in ids if len(each) >= 7]
    assert packed.contexts(np.arange(packed.n_contexts)).tolist() == rows
    assert packed.facts.n_dropped_tokens == sum(len(each) for each in ids if len(each) < 7)
    numbers = torch.arange(packed.n_contexts)
    found = Documents(packed.facts.separator, True, packed.facts.joined).number(torch.tensor(rows), numbers)
    assert found[:, 0].tolist() == list(range(len(rows)))
    assert (found == found[:, :1]).all()
    assert PackedTokens(packed.folder).facts == packed.facts
    with pytest.raises(ConfigError, match="no document of at least 4,000 tokens"):
        pack(
            open_corpus(TextCorpus(strings=TEXTS)), lm.tokenizer, folder=tmp_path, context_size=4000,
            packing=Packing(join=False),
        )  # fmt: skip


def test_the_separator_between_documents(lm: LoadedModel, tmp_path: Path) -> None:
    usual = _packed(lm, tmp_path)
    assert usual.facts.separator == lm.tokenizer.eos_token_id
    assert _packed(lm, tmp_path, separator="eos").folder == usual.folder
    for separator, token in (("bos", lm.tokenizer.bos_token_id), ("7", 7), ("none", None)):
        packed = _packed(lm, tmp_path, prepend_bos=False, separator=separator)
        assert packed.facts.separator == token
        expected: list[int] = []
        for text in TEXTS:
            expected += [] if token is None else [token]
            expected += lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        found = packed.contexts(np.arange(packed.n_contexts)).reshape(-1).tolist()
        assert found == expected[: len(found)]
        assert len(expected) - len(found) < 8
    for separator, said in (("sep", "has no SEP token"), ("999999", "no token 999999")):
        with pytest.raises(ConfigError, match=said):
            _packed(lm, tmp_path, separator=separator)


@pytest.mark.parametrize(
    ("given", "wanted"), [("EOS ", "eos"), (None, "none"), (50256, "50256"), ("0012", "12"), ("sep", "sep")]
)
def test_separators(given: Any, wanted: str) -> None:
    assert as_separator(given) == wanted
    packing = Packing(True, False, wanted)
    assert Packing.from_data(packing.to_data()) == packing


@pytest.mark.parametrize("wrong", ["", "comma", -1, True, 1.5, [1], "9" * 300, "٣"])
def test_rejects_an_invalid_separator(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="is not a separator"):
        as_separator(wrong)
    assert Packing.from_data({"sequence_separator_token": wrong}).separator == "eos"
