"""How documents fill the contexts that a model reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from saewidgets.config.base import Config
from saewidgets.errors import ConfigError

SEPARATORS = ("eos", "bos", "sep", "none")
_MOST = 1 << 31


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
        f"{str(value)[:40]!r} is no token between documents.", hint='Enter "eos", "bos", "sep", "none", or a token id.'
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
        """As SAELens writes it into the metadata of an SAE; how documents are joined only where it is not as usual."""
        found: dict[str, Any] = {"prepend_bos": self.prepend_bos}
        if not self.join:
            found["disable_concat_sequences"] = True
        if self.separator != "eos":
            digits, none = self.separator.isdigit(), self.separator == "none"
            found["sequence_separator_token"] = int(self.separator) if digits else None if none else self.separator
        return found

    @classmethod
    def from_data(cls, data: Any) -> Packing:
        """Of what `to_data` or SAELens wrote; what makes no sense there is as good as not said."""
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
