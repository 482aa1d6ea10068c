"""Sizes that a transformers configuration states, whatever it calls them."""

from __future__ import annotations

from typing import Any

from saewidgets.errors import ConfigError


def text_config(model: Any) -> Any:
    """The configuration of the language part (of a model that may also see or hear)."""
    config = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def context_of(config: Any) -> int | None:
    """The longest context in tokens that a text configuration states."""
    for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(config, key, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def check_context(name: str, reads: int | None, context_size: int, where: str = "context_size") -> None:
    """Raise `ConfigError` where contexts are longer than a model reads; nothing where that is not known.

    Args:
        name: the model, for the reader.
        reads: the longest context in tokens that it states.
        context_size: tokens per context that it is to read.
        where: what they were asked for with.
    """
    if reads is not None and context_size > reads:
        raise ConfigError(
            f"{name} reads at most {reads:,} tokens at once, not {context_size:,}.", where=where,
            hint=f"Enter {reads:,} or less.",
        )
