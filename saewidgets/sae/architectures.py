"""Registries from an architecture's name to its class and configuration, one for training and one for loading;
`build_sae`; and `inference_sae`, which builds the SAEs of all formats."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from saewidgets.config.sae import SAEConfig
from saewidgets.errors import ConfigError
from saewidgets.sae.base import SAE
from saewidgets.sae.mesh import ALONE, Mesh
from saewidgets.sae.scaler import fold_decoder_norm

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
    config: SAEConfig, d_in: int, *, d_out: int | None = None, generator: torch.Generator | None = None,
    initialise: bool = True, mesh: Mesh = ALONE,
) -> SAE:
    """A new SAE from its configuration, on the CPU in float32. `d_out` is for transcoders whose configuration leaves it
    open; `generator` fixes the initial weights, `initialise` and `mesh` are as in `SAE`. Raises `ConfigError`."""
    sae_class, config_class = lookup(config.architecture)
    if not isinstance(config, config_class):
        raise ConfigError(
            f"{type(config).__name__} is not a configuration of {config.architecture!r}.", where="architecture",
            hint=f"Use {config_class.__name__}.",
        )
    return sae_class(config, d_in, d_out=d_out, generator=generator, initialise=initialise, mesh=mesh)


_RESCALED = ("topk", "abstopk")


def inference_sae(
    architecture: str,
    d_in: int,
    tensors: Mapping[str, Tensor],
    *,
    rescale_acts_by_decoder_norm: bool = False,
    **settings: Any,
) -> SAE:
    """A frozen SAE in evaluation mode that uses `tensors` as they are, without a copy.

    Args:
        architecture: SAELens' name of the inference architecture: standard, topk, jumprelu, gated, abstopk, transcoder,
            skip_transcoder, jumprelu_transcoder, jumprelu_skip_transcoder, matching_pursuit, temporal; sparsify's are
            groupmax and {topk,groupmax}_transcoder and …_skip_transcoder (its SAEs with a skip path are the latter with
            ``apply_b_dec_to_input=True``). `inference_architectures` lists them.
        d_in: width of the activations.
        tensors: by SAELens' names and in its orientation: W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_out],
            b_dec [d_out], threshold [d_sae], W_skip [d_out, d_in], b_gate, r_mag, b_mag [d_sae]. All of one
            floating-point dtype and on one device. `inference_tensors` of an SAE gives exactly these.
        rescale_acts_by_decoder_norm: of topk and abstopk, as in SAELens: latents compete by ``p · ‖W_dec‖``. It is
            folded into new encoder and decoder weights, unless all norms are one.
        settings: of the architecture's configuration: k, apply_b_dec_to_input, normalize_activations, … d_sae and
            d_out are those of `W_dec` where they are not given.

    Raises:
        ConfigError: a setting cannot work, or a tensor is missing, left over, or of another shape or dtype; `where`
            names it.
    """
    sae_class, config_class = lookup_inference(architecture)
    decoder = tensors.get("W_dec")
    if decoder is not None and decoder.dim() == 2:
        widths = {"d_sae": decoder.shape[0], "d_out": decoder.shape[1]}
        settings = {name: width for name, width in widths.items() if name in config_class.model_fields} | settings
    with torch.device("meta"):
        sae = sae_class(config_class(**settings), d_in, initialise=False)
    _check(sae, tensors)
    if rescale_acts_by_decoder_norm:
        if architecture not in _RESCALED:
            raise ConfigError(
                f"{architecture} SAEs cannot be rescaled.", where="rescale_acts_by_decoder_norm",
                hint=f"Only {' and '.join(_RESCALED)} can.",
            )
        folded = {name: tensor.clone() for name, tensor in tensors.items()}
        tensors = folded if fold_decoder_norm(folded) else tensors
    sae.load_state_dict(dict(tensors), assign=True)
    return sae.eval().requires_grad_(False)


def _check(sae: SAE, tensors: Mapping[str, Tensor]) -> None:
    """Every tensor of `sae` is there, and nothing else, with the right shape, one dtype and one device."""
    expected = {name: tuple(tensor.shape) for name, tensor in sae.state_dict().items()}
    if missing := [name for name in expected if name not in tensors]:
        raise ConfigError(
            f"The tensor is missing; a {sae.cfg.architecture} SAE has {', '.join(expected)}.", where=missing[0],
            hint=f"Also missing: {', '.join(missing[1:])}." if missing[1:] else None,
        )
    if extra := [name for name in tensors if name not in expected]:
        raise ConfigError(
            f"A {sae.cfg.architecture} SAE has no such tensor, only {', '.join(expected)}.", where=extra[0],
            hint="Is it of another architecture?",
        )
    first, like = next((name, tensors[name]) for name in expected)
    for name, shape in expected.items():
        found = tensors[name]
        if tuple(found.shape) != shape:
            raise ConfigError(
                f"The shape is {list(found.shape)}, expected {list(shape)} for d_in {sae.d_in:,}, d_sae {sae.d_sae:,}"
                f"{f', d_out {sae.d_out:,}' if sae.is_transcoder else ''}.",
                where=name,
            )
        if not found.is_floating_point():
            raise ConfigError(f"The dtype is {_short(found.dtype)}, expected a floating-point one.", where=name)
        if found.dtype != like.dtype or found.device != like.device:
            raise ConfigError(
                f"It is {_short(found.dtype)} on {found.device}, but {first} is {_short(like.dtype)} on {like.device}.",
                where=name, hint="Bring all tensors to one dtype and device.",
            )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
