"""Architecture name → (class, configuration): once for what can be trained, once for what can be loaded."""

from __future__ import annotations

from typing import Any

import torch

from saewidgets.config.sae import SAEConfig
from saewidgets.errors import ConfigError
from saewidgets.sae.base import SAE

_registry: dict[str, tuple[type[SAE], type[SAEConfig]]] = {}
_loadable: dict[str, tuple[type[SAE], type[SAEConfig]]] = {}


def register(name: str, sae_class: type[SAE], config_class: type[SAEConfig]) -> None:
    """Add an architecture that can be trained. A name can be taken once."""
    _add(_registry, name, sae_class, config_class)


def register_inference(name: str, sae_class: type[SAE], config_class: type[SAEConfig]) -> None:
    """Add an architecture that can be loaded: the class of what is stored, where that differs from what is trained."""
    _add(_loadable, name, sae_class, config_class)


def _add(
    registry: dict[str, tuple[type[SAE], type[SAEConfig]]], name: str, sae_class: type[SAE],
    config_class: type[SAEConfig],
) -> None:
    if name in registry:
        raise ConfigError(
            f"The architecture {name!r} is already registered ({registry[name][0].__name__}).", where="architecture",
            hint="Choose another name.",
        )
    registry[name] = (sae_class, config_class)


def architectures() -> list[str]:
    """Names of all architectures that can be trained, in order of registration."""
    return list(_registry)


def inference_architectures() -> list[str]:
    """Names of all architectures that can be loaded, in order of registration."""
    return list(_loadable)


def lookup(name: str) -> tuple[type[SAE], type[SAEConfig]]:
    """The class and the configuration class to train `name`. Raises `ConfigError` listing the known names."""
    if name not in _registry:
        what = f"SAEs of the architecture {name!r} can be loaded and used, not trained."
        raise ConfigError(
            what if name in _loadable else f"There is no architecture {name!r}.", where="architecture",
            hint=f"Use one of: {', '.join(_registry)}.",
        )
    return _registry[name]


def lookup_inference(name: str) -> tuple[type[SAE], type[SAEConfig]]:
    """The class and the configuration class of a stored `name`. Raises `ConfigError` listing the known names."""
    if name not in _loadable:
        raise ConfigError(
            f"SAEs of the architecture {name!r} cannot be loaded.", where="architecture",
            hint=f"Known are: {', '.join(_loadable)}.",
        )
    return _loadable[name]


def create_sae(name: str, d_in: int, **settings: Any) -> SAE:
    """A new SAE: ``create_sae("topk", d_in=768, d_sae=16_384, k=32)``. Settings are checked by the configuration; of
    transcoders `d_out` is one, d_in where it is left out."""
    return build_sae(lookup(name)[1](**settings), d_in)


def build_sae(
    config: SAEConfig, d_in: int, *, d_out: int | None = None, generator: torch.Generator | None = None
) -> SAE:
    """A new SAE from its configuration, on the CPU in float32.

    Args:
        config: of an architecture that can be trained.
        d_in: width of the activations that are read.
        d_out: width of those that are reconstructed, for transcoders whose configuration leaves it open.
        generator: fixes the initial weights.

    Raises:
        ConfigError: the architecture cannot be trained, or a width does not fit it.
    """
    sae_class, config_class = lookup(config.architecture)
    if not isinstance(config, config_class):
        raise ConfigError(
            f"{type(config).__name__} is not a configuration of {config.architecture!r}.", where="architecture",
            hint=f"Use {config_class.__name__}.",
        )
    return sae_class(config, d_in, d_out=d_out, generator=generator)
