"""Hook names ↔ modules: where in a transformers model `blocks.L.hook_…` is.

A decoder-only transformer is a list of blocks that read from and add to the residual stream. Four sites have names
(those of TransformerLens):

- ``hook_resid_pre``: the residual stream that enters block L (the block's input);
- ``hook_attn_out``: what attention adds to it;
- ``hook_mlp_out``: what the MLP adds to it;
- ``hook_resid_post``: the residual stream that leaves block L (the block's output), before any final norm.

The block list is found by shape (the `ModuleList` with one entry per layer), so a new architecture needs an entry
here only if its attention or MLP has an unusual name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from saewidgets.errors import NotFoundError
from saewidgets.lm.shape import text_config

Site = Literal["resid_pre", "resid_post", "mlp_out", "attn_out"]

SITES: tuple[Site, ...] = ("resid_pre", "attn_out", "mlp_out", "resid_post")
_NAME = re.compile(r"blocks\.(\d+)\.hook_(resid_pre|resid_post|mlp_out|attn_out)")

# Submodules of a block whose output is what is added to the residual stream; the first that exists is taken. Norms that
# stand after the sublayer come first (Gemma 2 and 3, OLMo 2, GLM 4), since it is their output that is added.
_ATTN_OUT = ("post_self_attn_layernorm", "attn", "self_attn", "attention", "self_attention")
_MLP_OUT = ("post_mlp_layernorm", "post_feedforward_layernorm", "mlp", "feed_forward", "ffn", "block_sparse_moe", "fc2")

# Architectures whose attention and MLP modules add the residual themselves: look one level deeper.
_BY_MODEL_TYPE: dict[str, dict[str, str]] = {
    "bloom": {"attn_out": "self_attention.dense", "mlp_out": "mlp.dense_4h_to_h"},
}


class HookError(NotFoundError):
    """A hook name that does not exist in this model; the message lists those that do."""


@dataclass(frozen=True, slots=True, eq=False)
class HookPoint:
    """One place in a model.

    Attributes:
        name: the hook name.
        layer: L.
        site: which of the four.
        module: the module whose input (``resid_pre``) or output (all others) is the activation.
        block: the block it belongs to.
        width: last dimension of the activation.
    """

    name: str
    layer: int
    site: Site
    module: nn.Module
    block: nn.Module
    width: int

    @property
    def kind(self) -> Literal["input", "output"]:
        """Whether the activation is what goes into `module` or what comes out of it."""
        return "input" if self.site == "resid_pre" else "output"


def find_blocks(model: nn.Module) -> nn.ModuleList:
    """The list of transformer blocks, in order.

    Raises:
        HookError: no list of modules has one entry per layer, or the model is an encoder-decoder.
    """
    config = text_config(model)
    if getattr(config, "is_encoder_decoder", False):
        raise HookError(
            f"{type(model).__name__} has an encoder and a decoder.", where="model",
            hint="Use a decoder-only language model.",
        )
    count = getattr(config, "num_hidden_layers", None)
    get_decoder: Any = getattr(model, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else model
    # In a multimodal model a vision tower may have as many layers: the decoder is searched first.
    for root in (decoder, model):
        if not isinstance(root, nn.Module):
            continue
        for module in root.modules():  # outer lists come before those inside a block (experts)
            if isinstance(module, nn.ModuleList) and len(module) == count:
                return module
    raise HookError(
        f"No list of {count} transformer blocks was found in {type(model).__name__}.",
        where="model",
        hint="Use a decoder-only transformers model such as GPT-2, Pythia, Llama, Qwen or Gemma.",
    )


def _submodule(block: nn.Module, path: str) -> nn.Module | None:
    found: Any = block
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, nn.Module) else None


def _site_module(model: nn.Module, block: nn.Module, site: Site) -> nn.Module | None:
    if site in ("resid_pre", "resid_post"):
        return block
    special = _BY_MODEL_TYPE.get(getattr(text_config(model), "model_type", ""), {}).get(site)
    if special is not None:
        return _submodule(block, special)
    names: tuple[str, ...] = _ATTN_OUT if site == "attn_out" else _MLP_OUT
    # `post_attention_layernorm` is the norm before the MLP in most models, but the norm after attention in those that
    # also have one after the MLP.
    if site == "attn_out" and _submodule(block, "post_feedforward_layernorm") is not None:
        names = ("post_attention_layernorm", *names)
    for name in names:
        if (module := _submodule(block, name)) is not None:
            return module
    return None


def hook_points(model: nn.Module) -> list[str]:
    """All hook names of `model`, layer by layer in the order in which they are computed."""
    return [
        f"blocks.{layer}.hook_{site}"
        for layer, block in enumerate(find_blocks(model))
        for site in SITES
        if _site_module(model, block, site) is not None
    ]


def resolve_hook(model: nn.Module, hook_name: str) -> HookPoint:
    """Find the module behind `hook_name`.

    Raises:
        HookError: the name has another form, the layer is out of range, or the model has no such site.
    """
    blocks = find_blocks(model)
    match = _NAME.fullmatch(hook_name)
    if match is None:
        raise HookError(
            f"{hook_name!r} is not a hook name.",
            where="hook_name",
            hint=f"Use blocks.LAYER.hook_SITE with SITE one of {', '.join(SITES)} "
            f"and LAYER from 0 to {len(blocks) - 1}.",
        )
    layer = int(match[1])
    site: Site = match[2]  # type: ignore[assignment]  # the pattern allows only these
    if layer >= len(blocks):
        raise HookError(
            f"There is no layer {layer}: the model has {len(blocks)} layers.",
            where="hook_name",
            hint=f"Choose a layer from 0 to {len(blocks) - 1}.",
        )
    module = _site_module(model, blocks[layer], site)
    if module is None:
        known = [s for s in SITES if _site_module(model, blocks[layer], s) is not None]
        raise HookError(
            f"hook_{site} is not known for {type(blocks[layer]).__name__}.",
            where="hook_name",
            hint=f"This model has {', '.join('hook_' + s for s in known)}.",
        )
    return HookPoint(hook_name, layer, site, module, blocks[layer], int(text_config(model).hidden_size))
