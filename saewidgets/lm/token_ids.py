"""Defines `TokenIds`, which stands in for the tokenizer of a model that has none (Othello, chess, DNA)."""

from collections.abc import Sequence
from typing import Any

from saewidgets.errors import ConfigError


class TokenIds:
    """A vocabulary of numbers: each token is shown by its id and none is special. Texts are ids with spaces between.

    Args:
        size: number of tokens.
    """

    name_or_path = ""
    bos_token_id = eos_token_id = cls_token_id = sep_token_id = pad_token_id = unk_token_id = None
    all_special_ids: tuple[int, ...] = ()
    chat_template = None

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def get_vocab(self) -> dict[str, int]:
        return {str(token): token for token in range(self._size)}

    def convert_ids_to_tokens(self, token: int) -> str | None:
        return str(token) if token < self._size else None

    def decode(self, tokens: Sequence[int], **_options: Any) -> str:
        return "".join(f" {int(token)}" for token in tokens)

    def encode(self, text: Any = "", **_options: Any) -> list[int]:
        words = str(text).split()
        if not all(word.isdecimal() and int(word) < self._size for word in words):
            raise ConfigError(
                "The model has no tokenizer, so it cannot read text.", where="tokenizer",
                hint=f"Give token ids from 0 to {self._size - 1:,}, such as 12 5 7 or TokensCorpus(file); or the "
                "tokenizer: model=model, tokenizer=tokenizer.",
            )
        return [int(word) for word in words]

    __call__ = apply_chat_template = encode
