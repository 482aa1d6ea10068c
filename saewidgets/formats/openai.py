"""OpenAI's sparse_autoencoder: GPT-2 small autoencoders in pickled files ``{layer}.pt``, one SAE each.

    x' = (x − mean(x)) / (std(x) + 1e-5)   (top-k ones only; std unbiased)
    f = act((x' − pre_bias) @ encoder.weightᵀ + latent_bias)          x̂' = f @ decoder.weightᵀ + pre_bias

and the reconstruction is scaled and shifted back. That inputs are normalised is implied by the activation being TopK
(Gao et al. 2024, arXiv:2406.04093). Model and site are known only from the path of the download,
``gpt2-small/resid_post_mlp_v5_32k/autoencoders/6.pt``.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Any

import torch

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import build, dtype_name, only, read, renamed, total
from saewidgets.formats.header import Header
from saewidgets.formats.pickled import Pickled, read_pickled
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

_FILE = re.compile(r"(\d{1,4})\.pt")
_NAMES = {"W_enc": "encoder.weight", "b_enc": "latent_bias", "W_dec": "decoder.weight", "b_dec": "pre_bias"}
_HOOKS = {
    "resid_post_mlp": "blocks.{}.hook_resid_post", "resid_post_attn": "blocks.{}.hook_resid_mid",
    "resid_delta_mlp": "blocks.{}.hook_mlp_out", "resid_delta_attn": "blocks.{}.hook_attn_out",
    "mlp_post_act": "blocks.{}.mlp.hook_post",
}


def matches(source: Source) -> bool:
    """By the name of a file; one file on this machine may be called otherwise."""
    return any(_FILE.fullmatch(name) for name in source.files()) or renamed(
        source, {"pre_bias", "latent_bias", "activation"}
    )


def describe(source: Source) -> Description:
    """What the path says, and for a file on this machine what the file says."""
    file = only(source, _FILE, "….pt named after a layer")
    hook_name = _hook(source.label, file)
    model = "gpt2" if "gpt2-small" in PurePath(source.label).parts else None
    notes = [] if hook_name else ["Where in the model the SAE reads is only in the path of the download."]
    if not isinstance(source, FolderSource):
        return Description(
            FORMAT.name, None, None, None, None, None, (file,), total(source, [file]), model, hook_name,
            notes=tuple(notes),
        )
    found = read_pickled(source, file)
    architecture, settings = _activation(found)
    header = found.header()
    d_sae, d_in = _widths(header)
    return Description(
        format=FORMAT.name, architecture=architecture, d_in=d_in, d_sae=d_sae, d_out=d_in,
        dtype=dtype_name(header, "encoder.weight"), files=(file,), size_bytes=total(source, [file]), model=model,
        hook_name=hook_name, settings=settings, config=found.plain(), notes=tuple(notes),
    )


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in the file `folder`, frozen."""
    source = FolderSource(folder)
    description = describe(source)
    file = description.files[0]
    found = read_pickled(source, file)
    tensors = read(source, found.header(), file, _NAMES, device=device, transposed=("W_enc", "W_dec"))
    return build(description, tensors, where=found.where, device=device, dtype=dtype)


def _widths(header: Header) -> tuple[int, int]:
    d_sae, d_in = header.shape("encoder.weight", 2)
    header.require(
        {
            "encoder.weight": (d_sae, d_in), "latent_bias": (d_sae,), "decoder.weight": (d_in, d_sae),
            "pre_bias": (d_in,),
        },
        source="the other tensors", extra=True,  # statistics of training are kept beside
    )
    return d_sae, d_in


def _activation(found: Pickled) -> tuple[str, dict[str, Any]]:
    """Architecture and settings from the name of the activation function and its state."""
    data = found.plain()
    name, state = data.get("activation"), data.get("activation_state_dict")
    state = state if isinstance(state, dict) else {}
    settings: dict[str, Any] = {"apply_b_dec_to_input": True}
    if name == "ReLU":
        return "standard", settings
    if name != "TopK":
        raise FormatError(
            f"The activation function is {str(name)[:40]!r}, expected ReLU or TopK.", where=f"{found.where}: activation"
        )
    k, after = state.get("k"), state.get("postact_fn", "ReLU")
    if type(k) is not int or k < 1:
        raise FormatError(f"k is {str(k)[:40]!r}, expected a number.", where=f"{found.where}: activation_state_dict.k")
    if after != "ReLU":
        raise FormatError(
            f"What was kept passes through {str(after)[:40]!r}, expected ReLU.",
            where=f"{found.where}: activation_state_dict.postact_fn",
        )
    return "topk", settings | {"k": k, "normalize_activations": "layer_norm"}


def _hook(label: str, file: str) -> str | None:
    layer = _FILE.fullmatch(file)
    for part in reversed(PurePath(label).parts):
        site = re.fullmatch(r"(\w+?)(?:_v\d+(?:_\d+k)?)?", part)
        if layer and site and site[1] in _HOOKS:
            return _HOOKS[site[1]].format(layer[1])
    return None


FORMAT = Format("openai", "OpenAI sparse_autoencoder", matches, describe, load, single_file=True)
