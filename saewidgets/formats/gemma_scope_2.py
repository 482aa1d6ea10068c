"""Gemma Scope 2: JumpReLU SAEs and transcoders of Gemma 3 in ``config.json`` and ``params.safetensors``.

    f = p where p = x @ w_enc + b_enc exceeds its threshold, else 0
    ŷ = f @ w_dec + b_dec [+ x @ affine_skip_connection]

Nothing is normalised and b_dec is not subtracted. Folders are called ``resid_post_all/layer_12_width_16k_l0_small``;
where ``config.json`` is missing, the names say the same. The cross-layer transcoders (``clt``) write to all later
layers from one file per layer, and are refused.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Any, Literal

import torch

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import Settings, build, dtype_name, read, total
from saewidgets.formats.header import Header, read_header
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "params.safetensors"
_HOOKS = {
    "resid_post": "blocks.{}.hook_resid_post", "mlp_out": "blocks.{}.hook_mlp_out", "attn_out": "blocks.{}.attn.hook_z",
    "transcoder": "blocks.{}.mlp.hook_in",
}
_HF_SITES = (  # what stands in hf_hook_point_in after the layer
    ("output", "resid_post"), ("self_attn.o_proj.input", "attn_out"), ("post_feedforward_layernorm.output", "mlp_out"),
    ("pre_feedforward_layernorm.output", "transcoder"),
)
_NAMES = {"W_enc": "w_enc", "b_enc": "b_enc", "W_dec": "w_dec", "b_dec": "b_dec", "threshold": "threshold"}
_SKIP = "affine_skip_connection"


class _File(Settings):
    architecture: Literal["jump_relu"]
    model_name: str | None = None
    hf_hook_point_in: str | None = None
    hf_hook_point_out: str | None = None
    affine_connection: bool = False


def matches(source: Source) -> bool:
    """By the name of the weights, which only this format has; a configuration may be missing."""
    files = source.files()
    if WEIGHTS_FILE not in files:
        return False
    try:
        return CONFIG_FILE not in files or read_json(source, CONFIG_FILE).get("architecture") == "jump_relu"
    except FormatError:  # no other format reads it either: reading it for good says what is wrong
        return True


def describe(source: Source) -> Description:
    """What configuration, header and path say."""
    has_config = CONFIG_FILE in source.files()
    data = read_json(source, CONFIG_FILE) if has_config else {"architecture": "jump_relu"}
    file = checked(_File, data, f"{source.label}/{CONFIG_FILE}")
    header = read_header(source, WEIGHTS_FILE)
    d_in, d_sae, d_out = _widths(header)
    site, layer, notes = _place(file, source.label)
    skip = _SKIP in header.tensors
    if file.affine_connection and not skip:
        raise FormatError(
            "The tensor is missing, although the configuration says affine_connection.",
            where=f"{header.where}: {_SKIP}", hint="Download the SAE again.",
        )
    if site == "transcoder":
        architecture = "jumprelu_skip_transcoder" if skip else "jumprelu_transcoder"
    elif skip or d_out != d_in:
        raise FormatError(
            f"It reconstructs {d_out:,} values from {d_in:,}{' beside a linear path' if skip else ''}, as only "
            "transcoders do, but is not said to be one.", where=header.where,
            hint="Keep config.json and the folder's name as they are on the hub.",
        )
    else:
        architecture = "jumprelu"
    files = (CONFIG_FILE, WEIGHTS_FILE) if has_config else (WEIGHTS_FILE,)
    return Description(
        format=FORMAT.name, architecture=architecture, d_in=d_in, d_sae=d_sae, d_out=d_out,
        dtype=dtype_name(header, "w_enc"), files=files, size_bytes=total(source, files),
        model=_model(file.model_name) or _model_of_path(source.label),
        hook_name=_HOOKS[site].format(layer) if site and layer is not None else None,
        settings={"apply_b_dec_to_input": False}, config=data if has_config else {}, notes=tuple(notes),
    )


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `folder`, frozen."""
    source = FolderSource(folder)
    description = describe(source)
    header = read_header(source, WEIGHTS_FILE)
    names = _NAMES | ({"W_skip": _SKIP} if _SKIP in header.tensors else {})
    # The linear path is stored [d_in, d_out]; SAELens' W_skip is [d_out, d_in].
    tensors = read(source, header, WEIGHTS_FILE, names, device=device, transposed=("W_skip",))
    metadata: dict[str, Any] = {}
    for key, value in (("hf_hook_name", "hf_hook_point_in"), ("hf_hook_name_out", "hf_hook_point_out")):
        if description.config.get(value) is not None:
            metadata[key] = description.config[value]
    if description.hook_name and "transcoder" in str(description.architecture):
        metadata["hook_name_out"] = description.hook_name.replace("mlp.hook_in", "hook_mlp_out")
    return build(description, tensors, where=header.where, device=device, dtype=dtype, metadata=metadata)


def _widths(header: Header) -> tuple[int, int, int]:
    d_in, d_sae = header.shape("w_enc", 2)
    decoder = header.tensors.get("w_dec")
    if decoder is not None and len(decoder.shape) == 3:
        raise FormatError(
            "This is one layer of a cross-layer transcoder, which writes to several layers.",
            where=f"{header.where}: w_dec", hint="Only SAEs and per-layer transcoders can be loaded.",
        )
    _, d_out = header.shape("w_dec", 2)
    expected = {
        "w_enc": (d_in, d_sae), "b_enc": (d_sae,), "w_dec": (d_sae, d_out), "b_dec": (d_out,), "threshold": (d_sae,),
    }
    if _SKIP in header.tensors:
        expected[_SKIP] = (d_in, d_out)
    header.require(expected, source="the other tensors")
    return d_in, d_sae, d_out


def _place(file: _File, label: str) -> tuple[str | None, int | None, list[str]]:
    """Site and layer, from the configuration's hook point or else from the names of the folders."""
    if file.hf_hook_point_in is not None:
        match = re.fullmatch(r"(?:\w+\.)*layers\.(\d{1,4})\.([\w.]+)", file.hf_hook_point_in)
        for ending, site in _HF_SITES:
            if match and match[2] == ending:
                return site, int(match[1]), []
    parts = PurePath(label).parts[-2:]
    found = re.search(r"layer_(\d{1,4})_width_", parts[-1]) if parts else None
    named = re.fullmatch(r"(resid_post|mlp_out|attn_out|transcoder)(?:_all)?", parts[0]) if len(parts) == 2 else None
    if named:
        return named[1], int(found[1]) if found else None, [] if found else ["The path does not say which layer."]
    return None, None, ["Where in the model the SAE reads is neither in a configuration nor in the folders' names."]


def _model(name: str | None) -> str | None:
    """The hub's name of a model that a configuration calls ``gemma-v3-1b-pt`` or the like."""
    if not name:
        return None
    name = (name if "/" in name else f"google/{name}").replace("-v3", "-3")
    return name.replace("-pt", "") if "270m" in name else name  # the 270m model is published without the suffix


def _model_of_path(label: str) -> str | None:
    found = re.findall(r"gemma-scope-2-(\w+)-(pt|it)", label)
    return _model(f"gemma-3-{found[-1][0]}-{found[-1][1]}") if found else None


FORMAT = Format("gemma_scope_2", "Gemma Scope 2", matches, describe, load, config_file=CONFIG_FILE)
