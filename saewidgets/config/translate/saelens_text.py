"""The text of a SAELens configuration, how it fills the contexts, and which positions of these are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saewidgets.config.corpus import as_corpus
from saewidgets.config.translate.source import Settings
from saewidgets.errors import ConfigError


def positions(settings: Settings) -> dict[str, Any]:
    """How documents fill the contexts, and which positions of these are read."""
    separator, excluded = settings.take("sequence_separator_token"), settings.take("exclude_special_tokens")
    if separator is None:
        separator = "none" if settings.null("sequence_separator_token") else "bos"
    elif type(separator) not in (int, str):
        raise settings.wrong("sequence_separator_token", "bos, eos, sep or a token id")
    if excluded is not None and not isinstance(excluded, bool | list):
        raise settings.wrong("exclude_special_tokens", "true, false or a list of token ids")
    return {
        "join_documents": not settings.take("disable_concat_sequences", False), "separator": separator,
        "prepend_bos": settings.take("prepend_bos", True), "seqpos_slice": settings.take("seqpos_slice"),
        "exclude_special_tokens": excluded or False,
    }  # fmt: skip


def corpus_of(settings: Settings, config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """The text, where `changes` do not say which it is."""
    path, tokenized = settings.take("dataset_path", ""), settings.take("is_dataset_tokenized", True)
    chat = settings.take("use_chat_formatting", False)
    settings.lost("use_cached_activations", "activations are computed again; see docs/activation-store.md.", False)
    if names_the_text(changes):
        if chat:
            settings.remark("lost", "use_chat_formatting", True, "say chat=True of the text that you give.")
        return
    if not path.strip():
        raise ConfigError(
            "The configuration names no dataset.", where="dataset_path",
            hint="Give one: from_saelens(..., corpus=...), or --corpus.",
        )
    config["corpus"] = {"kind": "tokens", "source": path} if tokenized and not chat else as_corpus(path)
    if chat and isinstance(config["corpus"], dict):
        config["corpus"]["chat"] = True


def names_the_text(changes: Mapping[str, Any]) -> bool:
    """Whether `changes` say which text it is; ``corpus.text_field`` and the like only say more of it."""
    return "corpus" in changes or "corpus.kind" in changes
