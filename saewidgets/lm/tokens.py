"""Defines `SpecialTokens` and `TokenText`, which ids of a tokenizer are special and the text of each by itself, and
`TokenMask`, the rule that says which positions of a context take part in training and metrics.

Byte-level tokenizers write ``Ġking`` for " king" and split one character over several tokens; SentencePiece writes
``▁king`` and ``<0xE2>``. Here every token becomes bytes, and a run of tokens becomes readable pieces.
"""

from __future__ import annotations

import builtins
import codecs
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from saewidgets.config.packing import SeqposSlice, positions
from saewidgets.config.training import ActivationsConfig
from saewidgets.errors import ConfigError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The special ids of a tokenizer; `all` are those that are not text (bos, [MASK], padding, chat marks, …): the
    tokens that the tokenizer names, such as ``eos_token``, and added tokens that it flags as special. The unknown token
    stands for text, if it is not also one of these."""

    bos: int | None  # put first in a context: the token for that, else [CLS], else the end-of-sequence token (GPT-2's)
    separator: int | None  # put between documents: the end-of-sequence token, else [SEP], else `bos`
    all: tuple[int, ...]
    closing: int | None = None  # put last in a context where `bos` is first: [SEP] of encoders' tokenizers


def special_tokens(tokenizer: Any) -> SpecialTokens:
    """Read the special ids off a transformers tokenizer."""
    bos = tokenizer.bos_token_id
    eos = tokenizer.eos_token_id
    cls = getattr(tokenizer, "cls_token_id", None)
    sep = getattr(tokenizer, "sep_token_id", None)
    unknown = tokenizer.unk_token_id
    flagged = getattr(tokenizer, "added_tokens_decoder", {}).items()
    ids = {int(i) for i in tokenizer.all_special_ids} | {int(i) for i, token in flagged if token.special}
    vocabulary = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    # A byte-level vocabulary has tokens for every text, so its unknown token is a mark: SmolLM's <|endoftext|>.
    is_text = getattr(vocabulary, "unk_token", "") is not None
    if is_text and unknown is not None and unknown not in (bos, eos, cls, sep, tokenizer.pad_token_id):
        ids.discard(unknown)
    known = [int(i) for i in (bos, cls, eos) if i is not None]
    between = [int(i) for i in (eos, sep, bos) if i is not None]
    # One token alone stands in front: XGLM's, a decoder's, begins every text with [SEP].
    framed = cls is not None and sep is not None and _frame(tokenizer)[1:][-1:] == [sep]
    return SpecialTokens(
        bos=known[0] if known else None, separator=between[0] if between else None, all=tuple(sorted(ids)),
        closing=int(sep) if sep is not None and framed else None,
    )


def separator_id(tokenizer: Any, name: str) -> int | None:
    """The token that stands between documents: "bos" (where there is none, what stands for it in `special_tokens`),
    "sep", "none", or a token id. Raises `ConfigError` where the tokenizer has no such token."""
    if name == "none":
        return None
    found = special_tokens(tokenizer).bos if name == "bos" else getattr(tokenizer, "sep_token_id", None)
    if name.isdigit():
        found = int(name) if int(name) < len(tokenizer) else None
    if found is None:
        raise ConfigError(
            f"The tokenizer has no token {name}." if name.isdigit() else f"The tokenizer has no {name.upper()} token.",
            where="activations.separator",
            hint=f"It knows ids up to {len(tokenizer) - 1:,}." if name.isdigit() else 'Choose "eos", or "none".',
        )
    return int(found)


def _frame(tokenizer: Any) -> list[int]:
    """The special tokens that a tokenizer puts around a text by itself: those of an empty one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        build = getattr(tokenizer, "build_inputs_with_special_tokens", None)
        return [] if build is None else list(build([]))
    if backend.post_processor is None:
        return []
    from transformers import tokenization_utils_base  # loaded with the tokenizer

    base: Any = tokenization_utils_base
    # The post-processor by itself: what the last call asked for (padding, truncation) says nothing here.
    return list(backend.post_processor.process(base.EncodingFast()).ids)


def _bytes_of_characters() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (the mapping of GPT-2's tokenizer): printable
    Latin-1 characters stand for themselves, the remaining bytes in order for the characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + n): b for n, b in enumerate(rest)}


