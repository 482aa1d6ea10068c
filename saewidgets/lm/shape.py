"""Sizes that a transformers configuration states, whatever it calls them."""

from __future__ import annotations

from typing import Any


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
