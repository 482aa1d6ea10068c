"""Token ids → special or text, byte for byte."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.lm import TokenText, special_tokens


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tiny_tokenizer_folder))


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@given(text=st.text(max_size=40))
def test_pieces_are_the_text_of_a_byte_level_tokenizer(tiny_tokenizer_folder: Path, text: str) -> None:
    tokenizer = _cached(tiny_tokenizer_folder)
    ids = _ids(tokenizer, text)
    tokens = TokenText(tokenizer)
    pieces = tokens.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokens.text(ids) == tokenizer.decode(ids, clean_up_tokenization_spaces=False)


_TOKENIZERS: dict[Path, Any] = {}


def _cached(folder: Path) -> Any:
    if folder not in _TOKENIZERS:
        from transformers import AutoTokenizer

        _TOKENIZERS[folder] = AutoTokenizer.from_pretrained(str(folder))
    return _TOKENIZERS[folder]


def test_a_character_over_several_tokens_is_given_to_the_first(tokenizer: Any) -> None:
    ids = _ids(tokenizer, "a🐳é")
    assert len(ids) == 1 + 4 + 2
    assert TokenText(tokenizer).pieces(ids) == ["a", "🐳", "", "", "", "é", ""]


def test_sentencepiece_and_wordpiece_marks_become_spaces() -> None:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocab = {"<unk>": 0, "▁king": 1, "s": 2, "<0xC3>": 3, "<0xA9>": 4, "<0x0A>": 5}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokens = TokenText(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))
    assert tokens.pieces([1, 2, 3, 4, 5]) == [" king", "s", "é", "", "\n"]

    backend = Tokenizer(models.WordPiece(vocab={"[UNK]": 0, "king": 1, "##s": 2}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    tokens = TokenText(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]"))
    assert tokens.pieces([1, 2, 1]) == [" king", "s", " king"]


def _names(**ids: int | None) -> SimpleNamespace:
    known = {f"{n}_token_id": ids.get(n) for n in ("bos", "eos", "unk", "pad")}
    return SimpleNamespace(**known, all_special_ids=[i for i in ids.values() if i is not None])


@pytest.mark.parametrize(
    ("ids", "bos", "separator", "special"),
    [
        ({"bos": 1, "eos": 2, "unk": 0}, 1, 2, (1, 2)),  # Llama: the unknown token stands for text
        ({"bos": 9, "eos": 9, "unk": 9}, 9, 9, (9,)),  # GPT-2: one token for all
        ({"eos": 3, "pad": 4}, 3, 3, (3, 4)),  # Qwen: no BOS
        ({"bos": 5}, 5, 5, (5,)),
        ({}, None, None, ()),
    ],
)
def test_special_ids(
    ids: dict[str, int | None], bos: int | None, separator: int | None, special: tuple[int, ...]
) -> None:
    found = special_tokens(_names(**ids))
    assert (found.bos, found.separator, found.all) == (bos, separator, special)


def test_broken_characters_and_ids_beyond_the_tokenizer(tokenizer: Any) -> None:
    whale, letter, tokens = _ids(tokenizer, "🐳"), _ids(tokenizer, "a"), TokenText(tokenizer)
    pieces = tokens.pieces([*whale[:2], *letter, *whale, *whale[:1]])
    assert pieces == ["�", "", "a", "🐳", "", "", "", "�"]
    assert tokens.pieces([299_999, *letter]) == ["<299999>", "a"]


def test_tokens_that_are_flagged_but_not_named_are_special(tokenizer: Any) -> None:
    """Chat templates use such tokens: Llama 3's <|start_header_id|>, Qwen's <|im_start|>."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.add_tokens([AddedToken("<|turn|>", special=True), AddedToken("plainly", special=False)])
    extended = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=tokenizer.eos_token)
    turn, plain = extended.convert_tokens_to_ids(["<|turn|>", "plainly"])
    assert turn not in extended.all_special_ids
    assert turn in special_tokens(extended).all
    assert plain not in special_tokens(extended).all
    extended.unk_token = "<|turn|>"  # no text becomes the unknown token of a byte-level vocabulary
    assert turn in special_tokens(extended).all
