"""llamascopium (OpenMOSS Language-Model-SAEs): ``config.json`` with `sae_type` and ``sae_weights.safetensors``.

    p = s·x @ W_E + b_E          f = act(p · n) / n  (n = ‖W_D‖ where sparsity_include_decoder_norm, else 1)
    x̂ = (f @ W_D + b_D) / s_out

s depends on `norm_activation`: √d over the average norm of the training activations (``dataset-wise``, kept in tensors
``dataset_average_activation_norm.<hook>``), over the norm of each vector (``token-wise``), or 1 (``inference``). Scales
and decoder norms are moved into weights and thresholds. Latents stay what llamascopium's `encode` gives, except that
those of a top-k SAE whose decoder rows do not have norm one become ``f · n``, by which they were selected.

Of the five kinds of dictionaries, crosscoders, cross-layer transcoders, Lorsa and Molt are refused by name.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import Settings, Width, build, dtype_name, fold_decoder_norm, fold_scales, read, total
from saewidgets.formats.header import Header, read_header
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.tensors import check_finite, read_tensors
from saewidgets.sae import SAE

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "sae_weights.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
_KINDS = {"crosscoder": "a crosscoder", "clt": "a cross-layer transcoder", "lorsa": "a Lorsa", "molt": "a Molt"}
_THRESHOLD = "activation_function.log_jumprelu_threshold"
_NORM = "dataset_average_activation_norm."
_ARCHITECTURES = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk"}


class _File(Settings):
    sae_type: Literal["sae"] = "sae"
    d_model: Width
    expansion_factor: float = Field(gt=0, le=2**12)
    hook_point_in: str
    hook_point_out: str | None = None
    use_decoder_bias: bool = True
    act_fn: str = "relu"
    norm_activation: str = "dataset-wise"
    sparsity_include_decoder_norm: bool = True
    top_k: int = Field(default=50, ge=1)
    use_glu_encoder: bool = False

    @property
    def d_sae(self) -> int:
        return int(self.d_model * self.expansion_factor)

    @property
    def transcoder(self) -> bool:
        return self.hook_point_out not in (None, self.hook_point_in)


def matches(source: Source) -> bool:
    """By the names of the files, then by `sae_type`, then (Llama Scope R1 has the same) by the names of the tensors."""
    if not all(name in source.files() for name in FILES):
        return False
    try:
        kind = read_json(source, CONFIG_FILE).get("sae_type")
        return kind in list(_KINDS) or (kind == "sae" and "W_E" in read_header(source, WEIGHTS_FILE).tensors)
    except FormatError:  # no other format reads it either: reading it for good says what is wrong
        return True


def describe(source: Source) -> Description:
    """What configuration and header say. Raises `FormatError` for what is not a plain SAE or transcoder."""
    file, data = _read(source)
    header = read_header(source, WEIGHTS_FILE)
    d_in, d_sae = file.d_model, file.d_sae
    header.require(_shapes(file, header), source=CONFIG_FILE)
    architecture = _ARCHITECTURES[file.act_fn.lower()]
    settings: dict[str, Any] = {"apply_b_dec_to_input": False}
    if architecture == "topk":
        settings["k"] = file.top_k
    if file.transcoder:
        architecture = {"standard": "transcoder"}.get(architecture, f"{architecture}_transcoder")
    notes = []
    if file.norm_activation == "token-wise":
        settings["normalize_activations"] = "constant_norm_rescale"
    elif file.norm_activation == "dataset-wise":
        notes.append("The scale of activations that the SAE was trained on was moved into its weights.")
    return Description(
        format=FORMAT.name, architecture=architecture, d_in=d_in, d_sae=d_sae, d_out=d_in,
        dtype=dtype_name(header, "W_E"), files=FILES, size_bytes=total(source, FILES), hook_name=file.hook_point_in,
        settings=settings, config=data, notes=tuple(notes),
    )


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `folder`, frozen."""
    source = FolderSource(folder)
    description = describe(source)
    file, _ = _read(source)
    header = read_header(source, WEIGHTS_FILE)
    names = {"W_enc": "W_E", "b_enc": "b_E", "W_dec": "W_D"}
    names |= {"b_dec": "b_D"} if file.use_decoder_bias else {}
    names |= {"threshold": _THRESHOLD} if file.act_fn.lower() == "jumprelu" else {}
    tensors = read(source, header, WEIGHTS_FILE, names, device=device)
    tensors.setdefault("b_dec", torch.zeros(file.d_model, dtype=tensors["W_dec"].dtype, device=device))
    notes = _use_decoder_norm(file, tensors)
    check_finite(header.where, {name: tensors[name] for name in ("threshold",) if name in tensors})
    if file.norm_activation == "dataset-wise":
        fold_scales(tensors, *_scales(file, source, header))
    metadata: dict[str, Any] = {"hook_name_out": file.hook_point_out} if file.transcoder else {}
    sae = build(description, tensors, where=header.where, device=device, dtype=dtype, metadata=metadata)
    if notes:
        sae.metadata["notes"] = [*sae.metadata.get("notes", []), *notes]
    return sae