def _decoder_kinds(tokenizer: Any) -> set[str]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = json.loads(backend.to_str()).get("decoder") if backend is not None else None
    if not decoder:
        return set()
    return {str(part.get("type")) for part in decoder.get("decoders", [decoder])}


def pieces_of(datas: Iterable[bytes]) -> list[str]:
    """One string per token from its bytes; together they are the text. A character that several tokens share is given
    whole to the first of them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces: list[str] = []
    start: int | None = None  # the token that began a character which is not whole yet
    for index, data in enumerate(datas):
        pieces.append("")
        # Where a new character begins, the unfinished one stays broken.
        if start is not None and data and data[0] & 0xC0 != 0x80:
            pieces[start] += decoder.decode(b"", final=True)
            start = None
        text = decoder.decode(data)
        if start is not None and text:
            pieces[start] += text[0]
            text, start = text[1:], None
        pieces[index] += text
        if start is None and decoder.getstate()[0]:
            start = index
    if start is not None:
        pieces[start] += decoder.decode(b"", final=True)
    return pieces


class TokenText:
    """Turns ids of one tokenizer into text, token by token."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._kinds = _decoder_kinds(tokenizer)
        self._characters = _bytes_of_characters()
        self._added = {int(i): str(t) for i, t in getattr(tokenizer, "added_tokens_decoder", {}).items()}
        self._cache: dict[int, builtins.bytes] = {}

    def bytes(self, token: int) -> builtins.bytes:
        """The UTF-8 bytes that `token` stands for (possibly only part of a character)."""
        if token not in self._cache:
            self._cache[token] = self._lookup(token)
        return self._cache[token]

    def _lookup(self, token: int) -> builtins.bytes:
        if token in self._added:
            return self._added[token].encode()
        name = self._tokenizer.convert_ids_to_tokens(token)
        if name is None:  # a vocabulary padded beyond the tokenizer's
            return f"<{token}>".encode()
        if "ByteLevel" in self._kinds and all(c in self._characters for c in name):
            return builtins.bytes(self._characters[c] for c in name)
        if match := _BYTE_TOKEN.fullmatch(name):
            return builtins.bytes([int(match[1], 16)])
        if "WordPiece" in self._kinds:
            return (name[2:] if name.startswith("##") else f" {name}").encode()
        if "▁" in name:
            return str(name).replace("▁", " ").encode()
        if self._kinds:
            return str(name).encode()
        return str(self._tokenizer.decode([token])).encode()

    def pieces(self, tokens: Iterable[int]) -> list[str]:
        return pieces_of(self.bytes(int(token)) for token in tokens)

    def text(self, tokens: Sequence[int]) -> str:
        return b"".join(self.bytes(int(t)) for t in tokens).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class TokenMask:
    """A rule; by itself it keeps everything but special tokens. `seqpos_slice` None: all positions."""

    exclude_special: bool = True
    exclude_ids: tuple[int, ...] = ()
    seqpos_slice: SeqposSlice | None = None

    @classmethod
    def of(cls, settings: ActivationsConfig) -> TokenMask:
        return cls(settings.exclude_special_tokens, settings.exclude_token_ids or (), settings.seqpos_slice)

    @property
    def advice(self) -> str:
        """What else helps where there are too few positions, to go on in a sentence."""
        return "" if self.seqpos_slice is None and not self.exclude_ids else ", or leave fewer Positions and tokens out"

    def in_slice(self, context_size: int) -> npt.NDArray[np.bool_]:
        found = np.zeros(context_size, dtype=bool)
        found[list(positions(self.seqpos_slice, context_size))] = True
        return found

    def mask(self, tokens: npt.NDArray[np.integer], special: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
        """The positions that are kept, of the shape of `tokens` ``[..., context_size]``; `special` says which tokens
        are special, where that matters."""
        kept = np.ones(tokens.shape, dtype=bool) if special is None or not self.exclude_special else ~special
        if self.exclude_ids:
            kept &= ~np.isin(tokens, self.exclude_ids)
        if self.seqpos_slice is not None:
            kept &= self.in_slice(tokens.shape[-1])
        return kept

    @property
    def layout(self) -> dict[str, object]:
        """What bit-identity depends on; settings that are not used say nothing, as before there were any."""
        more = {"exclude_token_ids": list(self.exclude_ids), "seqpos_slice": list(self.seqpos_slice or ())}
        used = {name: value for name, value in more.items() if value}
        return {"exclude_special_tokens": self.exclude_special, **used}
