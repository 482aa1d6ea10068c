"""Defines `HookPoint` and `resolve_hook`: where in a transformers model `blocks.L.hook_…` is.

A decoder-only transformer is a list of blocks that read from and add to the residual stream. The names of its sites
are those of TransformerLens, and so are their meanings. SAEs are trained on four of them:

- ``blocks.L.hook_resid_pre``: the residual stream that enters block L (the block's input);
- ``blocks.L.hook_attn_out``: what attention adds to it;
- ``blocks.L.hook_mlp_out``: what the MLP adds to it;
- ``blocks.L.hook_resid_post``: the residual stream that leaves block L (the block's output), before any final norm.

Published SAEs also read elsewhere:

- ``hook_embed``: the token embeddings, before any position embedding is added. Gemma multiplies its embeddings by
  √d_model, and the hook point is that product, as in TransformerLens;
- ``blocks.L.attn.hook_z``: what the heads put out, before the output projection. Flat, [batch, context, heads ·
  d_head], where TransformerLens has [batch, context, heads, d_head] (`HookPoint.as_heads` makes that of it). One head
  is ``blocks.L.attn.hook_z.H``, [batch, context, d_head]: a replacement leaves the other heads unchanged;
- ``blocks.L.hook_resid_mid``: the residual stream between attention and MLP. Parallel blocks (GPT-J) do not have it;
- ``blocks.L.ln2.hook_normalized``: the input of the norm before the MLP divided by its size, for LayerNorm after the
  mean is subtracted, before gain and bias. Gemma Scope's transcoders read it;
- ``blocks.L.mlp.hook_in``: the input of the MLP: the output of that norm with gain and bias, if there is one.

Encoders (BERT, ModernBERT) have the same sites. Where a block normalises the sum, as BERT's and opt-350m's do, the
output of an attention or MLP site is what is added before that norm, and the residual stream is what comes out of it.

`saewidgets.lm.sites` finds the sites and checks them. docs/models.md has a table of families and sites.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from saewidgets.config.hook_names import HOOK_NAME, IN_BLOCK, head_of, without_head
from saewidgets.lm.model_config import heads_of, text_config
from saewidgets.lm.norms import Norm
from saewidgets.lm.sites import HookError, Kind, find_blocks, site_at, sites_of

SITES = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
"""The places in a block that are trained on."""
_EMBED = "hook_embed"


@dataclass(frozen=True, slots=True, eq=False)
class HookPoint:
    """One place in a model."""

    name: str
    layer: int  # 0 for ``hook_embed``
    module: nn.Module  # where the activation is
    block: nn.Module  # it belongs to (the first one for ``hook_embed``)
    width: int  # last dimension of the activation
    kind: Kind = "output"  # how the activation follows from what `module` reads and returns (see `Site`)
    heads: int | None = None  # for ``attn.hook_z``, how many lie side by side in it, where the model says so
    head: int | None = None  # which one of them this is; None: all, or a place that has none
    norm: Norm | None = None  # of ``ln2.hook_normalized``

    @property
    def place(self) -> HookPoint:
        """The place with all its heads; this one where it is not one of them."""
        if self.head is None or self.heads is None:
            return self
        return replace(self, name=without_head(self.name), width=self.heads * self.width, head=None)

    def part_of(self, activation: Tensor) -> Tensor:
        """What is read here of the activation at `place`: a view of its own head, ``[..., d_head]``, or all of it."""
        if self.head is None:
            return activation
        return activation.narrow(-1, self.head * self.width, self.width)

    def put_into(self, activation: Tensor, new: Tensor) -> Tensor:
        """The activation at `place` with `new` in place of this part of it; the other heads keep their bits."""
        if self.head is None:
            return new
        begin = self.head * self.width
        before, after = activation[..., :begin], activation[..., begin + self.width :]
        return torch.cat([before, new.to(activation), after], dim=-1)

    def as_heads(self, activation: Tensor) -> Tensor:
        """``[..., heads · d_head]`` → ``[..., heads, d_head]``. Raises `HookError` where these are not all heads, or
        their number is not known."""
        if self.heads is None or self.head is not None:
            raise HookError(
                f"{self.name} has no known heads.", where="hook_name", hint="Use blocks.L.attn.hook_z."
            )
        split: Tensor = activation.unflatten(-1, (self.heads, -1))
        return split


def _embedding(model: nn.Module) -> nn.Module | None:
    get: Any = getattr(model, "get_input_embeddings", None)
    module = get() if callable(get) else None
    return module if isinstance(module, nn.Module) else None


def hook_points(model: nn.Module, *, published: bool = False) -> list[str]:
    """Hook names of `model`, layer by layer in the order in which they are computed: the four sites per block that are
    trained on, or with `published` also those that only SAEs of others read."""
    names = [_EMBED] if published and _embedding(model) is not None else []
    sites = IN_BLOCK if published else SITES
    return names + [
        f"blocks.{layer}.{site}"
        for layer, found in enumerate(sites_of(model))
        for site in sites
        if site in found.sites
    ]


def resolve_hook(model: nn.Module, hook_name: str) -> HookPoint:
    """Find the module behind `hook_name`. Raises `HookError` where the name has another form, the layer or the head is
    out of range, or the model has no such site."""
    blocks = find_blocks(model)
    if hook_name == _EMBED:
        return _embed_point(model, blocks[0])
    match = HOOK_NAME.fullmatch(hook_name)
    if match is None:
        trained = ", ".join(site.removeprefix("hook_") for site in SITES)
        raise HookError(
            f"{hook_name!r} is not a hook name.",
            where="hook_name",
            hint=f"Use blocks.LAYER.hook_SITE with SITE one of {trained} and LAYER from 0 to "
            f"{len(blocks) - 1}; published SAEs also read {_EMBED} and blocks.LAYER. with "
            f"{', '.join(site for site in IN_BLOCK if site not in SITES)} (or attn.hook_z.HEAD).",
        )
    layer, site = int(match[1]), match[2]
    if layer >= len(blocks):
        raise HookError(
            f"There is no layer {layer}: the model has {len(blocks)} layers.",
            where="hook_name",
            hint=f"Choose a layer from 0 to {len(blocks) - 1}.",
        )
    block, found = blocks[layer], site_at(model, layer, site)
    if isinstance(found, str):
        known = sites_of(model)[layer].sites
        raise HookError(
            f"{site} is not known for {type(block).__name__}: {found}.", where="hook_name",
            hint=f"This model has {', '.join(name for name in IN_BLOCK if name in known) or 'no hook points'}.",
        )
    place, module = found
    heads = None
    if site == "attn.hook_z":
        count = heads_of(text_config(model))
        heads = count if count is not None and place.width % count == 0 else None
    point = HookPoint(
        without_head(hook_name), layer, module, block, place.width, place.kind, heads, norm=place.norm
    )
    return point if (head := head_of(hook_name)) is None else _one_head(point, head)


def _one_head(point: HookPoint, head: int) -> HookPoint:
    if point.heads is None:
        raise HookError(
            "This model does not say how many attention heads it has.", where="hook_name",
            hint=f"Use {point.name}, which is all of them.",
        )
    if head >= point.heads:
        raise HookError(
            f"There is no head {head}: the model has {point.heads} heads in a layer.", where="hook_name",
            hint=f"Choose a head from 0 to {point.heads - 1}, or {point.name} for all of them.",
        )
    return replace(point, name=f"{point.name}.{head}", width=point.width // point.heads, head=head)


def _embed_point(model: nn.Module, first: nn.Module) -> HookPoint:
    module = _embedding(model)
    if module is None:
        raise HookError(f"{_EMBED} is not known for {type(model).__name__}.", where="hook_name")
    config = text_config(model)
    if getattr(config, "model_type", "") in ("gemma", "gemma2") and not hasattr(module, "embed_scale"):
        # transformers 4 scales after the module; nothing else comes between it and the first block.
        return HookPoint(_EMBED, 0, first, first, int(config.hidden_size), "input")
    width = getattr(module, "embedding_dim", None)
    return HookPoint(_EMBED, 0, module, first, int(width or config.hidden_size))
