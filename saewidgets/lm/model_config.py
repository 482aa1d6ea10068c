"""Sizes that configurations of transformers state (`stated_sizes` reads a ``config.json`` on this machine in a
millisecond), and `transformers`, which imports the library in one thread at a time.

Transformers loads its modules lazily; two threads that ask for their first names at once get "cannot import name …".
"""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from huggingface_hub import errors as hub
from huggingface_hub import try_to_load_from_cache

from saewidgets.config.names import is_local
from saewidgets.demo import resolve_model
from saewidgets.errors import ConfigError, NotFoundError

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


CONFIG_FILE = "config.json"  # every model of transformers has it
_MAX_BYTES = 16 * 1024**2  # of a config.json: the largest have some hundred kB
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")


@dataclass(frozen=True, slots=True)
class ConfigSizes:
    """Sizes of a language model (see `ModelFacts`) as far as its ``config.json`` states them."""

    n_layers: int | None = None
    context: int | None = None
    n_heads: int | None = None
    d_model: int | None = None


def stated_sizes(name: str, *, revision: str | None = None) -> ConfigSizes:
    """The sizes of a model whose configuration is on this machine; the network is never touched. Raises `NotFoundError`
    where a folder holds no model."""
    file = local_folder(name) / CONFIG_FILE if is_local(name) else cached_config(name, revision)
    found = _read(file) if file is not None else {}
    text = found.get("text_config")
    found = text if isinstance(text, dict) else found
    layers, heads, width = (_one(found, keys) for keys in (_LAYERS, _HEADS, _WIDTHS))
    return ConfigSizes(layers, context_of(SimpleNamespace(**found)), heads, width)


def _one(found: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    """The number under one of these names; None if there is none, or several differ."""
    numbers = {found[key] for key in keys if type(found.get(key)) is int}
    return numbers.pop() if len(numbers) == 1 else None


def _read(file: Path) -> dict[str, Any]:
    """Its content; empty if it cannot be read: loading the model will raise the error."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            return {}
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def local_folder(name: str) -> Path:
    """The folder `name`, or that of "demo". Raises `NotFoundError` where it does not exist or holds no model."""
    folder = Path(resolve_model(name)).expanduser().absolute()
    if not os.path.isdir(folder):  # False where no folder can have such a name
        raise NotFoundError("There is no such folder.", where=name, hint="Check the path of the model.")
    if (folder / "adapter_config.json").is_file() and not (folder / CONFIG_FILE).is_file():
        raise NotFoundError(
            "This folder holds a PEFT adapter, not a whole model.", where=name,
            hint="Merge it first: AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload()"
            ".save_pretrained(merged), and save the tokenizer beside it.",
        )
    if not (folder / CONFIG_FILE).is_file():
        raise NotFoundError(
            "This folder holds no config.json, so it is not a saved model.", where=name,
            hint="Choose the folder that model.save_pretrained wrote.",
        )
    return folder


def cached_config(name: str, revision: str | None = None) -> Path | None:
    """The configuration of the model in the cache of this machine; None if it is not there."""
    try:
        found = try_to_load_from_cache(name, CONFIG_FILE, revision=revision)
    except (hub.HFValidationError, ValueError):
        return None
    return Path(found) if isinstance(found, str) else None