def _use_decoder_norm(file: _File, tensors: dict[str, Tensor]) -> list[str]:
    """Turn ``act(p · n) / n`` into an activation function of p alone."""
    if "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"].float().exp()
    if not file.sparsity_include_decoder_norm:
        return []
    if "threshold" in tensors:  # p · n > θ where p > θ / n; what is passed on is p
        tensors["threshold"] = tensors["threshold"] / tensors["W_dec"].float().norm(dim=1).clamp_min(1e-8)
    elif file.act_fn.lower() == "topk" and fold_decoder_norm(tensors):
        return ["Latents are reported times the norm of their decoder rows, by which they are selected."]
    return []


def _scales(file: _File, source: FolderSource, header: Header) -> tuple[float, float]:
    """s and s_out from the norms in the file, which writes whatever was in memory where it had none."""
    found = []
    for hook in (file.hook_point_in, file.hook_point_out or file.hook_point_in):
        name = _NORM + hook
        norm = float(read_tensors(source.path(WEIGHTS_FILE), header, [name])[name])
        if not 1e-6 < norm < 1e9:
            raise FormatError(
                f"The average norm of activations is {norm:.4g}: it was never set.", where=f"{header.where}: {name}",
                hint="Save the SAE again with its norm, or folded (fold_activation_scale=True).",
            )
        found.append(math.sqrt(file.d_model) / norm)
    return found[0], found[1]


def _shapes(file: _File, header: Header) -> dict[str, tuple[int, ...]]:
    d_in, d_sae = file.d_model, file.d_sae
    expected: dict[str, tuple[int, ...]] = {"W_E": (d_in, d_sae), "b_E": (d_sae,), "W_D": (d_sae, d_in)}
    if file.use_decoder_bias:
        expected["b_D"] = (d_in,)
    if file.act_fn.lower() == "jumprelu":
        expected[_THRESHOLD] = (d_sae,)
    hooks = {file.hook_point_in, file.hook_point_out or file.hook_point_in}
    needed = hooks if file.norm_activation == "dataset-wise" else set()
    return expected | {name: () for hook in hooks if (name := _NORM + hook) in header.tensors or hook in needed}


def _read(source: Source) -> tuple[_File, dict[str, Any]]:
    data = read_json(source, CONFIG_FILE)
    where = f"{source.label}/{CONFIG_FILE}"
    if data.get("sae_type") in _KINDS:
        raise FormatError(
            f"This is {_KINDS[data['sae_type']]}, which is not an SAE of one place in the model.",
            where=f"{where}: sae_type", hint="Only SAEs and transcoders can be loaded.",
        )
    file = checked(_File, data, where)
    if file.act_fn.lower() not in _ARCHITECTURES:
        hint = "Convert it to JumpReLU in llamascopium first." if file.act_fn.lower() == "batchtopk" else None
        raise FormatError(
            f"The activation function {file.act_fn[:40]!r} is not supported: what is active would depend on the batch, "
            "or is not known here.", where=f"{where}: act_fn", hint=hint,
        )
    if file.use_glu_encoder:
        raise FormatError("The encoder is gated (GLU), which is not supported.", where=f"{where}: use_glu_encoder")
    normal = ("dataset-wise", "inference", *(() if file.transcoder else ("token-wise",)))
    if file.norm_activation not in normal:
        raise FormatError(
            f"The normalisation {file.norm_activation[:40]!r} cannot be computed from one activation alone.",
            where=f"{where}: norm_activation", hint=f"Supported here: {', '.join(normal)}.",
        )
    return file, data


FORMAT = Format("llamascopium", "llamascopium", matches, describe, load, config_file=CONFIG_FILE)
