"""Gemma Scope: JumpReLU SAEs and transcoders of Gemma 2 in ``params.npz``, without a configuration.

    f = p where p = x @ W_enc + b_enc exceeds its threshold, else 0          x̂ = f @ W_dec + b_dec

b_dec is not subtracted from the input and nothing is normalised (Lieberum et al. 2024). SAEs of token embeddings were
trained on embeddings times √d_in, which is moved into their weights. The layout with ``cfg.json`` and
``sae_weights.safetensors`` in the same folders, as some tools keep downloads, is in `gemma_scope_kept`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats import gemma_scope_kept
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import build, dtype_name, scaled, total
from saewidgets.formats.gemma_scope_path import ScopePath, read_path, width_name
from saewidgets.formats.header import Header
from saewidgets.formats.npz import read_npz_header
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.tensors import nbytes, read_tensors
from saewidgets.formats.whole import whole_folder
from saewidgets.sae import SAE

WEIGHTS_FILE = "params.npz"
_NAMES = {"w_enc": "W_enc", "b_enc": "b_enc", "w_dec": "W_dec", "b_dec": "b_dec", "threshold": "threshold"}


def matches(source: Source) -> bool:
    """A ``params.npz``, or kept files below ``layer_L/width_W/average_l0_N``."""
    return WEIGHTS_FILE in source.files() or gemma_scope_kept.matches(source)


def describe(source: Source) -> Description:
    """What headers and path say. Raises `FormatError` where they contradict each other."""
    if WEIGHTS_FILE not in source.files():
        return gemma_scope_kept.describe(source)
    header = read_npz_header(source, WEIGHTS_FILE)
    path = read_path(source.label)
    names = _names(header)
    d_in, d_sae = header.shape(names["W_enc"], 2)
    _, d_out = header.shape(names["W_dec"], 2)
    shapes = {
        "W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_out), "b_dec": (d_out,), "threshold": (d_sae,),
    }
    expected = {names[name]: shape for name, shape in shapes.items()}
    if "scaling_factor" in header.tensors:
        expected["scaling_factor"] = (d_sae,)
    header.require(expected, source="the other tensors")
    if path.d_sae not in (None, d_sae):
        raise FormatError(
            f"W_enc has {d_sae:,} latents, but the folder's name says width {path.width}.", where=header.where,
            hint="The file lies in another SAE's folder, or was altered.",
        )
    if path.site != "transcoders" and d_out != d_in:
        raise FormatError(
            f"W_dec reconstructs {d_out:,} values from {d_in:,}.", where=f"{header.where}: {names['W_dec']}",
            hint="An SAE has as many outputs as inputs.",
        )
    return _description(path, (d_in, d_sae, d_out), dtype_name(header, names["W_enc"]), source)


def _description(path: ScopePath, widths: tuple[int, int, int], dtype: str, source: Source) -> Description:
    transcoder = path.site == "transcoders"
    settings: dict[str, Any] = {"apply_b_dec_to_input": False}
    if path.site == "att":
        settings["reshape_activations"] = "hook_z"
    config = {
        "site": path.site, "layer": path.layer, "width": path.width, "average_l0": path.l0,
        "hook_name_out": path.hook_name_out,
    }
    return Description(
        format=FORMAT.name, architecture="jumprelu_transcoder" if transcoder else "jumprelu", d_in=widths[0],
        d_sae=widths[1], d_out=widths[2], dtype=dtype, files=(WEIGHTS_FILE,), size_bytes=total(source, [WEIGHTS_FILE]),
        model=path.model, hook_name=path.hook_name, settings=settings,
        config={key: value for key, value in config.items() if value is not None}, notes=notes(path),
    )


def notes(path: ScopePath) -> tuple[str, ...]:
    """What a person should know that the files do not say."""
    found = []
    if path.embedding:
        found.append("The SAE was trained on token embeddings times √d_in; the factor was moved into its weights.")
    if path.hook_name is None:
        found.append(
            "Gemma Scope files name neither model nor layer: they are in the names of repository and folders, which "
            "are not all here. SAEs of token embeddings are recognised by them too, and need a factor of √d_in."
        )
    elif path.model is None:
        found.append("Which Gemma the SAE belongs to is in the repository's name, which is not known here.")
    return tuple(found)


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `folder`, frozen. The path says what it belongs to."""
    source = FolderSource(folder)
    if WEIGHTS_FILE not in source.files():
        return gemma_scope_kept.load(folder, device=device, dtype=dtype)
    description = describe(source)
    header = read_npz_header(source, WEIGHTS_FILE)
    where = header.where
    found = read_tensors(source.path(WEIGHTS_FILE), header, device=device)
    if "scaling_factor" in found and not (found["scaling_factor"] == 1).all():
        raise FormatError(
            "The SAE was fine-tuned with a scaling factor per latent, which is not supported.",
            where=f"{where}: scaling_factor", hint="Open it in sae-lens 5 and fold the factor into the weights.",
        )
    tensors = {name: found.pop(theirs) for name, theirs in _names(header).items()}
    path = read_path(source.label)
    if path.embedding:
        _scale_embedding(tensors, math.sqrt(tensors["b_dec"].numel()))
    facts = {"hook_name_out": path.hook_name_out, "average_l0": path.l0}
    return build(
        description, tensors, where=where, device=device, dtype=dtype,
        metadata={key: value for key, value in facts.items() if value is not None},
    )


