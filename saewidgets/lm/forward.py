"""Defines `forward`: one plain forward of a transformers model, and which tensors its modules read and return."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from saewidgets.errors import SAEWidgetsError
from saewidgets.lm.model_config import encodes
from saewidgets.products import fast_layers


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Dropout and the like off inside; afterwards every submodule is in the mode it was in."""
    training = [m for m in module.modules() if m.training]
    for m in training:
        m.training = False
    try:
        yield
    finally:
        for m in training:
            m.training = True


def first_tensor(value: Any) -> Tensor:
    """The hidden states in what a module returned: a tensor, or the first entry of a tuple."""
    found = value[0] if isinstance(value, tuple | list) else value
    if not isinstance(found, Tensor):
        raise SAEWidgetsError(
            f"A block returned {type(found).__name__} where a tensor of hidden states was expected.",
            where="hook_name",
            hint="This architecture is not supported at this hook point; try hook_resid_post.",
        )
    return found


def with_first(value: Any, new: Tensor) -> Any:
    """What a module returned, with other hidden states in it."""
    if isinstance(value, tuple):
        return (new, *value[1:])
    if isinstance(value, list):
        return [new, *value[1:]]
    return new


def forward(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Any:
    """One plain forward: no cache, dropout off, no gradients. `input_ids` is ``[batch, context]`` on any device."""
    kwargs: dict[str, Any] = {"input_ids": input_ids.to(input_device(model)), **options}
    if not encodes(model):  # encoders have no cache, and some do not take the word
        kwargs["use_cache"] = False
    if attention_mask is not None:
        kwargs["attention_mask"] = attention_mask.to(kwargs["input_ids"].device)
    # The model computes in its own number format even where the caller's code runs under autocast.
    no_autocast = torch.autocast(kwargs["input_ids"].device.type, enabled=False)
    with evaluating(model), torch.no_grad(), no_autocast, fast_layers():
        return model(**kwargs)


def input_device(model: nn.Module) -> torch.device:
    """Where token ids have to be: with the input embeddings."""
    get: Any = getattr(model, "get_input_embeddings", None)
    embeddings = get() if get is not None else None
    source = embeddings if isinstance(embeddings, nn.Module) else model
    found = next(source.parameters()).device
    if found.type == "meta":  # accelerate keeps the weights elsewhere and brings them when the module runs
        place = getattr(getattr(source, "_hf_hook", None), "execution_device", None)
        found = torch.device("cpu" if place is None else place)
    return found


def input_key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | str | None:
    """Where the hidden states are among the arguments of a module: a position or a name; None if there are none."""
    if args:
        return 0
    if "hidden_states" in kwargs:
        return "hidden_states"
    return next((name for name, value in kwargs.items() if isinstance(value, Tensor)), None)


def input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states among the arguments of a module."""
    key = input_key(args, kwargs)
    return first_tensor(None if key is None else args[0] if key == 0 else kwargs[str(key)])


def with_input(args: tuple[Any, ...], kwargs: dict[str, Any], new: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a module with other hidden states in them."""
    key = input_key(args, kwargs)
    return ((new, *args[1:]), kwargs) if key == 0 else (args, {**kwargs, str(key): new})
