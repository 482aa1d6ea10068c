"""How documents fill the contexts that a model reads, and which positions of a context count: a slice of them, and ids
of tokens that do not. Each is read from text as a form and a command line have it, and from lists as other packages
write them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from saewidgets.config.arguments import shown
from saewidgets.config.base import Config
from saewidgets.errors import ConfigError

SEPARATORS = ("eos", "bos", "sep", "none")
_MOST = 2**31  # of a position or an id; a context has a million positions at most


def as_separator(value: Any) -> str:
    """`value` as one of `SEPARATORS` or the digits of a token id; None is "none". Raises `ConfigError`."""
    if value is None:
        return "none"
    if type(value) is int and 0 <= value < _MOST:
        return str(value)
    text = value.strip().lower() if isinstance(value, str) else ""
    if text in SEPARATORS:
        return text
    if text.isascii() and text.isdigit() and int(text[:12]) < _MOST:
        return str(int(text))
    raise ConfigError(
        f"{str(value)[:40]!r} is not a separator.", hint='Enter "eos", "bos", "sep", "none", or a token id.'
    )


Separator = Annotated[str, BeforeValidator(as_separator, json_schema_input_type=str)]


@dataclass(frozen=True, slots=True)
class Packing:
    """How documents fill contexts: the settings of `PackingConfig`.

    A context starts with EOS where the tokenizer has no BOS, as GPT-2, and with nothing where it has neither; that of
    an encoder stands between [CLS] and [SEP]. Where a tokenizer has no EOS, "eos" is [SEP], else BOS. `join` off is
    SAELens' `disable_concat_sequences`.
    """

    prepend_bos: bool = True
    join: bool = True
    separator: str = "eos"

    def to_data(self) -> dict[str, Any]:
        """As SAELens writes it into the metadata of an SAE; the joining of documents only if it is not the default."""
        found: dict[str, Any] = {"prepend_bos": self.prepend_bos}
        if not self.join:
            found["disable_concat_sequences"] = True
        if self.separator != "eos":
            digits, none = self.separator.isdigit(), self.separator == "none"
            found["sequence_separator_token"] = int(self.separator) if digits else None if none else self.separator
        return found

    @classmethod
    def from_data(cls, data: Any) -> Packing:
        """From what `to_data` or SAELens wrote; invalid values count as missing."""
        said = data if isinstance(data, dict) else {}
        try:
            separator = as_separator(said.get("sequence_separator_token", "eos"))
        except ConfigError:
            separator = "eos"
        return cls(said.get("prepend_bos") is not False, said.get("disable_concat_sequences") is not True, separator)


class PackingConfig(Config):
    """The settings of every configuration that packs text."""

    prepend_bos: bool = Field(
        default=True, title="Start contexts with BOS",
        description="Put the beginning-of-sequence token first in every context.",
    )
    join_documents: bool = Field(
        default=True, title="Join documents",
        description="Documents follow one another, and are cut into contexts. Off: every context is the beginning of "
        "one document; documents shorter than a context are left out.",
    )
    separator: Separator = Field(
        default="eos", title="Between documents",
        description='What stands between joined documents: "eos", "bos", "sep", "none", or the id of a token.',
    )

    @property
    def packing(self) -> Packing:
        """How documents fill the contexts."""
        return Packing(self.prepend_bos, self.join_documents, self.separator)


FIELDS = tuple(PackingConfig.model_fields)

_SLICE = 'Write it as Python does, as text: "5:-5", "1:" or "0:64:2".'

SeqposSlice = tuple[int | None, int | None] | tuple[int | None, int | None, int | None]
"""Start, stop and, where it is not 1, step: as Python slices, so negative ones count from the end."""


def as_slice(value: Any) -> SeqposSlice | None:
    """`value` as start, stop and maybe a step; None where every position counts. Raises `ConfigError`.

    Takes ``"5:-5"``, a Python slice, and lists of one to three entries as `slice` takes them: ``[-5]`` is ``":-5"``.
    """
    if isinstance(value, slice):
        parts: Sequence[Any] = (value.start, value.stop, value.step)
    elif isinstance(value, str):
        parts = _parts(value)
    elif isinstance(value, list | tuple):
        parts = value if len(value) != 1 else (None, value[0])
    else:
        parts = () if value is None else ("?",)
    if not parts:
        return None
    if len(parts) > 3 or not all(part is None or _is_whole(part, -_MOST) for part in parts):
        raise ConfigError(f"{shown(value)} is not a slice of positions.", hint=_SLICE)
    start, stop, step = (*parts, None)[:3]
    if step is not None and step < 1:
        raise ConfigError(f"The step of the slice is {step}.", hint="Use 1 or more; 1 where it is left out.")
    start = start or None  # 0 and nothing are the same beginning
    if step in (None, 1):
        return None if start is None and stop is None else (start, stop)
    return start, stop, step


def _parts(text: str) -> Sequence[Any]:
    if not text.strip():
        return ()
    found = [part.strip() for part in text.strip().strip("[]()").replace(",", ":").split(":")]
    if len(found) == 1:
        return ("?",)  # "5" alone could be its start as well as its stop
    return [None if part in ("", "None", "null") else _whole(part) for part in found]


def _whole(text: str) -> Any:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 11 else text


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MOST


def spelled(seqpos_slice: Sequence[int | None] | None) -> str | None:
    """The slice as a person writes it: ``"5:-5"``."""
    return None if seqpos_slice is None else ":".join("" if part is None else str(part) for part in seqpos_slice)


def whole_numbers(text: str) -> list[int] | None:
    """The numbers in a text such as "64, 256" or "[3 5]"; None where something else is in it."""
    found = [_whole(part) for part in text.strip().strip("[]()").replace(",", " ").split()]
    return found if all(_is_whole(each, 0) for each in found) else None


def as_ids(value: Any) -> tuple[int, ...] | None:
    """Ids of tokens, ascending and each once; None where there are none. Raises `ConfigError`."""
    if value is None:
        return None
    ids = [value] if _is_whole(value, 0) else value
    if isinstance(value, str):
        ids = whole_numbers(value)
    if not isinstance(ids, list | tuple | set | frozenset) or not all(_is_whole(each, 0) for each in ids):
        raise ConfigError(f"{shown(value)} is not a list of token ids.", hint="Enter whole numbers: 50256, 198.")
    return tuple(sorted(set(ids))) or None


def positions(seqpos_slice: Iterable[int | None] | None, context_size: int) -> range:
    """The positions of a context that count, as numbers."""
    return range(context_size) if seqpos_slice is None else range(context_size)[slice(*seqpos_slice)]


_TEXT = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}, mode="validation")
Positions = Annotated[
    SeqposSlice | None, BeforeValidator(as_slice), PlainSerializer(spelled, return_type=str | None, when_used="json"),
    _TEXT,
]
TokenIds = Annotated[tuple[int, ...] | None, BeforeValidator(as_ids), _TEXT]