def save(sae: SAE, folder: Path) -> Path:
    """Write ``params.npz``. Only a JumpReLU on raw activations can be expressed, of a width with a name."""
    frozen = sae.to_inference()
    reason = _not_expressible(frozen, read_path(str(folder)))
    if reason:
        raise FormatError(
            f"Gemma Scope cannot express this SAE: {reason}.", where=str(folder), hint='Save it as "saelens".'
        )
    tensors = {name: tensor.detach().cpu().float() for name, tensor in frozen.inference_tensors().items()}
    if read_path(str(folder)).embedding:  # what is read from such a folder is scaled the other way
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        _scale_embedding(tensors, 1 / math.sqrt(sae.d_in))
    with whole_folder(folder, replaceable=(WEIGHTS_FILE,), needed=nbytes(tensors.values())) as draft:
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        with (draft / WEIGHTS_FILE).open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    return folder


def _not_expressible(sae: SAE, path: ScopePath) -> str | None:
    cfg = sae.cfg
    if cfg.architecture not in ("jumprelu", "jumprelu_transcoder"):
        return f"it is a {cfg.architecture}, not a jumprelu"
    if (cfg.architecture == "jumprelu_transcoder") != (path.site == "transcoders"):
        return "only the name of the repository (…-transcoders) tells transcoders from SAEs"
    if cfg.apply_b_dec_to_input:
        return "it subtracts b_dec from the input"
    if cfg.normalize_activations != "none":
        return f"it normalises activations ({cfg.normalize_activations})"
    if sae.W_dec.dtype == torch.float64:
        return "its weights are float64, the files are float32"
    if width_name(sae.d_sae) is None:
        return f"folders are called after widths like 16k (2^14), and {sae.d_sae:,} latents have no such name"
    if path.d_sae not in (None, sae.d_sae):
        return f"it has {sae.d_sae:,} latents, and the folder's name says width {path.width}"
    return None


def _scale_embedding(tensors: dict[str, Tensor], factor: float) -> None:
    """Take raw embeddings instead of embeddings times `factor`."""
    tensors["W_enc"] = scaled(tensors["W_enc"], 1 / factor)
    tensors["W_dec"] = scaled(tensors["W_dec"], factor)


def _names(header: Header) -> Mapping[str, str]:
    """Our name → the file's, which writes W_enc or w_enc."""
    names: dict[str, str] = {}
    for key in header.tensors:
        ours = _NAMES.get(key.lower())
        if ours is None:
            continue
        if ours in names:
            raise FormatError(f"There are two: {names[ours]} and {key}.", where=f"{header.where}: {ours}")
        names[ours] = key
    for ours in _NAMES.values():
        names.setdefault(ours, ours)  # `require` says that it is missing
    return names


FORMAT = Format("gemma_scope", "Gemma Scope", matches, describe, load, save, config_file=gemma_scope_kept.CONFIG_FILE)
