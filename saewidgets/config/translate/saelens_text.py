"""The text of a SAELens configuration, how it fills the contexts, and which positions of these are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saewidgets.config.corpus import as_corpus
from saewidgets.config.translate.source import Settings
from saewidgets.errors import ConfigError


def positions(settings: Settings) -> dict[str, Any]:
    """How documents fill the contexts, and which positions of these are read."""
    unseparated = settings.null("sequence_separator_token")
    return {
        "join_documents": not settings.take("disable_concat_sequences", False),
        "separator": settings.take("sequence_separator_token", "none" if unseparated else "bos"),
        "prepend_bos": bool(settings.take("prepend_bos", True)), "seqpos_slice": settings.take("seqpos_slice"),
        "exclude_special_tokens": settings.take("exclude_special_tokens", False),
    }  # fmt: skip


def corpus_of(settings: Settings, config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """The text, where `changes` do not say which it is."""
    path, tokenized = settings.take("dataset_path", ""), settings.take("is_dataset_tokenized", True)
    chat = settings.take("use_chat_formatting", False) is True
    settings.lost("use_cached_activations", "activations are computed again; see docs/activation-store.md.", False)
    if names_the_text(changes):
        if chat:
            settings.remark("lost", "use_chat_formatting", True, "say chat=True of the text that you give.")
        return
    if not isinstance(path, str) or not path.strip():
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
