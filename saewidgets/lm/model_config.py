"""The transformers library, imported by one thread at a time, and what its configurations state.

Transformers loads its modules lazily; two threads that ask for their first names at once get "cannot import name …".
"""

from __future__ import annotations

import threading
from typing import Any

from saewidgets.errors import ConfigError

_NAMES = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoTokenizer")
_lock = threading.Lock()


def transformers() -> Any:
    """The module, with the classes this package uses already loaded. Seconds the first time."""
    with _lock:
        import transformers as library  # seconds to import

        for name in _NAMES:
            getattr(library, name)
    return library


# Encoders that number positions from padding_idx + 1 on, in a table that has rows for the numbers before it.
_OFFSET_POSITIONS = frozenset({
    "roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "data2vec-text", "mpnet",
    "longformer", "luke", "ibert", "xmod", "esm",
})  # fmt: skip


def text_config(model: Any) -> Any:
    """The configuration of the language part (of a model that may also see or hear)."""
    config = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def is_encoder(config: Any) -> bool:
    """Whether a text configuration is of an encoder such as BERT: every token sees those after it, too, and there is no
    loss of the next token."""
    if any(getattr(config, flag, False) for flag in ("is_decoder", "is_encoder_decoder", "causal")):
        return False
    if type(config) in transformers().AutoModelForMaskedLM._model_mapping:
        return True
    code = getattr(config, "auto_map", None) or {}  # a class from the model's own repository
    names = getattr(config, "architectures", None) or ()
    return any(str(name).endswith("ForMaskedLM") for name in names) or (
        "AutoModelForMaskedLM" in code and "AutoModelForCausalLM" not in code
    )


def encodes(model: Any) -> bool:
    """Whether a model is an encoder; see `is_encoder`."""
    return hasattr(model, "config") and is_encoder(text_config(model))


def predicts_next(model: Any) -> bool:
    """Whether a transformers model gives logits of the next token: a causal one with its output layer."""
    if encodes(model):
        return False
    head = getattr(model, "get_output_embeddings", lambda: None)()
    generates = getattr(model, "can_generate", lambda: False)
    return head is not None or bool(generates())


def context_of(config: Any) -> int | None:
    """The longest context in tokens that a text configuration states."""
    for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(config, key, None)
        if isinstance(value, int) and value > 0:
            if getattr(config, "model_type", "") in _OFFSET_POSITIONS:
                padding = getattr(config, "pad_token_id", None)
                value -= 1 + (1 if padding is None else int(padding))
            return value
    return None


def heads_of(config: Any) -> int | None:
    """How many heads put out something in a layer (queries: keys and values may have fewer), as far as a text
    configuration says it, and the same in all layers."""
    heads = getattr(config, "num_attention_heads", None)
    return heads if isinstance(heads, int) and heads > 0 else None


def heads_width(config: Any) -> int | None:
    """Width of all attention heads side by side, as far as a text configuration says it."""
    heads = heads_of(config)
    if heads is None:
        return None
    # What a head puts out is as wide as its values, which DeepSeek's are not as its queries.
    size = getattr(config, "v_head_dim", None) or getattr(config, "head_dim", None)
    return heads * size if isinstance(size, int) else int(config.hidden_size)


def check_context(name: str, reads: int | None, context_size: int, where: str = "context_size") -> None:
    """Raise `ConfigError` where contexts are longer than a model reads (None: that is not known)."""
    if reads is not None and context_size > reads:
        raise ConfigError(
            f"{name} reads at most {reads:,} tokens at once, not {context_size:,}.", where=where,
            hint=f"Enter {reads:,} or less.",
        )
