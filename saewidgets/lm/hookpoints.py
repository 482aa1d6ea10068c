"""Defines `HookPoint` and `resolve_hook`: where in a transformers model `blocks.L.hook_…` is.

A decoder-only transformer is a list of blocks that read from and add to the residual stream. Four sites have names
(those of TransformerLens), and these are what SAEs are trained on here:

- ``blocks.L.hook_resid_pre``: the residual stream that enters block L (the block's input);
- ``blocks.L.hook_attn_out``: what attention adds to it;
- ``blocks.L.hook_mlp_out``: what the MLP adds to it;
- ``blocks.L.hook_resid_post``: the residual stream that leaves block L (the block's output), before any final norm.

Published SAEs also read elsewhere:

- ``hook_embed``: the token embeddings, before any position embedding is added. Gemma multiplies its embeddings by
  √d_model, and the hook point is that product, as in TransformerLens;
- ``blocks.L.attn.hook_z``: what the heads put out, before the output projection. Flat, [batch, context, heads ·
  d_head], where TransformerLens has [batch, context, heads, d_head] (`HookPoint.as_heads` makes that of it). One head
  is ``blocks.L.attn.hook_z.H``, [batch, context, d_head]: what is put in its place leaves the other heads as they are;
- ``blocks.L.ln2.hook_normalized``: what the norm before the MLP puts out, its gain and bias applied, as Gemma Scope's
  transcoders read it (TransformerLens' hook of that name stands before them);
- ``blocks.L.mlp.hook_in``: what enters the MLP: the same, except where there is no norm (OLMo 2) or where attention and
  MLP share one (GPT-J, Phi).

Encoders (BERT, ModernBERT) have the same sites. Where a block normalises the sum, as BERT's and opt-350m's do, the
output of an attention or MLP site is what is added before that norm, and the residual stream is what comes out of it.

The block list is found by shape (the `ModuleList` with one entry per layer), so a new architecture needs an entry
here only if one of its parts has an unusual name. docs/models.md has the table of families and sites.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from saewidgets.config.hook_names import HOOK_NAME, IN_BLOCK, head_of, without_head
from saewidgets.errors import NotFoundError
from saewidgets.lm.model_config import heads_of, text_config

SITES = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
"""The places in a block that are trained on."""
_EMBED = "hook_embed"

# Submodules of a block whose output is what is added to the residual stream; the first that exists is taken. Norms that
# stand after the sublayer come first (Gemma 2 and 3, OLMo 2, GLM 4), since it is their output that is added. BERT's
# `attention` and `output` add the residual and normalise themselves: the layer inside them is meant.
_ATTN_OUT = (
    "post_self_attn_layernorm", "attention.output.dense", "attention.attn.o", "attn", "self_attn", "attention",
    "self_attention",
)
_MLP_OUT = (
    "post_mlp_layernorm", "post_feedforward_layernorm", "output.dense", "mlp", "feed_forward", "ffn",
    "block_sparse_moe", "fc2",
)

# Submodules whose input is read: the attention's output projection, and the MLP (of OPT: its first layer).
_ATTENTION = ("attn", "self_attn", "attention", "self_attention")
_PROJECTION = (
    "o_proj", "c_proj", "out_proj", "dense", "attention.out_proj", "wo", "Wo", "out_lin", "output.dense", "attn.o",
)
_MLP_IN = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "fc1", "intermediate")
# The norm before the MLP. Falcon may have one for each sublayer (`ln_mlp`).
_LN2 = ("pre_feedforward_layernorm", "ln_2", "ln_mlp", "mlp_norm", "post_attention_layernorm", "final_layer_norm")

# Architectures whose modules do more or less than their names say; None: this model has no such place.
_NORMS_THE_SUM: dict[str, str | None] = {"hook_mlp_out": "mlp", "ln2.hook_normalized": None}
_BY_MODEL_TYPE: dict[str, dict[str, str | None]] = {
    # attention and MLP add the residual themselves: look one level deeper
    "bloom": {"hook_attn_out": "self_attention.dense", "hook_mlp_out": "mlp.dense_4h_to_h"},
    # `post_mlp_layernorm` normalises the stream here, not what is added to it
    "gte": _NORMS_THE_SUM,
    "nomic_bert": _NORMS_THE_SUM,
    # encoders with the norm in front of the MLP, under names of their own
    "esm": {"ln2.hook_normalized": "LayerNorm"},
    "megatron-bert": {"ln2.hook_normalized": "ln"},
    "roberta-prelayernorm": {"ln2.hook_normalized": "intermediate.LayerNorm", "mlp.hook_in": "intermediate.dense"},
}


class HookError(NotFoundError):
    """A hook name that does not exist in this model; the message lists those that do."""


@dataclass(frozen=True, slots=True, eq=False)
class HookPoint:
    """One place in a model."""

    name: str
    layer: int  # 0 for ``hook_embed``
    module: nn.Module  # whose input or output is the activation
    block: nn.Module  # it belongs to (the first one for ``hook_embed``)
    width: int  # last dimension of the activation
    kind: Literal["input", "output"] = "output"  # what goes into `module`, or what comes out of it
    heads: int | None = None  # for ``attn.hook_z``, how many lie side by side in it, where the model says so
    head: int | None = None  # which one of them this is; None: all, or a place that has none

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


def find_blocks(model: nn.Module) -> nn.ModuleList:
    """The list of transformer blocks, in order. Raises `HookError` where there is none, or the model is an
    encoder-decoder."""
    config = text_config(model)
    if getattr(config, "is_encoder_decoder", False):
        raise HookError(
            f"{type(model).__name__} has an encoder and a decoder.", where="model",
            hint="Use a model with one of them: decoder-only such as GPT-2, or encoder-only such as BERT.",
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
        hint="Use a transformers model with a list of blocks, such as GPT-2, Pythia, Llama, Qwen, Gemma or BERT.",
    )


def _submodule(block: nn.Module, path: str) -> nn.Module | None:
    found: Any = block
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, nn.Module) else None


def _first(block: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    return next((module for name in names if (module := _submodule(block, name)) is not None), None)


def _site_module(model: nn.Module, block: nn.Module, site: str) -> nn.Module | None:
    if site in ("hook_resid_pre", "hook_resid_post"):
        return block
    special = _BY_MODEL_TYPE.get(getattr(text_config(model), "model_type", ""), {})
    if site in special:
        path = special[site]
        return None if path is None else _submodule(block, path)
    if site == "attn.hook_z":
        attention = _first(block, _ATTENTION)
        return None if attention is None else _first(attention, _PROJECTION)
    if site == "mlp.hook_in":
        return _first(block, _MLP_IN)
    if site == "ln2.hook_normalized":
        if getattr(block, "do_layer_norm_before", True) is False:
            return None  # opt-350m: its norms come after the sublayers
        found = _first(block, _LN2)
        after_attention = found is not None and found is _submodule(block, "post_attention_layernorm")
        if after_attention and _submodule(block, "post_feedforward_layernorm") is not None:
            return None  # OLMo 2: likewise
        return found
    names = _ATTN_OUT if site == "hook_attn_out" else _MLP_OUT
    # `post_attention_layernorm` is the norm before the MLP in most models, but the norm after attention in those that
    # also have one after the MLP.
    if site == "hook_attn_out" and _submodule(block, "post_feedforward_layernorm") is not None:
        names = ("post_attention_layernorm", *names)
    return _first(block, names)


def _embedding(model: nn.Module) -> nn.Module | None:
    get: Any = getattr(model, "get_input_embeddings", None)
    module = get() if callable(get) else None
    return module if isinstance(module, nn.Module) else None


def hook_points(model: nn.Module, *, published: bool = False) -> list[str]:
    """Hook names of `model`, layer by layer in the order in which they are computed: the four sites per block that are
    trained on, or with `published` also those that only SAEs of others read."""
    names = [_EMBED] if published and _embedding(model) is not None else []
    wanted = IN_BLOCK if published else SITES
    return names + [
        f"blocks.{layer}.{site}"
        for layer, block in enumerate(find_blocks(model))
        for site in wanted
        if _site_module(model, block, site) is not None
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
    block = blocks[layer]
    module = _site_module(model, block, site)
    if module is None:
        known = [name for name in IN_BLOCK if _site_module(model, block, name) is not None]
        raise HookError(
            f"{site} is not known for {type(block).__name__}.",
            where="hook_name",
            hint=f"This model has {', '.join(known)}.",
        )
    config = text_config(model)
    width, heads = int(config.hidden_size), None
    if site == "attn.hook_z":
        width = _input_width(module) or width
        count = heads_of(config)
        heads = count if count is not None and width % count == 0 else None
    reads_input = site in ("hook_resid_pre", "attn.hook_z", "mlp.hook_in")
    kind: Literal["input", "output"] = "input" if reads_input else "output"
    found = HookPoint(without_head(hook_name), layer, module, block, width, kind, heads)
    return found if (head := head_of(hook_name)) is None else _one_head(found, head)


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


def _input_width(projection: nn.Module) -> int | None:
    """How wide the input of a linear layer is; GPT-2's (`Conv1D`) stores its weight the other way round."""
    found = getattr(projection, "in_features", None)
    if isinstance(found, int):
        return found
    out, weight = getattr(projection, "nf", None), getattr(projection, "weight", None)
    return int(weight.shape[0]) if isinstance(out, int) and isinstance(weight, Tensor) else None


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
