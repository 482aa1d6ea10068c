"""What the configuration of a model says of its sizes, read in a millisecond.

`model_facts` knows more, but asks transformers, which takes seconds to import, and the hub. This is for what must
answer at once: it reads ``config.json`` where it lies on this machine, and says nothing where that is silent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from saewidgets.config.model_names import is_local
from saewidgets.lm.loading import local_folder
from saewidgets.lm.reach import cached_config
from saewidgets.lm.shape import context_of

_MAX_BYTES = 16 * 1024**2  # of a config.json: the largest have some hundred kB
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")


@dataclass(frozen=True, slots=True)
class StatedSizes:
    """Sizes of a language model as far as its ``config.json`` states them.

    Attributes:
        n_layers: number of blocks.
        context: longest context in tokens.
        n_heads: number of attention heads in every layer.
        d_model: width of the residual stream.
    """

    n_layers: int | None = None
    context: int | None = None
    n_heads: int | None = None
    d_model: int | None = None


def stated_sizes(name: str, *, revision: str | None = None) -> StatedSizes:
    """The sizes of a model whose configuration is on this machine; the network is never touched.

    Args:
        name: a folder, or a Hugging Face id.
        revision: branch, tag or commit of an id.

    Raises:
        NotFoundError: there is no such folder, or it holds no model.
    """
    file = local_folder(name) / "config.json" if is_local(name) else cached_config(name, revision)
    found = _read(file) if file is not None else {}
    text = found.get("text_config")
    found = text if isinstance(text, dict) else found
    layers, heads, width = (_one(found, keys) for keys in (_LAYERS, _HEADS, _WIDTHS))
    return StatedSizes(layers, context_of(SimpleNamespace(**found)), heads, width)


def _one(found: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    """The number that stands under these names; None where there is none, or several."""
    numbers = {found[key] for key in keys if type(found.get(key)) is int}
    return numbers.pop() if len(numbers) == 1 else None


def _read(file: Path) -> dict[str, Any]:
    """Its content; nothing where it cannot be read: loading the model says what is wrong with it."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            return {}
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
