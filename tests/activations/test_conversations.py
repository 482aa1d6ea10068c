"""Rows that are conversations: written out by the chat template of the tokenizer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saewidgets.activations import files, open_corpus, pack
from saewidgets.config import TextCorpus
from saewidgets.config.packing import Packing
from saewidgets.errors import ConfigError, FormatError
from saewidgets.lm import LoadedModel

TEMPLATE = (
    "{% for turn in messages %}{% if turn.role == 'tool' %}{{ raise_exception('No tools here.') }}{% endif %}"
    "[{{ turn.role }}] {{ turn.content }}<|eos|>{% endfor %}"
)
TALKS = [
    [{"role": "user", "content": f"Who is king number {n}?"}, {"role": "assistant", "content": "He who went down."}]
    for n in range(12)
]


@pytest.fixture
def tokenizer(lm: LoadedModel) -> Any:
    found = copy.deepcopy(lm.tokenizer)
    found.chat_template = TEMPLATE
    return found


@pytest.fixture
def packed_ids(tokenizer: Any, tmp_path: Path) -> Callable[..., list[int]]:
    def ids(corpus: Any) -> list[int]:
        packing = Packing(prepend_bos=False, separator="none")
        packed = pack(open_corpus(corpus), tokenizer, folder=tmp_path / "tokens", context_size=4, packing=packing)
        found: list[int] = packed.contexts(np.arange(packed.n_contexts)).reshape(-1).tolist()
        return found

    return ids


def _lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _expected(tokenizer: Any, talks: list[Any]) -> list[int]:
    """What transformers itself makes of them, one after the other."""
    return [i for talk in talks for i in tokenizer.apply_chat_template(talk, tokenize=True, return_dict=False)]


def _same(found: list[int], expected: list[int]) -> bool:
    return found == expected[: len(found)] and len(expected) - len(found) < 4


@pytest.mark.parametrize("column", ["messages", "chat"])
def test_json_lines(tokenizer: Any, packed_ids: Any, tmp_path: Path, column: str) -> None:
    path = _lines(tmp_path / "talks.jsonl", [{"id": n, column: talk} for n, talk in enumerate(TALKS)])
    found = packed_ids(TextCorpus(path, chat=True))
    assert _same(found, _expected(tokenizer, TALKS))
    assert tokenizer.eos_token_id in found  # the marks of the template are real ones


def test_parquet_also_where_it_is_too_long_to_be_read_whole(
    tokenizer: Any, packed_ids: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"source": ["x"] * 12, "messages": TALKS}), tmp_path / "talks.parquet")
    corpus = TextCorpus(tmp_path / "talks.parquet", chat=True)
    expected = _expected(tokenizer, TALKS)
    assert _same(packed_ids(corpus), expected)
    monkeypatch.setattr(files, "LONG", 1)
    assert _same(packed_ids(corpus), expected)


def test_plain_text_is_what_a_user_says(tokenizer: Any, packed_ids: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Call me Ishmael.")
    rows = [{"text": "The king."}, "The sea."]
    corpus = TextCorpus([tmp_path / "a.txt", _lines(tmp_path / "t.jsonl", rows)], strings=["The river."], chat=True)
    said = ["Call me Ishmael.", "The king.", "The sea.", "The river."]
    assert _same(packed_ids(corpus), _expected(tokenizer, [[{"role": "user", "content": text}] for text in said]))


def test_a_tokenizer_without_a_template(lm: LoadedModel, tmp_path: Path) -> None:
    corpus = open_corpus(TextCorpus(_lines(tmp_path / "t.jsonl", [{"messages": TALKS[0]}]), chat=True))
    with pytest.raises(ConfigError, match="no chat template") as caught:
        pack(corpus, lm.tokenizer, folder=tmp_path / "tokens", context_size=8)
    assert caught.value.where == "corpus.chat"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([{"role": "user"}], "Row 2 is no conversation"), (["a"], "Row 2 is no conversation"),
        ([{"role": "user", "content": [{"type": "image"}]}], "Row 2 is no conversation"), (7, "Row 2 is no conv"),
        ([{"role": "tool", "content": "x"}], "No tools here"),
    ],
)  # fmt: skip
def test_rows_that_are_none(packed_ids: Any, tmp_path: Path, value: Any, said: str) -> None:
    path = _lines(tmp_path / "t.jsonl", [{"messages": TALKS[0]}, {"messages": value}])
    with pytest.raises(FormatError, match=said) as caught:
        packed_ids(TextCorpus(path, chat=True))
    assert "t.jsonl:2" in str(caught.value)


def test_conversations_are_not_mistaken_for_text(packed_ids: Any, tmp_path: Path) -> None:
    path = _lines(tmp_path / "t.jsonl", [{"source": "somewhere", "messages": talk} for talk in TALKS])
    with pytest.raises(ConfigError, match="known for conversations, 'messages'") as caught:
        packed_ids(TextCorpus(path))
    assert caught.value.where == "corpus.chat"
    assert packed_ids(TextCorpus(path, text_field="source"))
