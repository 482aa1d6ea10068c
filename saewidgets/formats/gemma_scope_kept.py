"""Gemma Scope SAEs as some tools keep them: ``cfg.json`` and ``sae_weights.safetensors`` below ``layer_L/width_W/…``.

The tensors are Gemma Scope's, in a safetensors file. Such a ``cfg.json`` is flat and may say next to nothing; what it
does not say is Gemma Scope's: JumpReLU on raw activations, b_dec not subtracted. (SAELens would assume that it is.) A
configuration that SAELens or miStudio wrote is left to their formats.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description
from saewidgets.formats.foreign import Settings, Width, build, dtype_name, read, total
from saewidgets.formats.gemma_scope_path import is_scope_folder, read_path
from saewidgets.formats.header import read_header
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
_OTHERS = ("sae_lens_version", "sae_lens_training_version", "metadata", "activation_fn_str", "mistudio_training_id",
           "extra_metadata")


class _File(Settings):
    d_in: Width
    d_sae: Width
    architecture: Literal["jumprelu", "jump_relu"] = "jumprelu"
    apply_b_dec_to_input: bool = False
    normalize_activations: Literal["none"] | None = None
    model_name: str | None = None
    hook_name: str | None = None


def matches(source: Source) -> bool:
    """By the names of files and folders; and no other writer's mark in the configuration."""
    files = source.files()
    if not (CONFIG_FILE in files and WEIGHTS_FILE in files and is_scope_folder(source.label)):
        return False
    try:
        data = read_json(source, CONFIG_FILE)
    except FormatError:  # SAELens, which has the same files, says what is wrong
        return False
    return not any(key in data for key in _OTHERS)


def describe(source: Source) -> Description:
    """What configuration, header and path say."""
    data = read_json(source, CONFIG_FILE)
    file = checked(_File, data, f"{source.label}/{CONFIG_FILE}")
    path = read_path(source.label)
    header = read_header(source, WEIGHTS_FILE)
    d_in, d_sae = file.d_in, file.d_sae
    header.require(
        {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,), "threshold": (d_sae,)}
    )
    if path.d_sae not in (None, d_sae):
        raise FormatError(
            f"The SAE has {d_sae:,} latents, but the folder's name says width {path.width}.", where=source.label,
            hint="The files lie in another SAE's folder, or were altered.",
        )
    notes = []
    if path.embedding:
        notes.append(
            "Gemma Scope trained SAEs of embeddings on embeddings times √d_in; whether these weights take that into "
            "account already is not known, so they are used as they are."
        )
    settings: dict[str, object] = {"apply_b_dec_to_input": file.apply_b_dec_to_input}
    if path.site == "att":
        settings["reshape_activations"] = "hook_z"
    return Description(
        format="gemma_scope", architecture="jumprelu", d_in=d_in, d_sae=d_sae, d_out=d_in,
        dtype=dtype_name(header, "W_enc"), files=(CONFIG_FILE, WEIGHTS_FILE),
        size_bytes=total(source, (CONFIG_FILE, WEIGHTS_FILE)), model=path.model or file.model_name,
        hook_name=path.hook_name or file.hook_name, settings=settings, config=data, notes=tuple(notes),
    )


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `folder`, frozen."""
    source = FolderSource(folder)
    description = describe(source)
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    header = read_header(source, WEIGHTS_FILE)
    tensors = read(source, header, WEIGHTS_FILE, {name: name for name in names}, device=device)
    path = read_path(source.label)
    metadata = {} if path.l0 is None else {"average_l0": path.l0}
    return build(description, tensors, where=header.where, device=device, dtype=dtype, metadata=metadata)
