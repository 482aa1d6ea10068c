"""SAELens' inference format, version 6: ``cfg.json`` and ``sae_weights.safetensors``.

Written so that the `sae-lens` package opens it as it is, and read strictly: what this package would compute
differently (run-time normalisation, hook_z) is refused by name instead of being loaded wrongly.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from saewidgets.config.base import Config
from saewidgets.config.sae import JumpReLUConfig, SAEConfig, StandardConfig, TopKConfig
from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats.header import read_header, require
from saewidgets.formats.whole import whole_folder
from saewidgets.sae import SAE, InferenceJumpReLU, StandardSAE, TopKSAE

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
MAX_CONFIG_BYTES = 1 << 20

WRITTEN_VERSION = "6.54.12"  # the SAELens release whose format is written; from 6 on its modern loader is taken
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
_DTYPE_NAMES = {value: key for key, value in _DTYPES.items()}
_CLASSES: dict[str, tuple[type[SAE], type[SAEConfig]]] = {
    "standard": (StandardSAE, StandardConfig),
    "topk": (TopKSAE, TopKConfig),
    "jumprelu": (InferenceJumpReLU, JumpReLUConfig),
}
_SHARED_SETTINGS = frozenset({"architecture", "d_sae", "apply_b_dec_to_input", "k"})


class _File(BaseModel):
    """The part of cfg.json that decides what is computed. Unknown keys are ignored, as SAELens does."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    architecture: str
    d_in: int = Field(ge=1, le=2**20)
    d_sae: int = Field(ge=1, le=2**24)
    dtype: str = "float32"
    apply_b_dec_to_input: bool = True
    normalize_activations: Literal["none"] = "none"
    reshape_activations: Literal["none"] = "none"
    k: int | None = Field(None, ge=1)
    rescale_acts_by_decoder_norm: bool = False
    metadata: dict[str, Any] = Field(default_factory=dict)


def save(sae: SAE, folder: Path) -> Path:
    """Write the inference form of `sae` into `folder`, whole or not at all."""
    trained_as = sae.cfg
    frozen = sae.to_inference()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in frozen.inference_tensors().items()}
    config = _config_data(frozen, trained_as)
    with whole_folder(folder, replaceable=FILES) as draft:
        save_file(tensors, draft / WEIGHTS_FILE)
        (draft / CONFIG_FILE).write_text(json.dumps(config, allow_nan=False), encoding="utf-8")
    return folder


def _config_data(sae: SAE, trained_as: SAEConfig) -> dict[str, Any]:
    details = trained_as.model_dump(mode="json", exclude=set(_SHARED_SETTINGS - {"k"}))
    data = {
        "architecture": sae.cfg.architecture,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": _DTYPE_NAMES[sae.W_dec.dtype],
        "device": "cpu",
        "apply_b_dec_to_input": sae.cfg.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "training_architecture": trained_as.architecture,
            "training_architecture_details": details,
            "sae_lens_training_version": None,
            **{str(key): _plain(value) for key, value in sae.metadata.items()},
            "sae_lens_version": WRITTEN_VERSION,
        },
    }
    if isinstance(sae.cfg, TopKConfig):
        data |= {"k": sae.cfg.k, "rescale_acts_by_decoder_norm": False}
    return data


def _plain(value: Any) -> Any:
    """`value` as strict JSON: tuples become lists, numbers that JSON lacks become null, other objects their text."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Config):
        return _plain(value.to_data())
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def read_config(folder: Path) -> tuple[dict[str, Any], SAEConfig]:
    """cfg.json as data, and the configuration it stands for; weights are not touched."""
    file, data = _read_file(folder)
    return data, _to_config(folder / CONFIG_FILE, file)


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `folder`, frozen, in evaluation mode."""
    file, _ = _read_file(folder)
    config = _to_config(folder / CONFIG_FILE, file)
    sae_class, _ = _CLASSES[file.architecture]
    weights = folder / WEIGHTS_FILE
    d_in, d_sae = file.d_in, file.d_sae
    expected: dict[str, tuple[int, ...]] = {
        "W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,),
    }
    if sae_class is InferenceJumpReLU:
        expected["threshold"] = (d_sae,)
    require(weights, read_header(weights), expected)

    dtype = dtype or _DTYPES[file.dtype.removeprefix("torch.")]
    try:
        found = load_file(weights, device=str(device))
    except (OSError, SafetensorError) as error:
        raise FormatError(f"The file cannot be read ({error}).", where=str(weights)) from error
    tensors = {name: tensor.to(dtype) for name, tensor in found.items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise FormatError("It contains NaN or infinity.", where=f"{weights}: {name}", hint="Export the SAE again.")
    if file.rescale_acts_by_decoder_norm:
        _fold_decoder_norm(tensors)
    with torch.device("meta"):
        sae = sae_class(config, d_in, initialise=False)
    sae.load_state_dict(tensors, assign=True)
    sae.metadata = dict(file.metadata)
    return sae.eval().requires_grad_(False)


def _fold_decoder_norm(tensors: dict[str, Tensor]) -> None:
    """Turn ``top_k((p)·‖W_dec‖)`` decoded with ``f/‖W_dec‖`` into the same function without the norms."""
    norms = tensors["W_dec"].norm(dim=1).clamp_min(1e-8)
    if torch.allclose(norms, torch.ones_like(norms), atol=1e-6):
        return
    tensors["W_enc"] = tensors["W_enc"] * norms
    tensors["b_enc"] = tensors["b_enc"] * norms
    tensors["W_dec"] = tensors["W_dec"] / norms[:, None]


def _read_file(folder: Path) -> tuple[_File, dict[str, Any]]:
    path = folder / CONFIG_FILE
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise FormatError(f"The file has {size:,} bytes; at most {MAX_CONFIG_BYTES:,} are read.", where=str(path))
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"The file cannot be read ({error.strerror}).", where=str(path)) from error
    except (ValueError, RecursionError) as error:  # also covers broken UTF-8
        raise FormatError(f"This is not JSON ({error}).", where=str(path), hint="Export the SAE again.") from error
    if not isinstance(data, dict):
        raise FormatError("This is not a JSON object.", where=str(path), hint="Export the SAE again.")
    _refuse_old(path, data)
    try:
        return _File.model_validate(data), data
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        shown = "" if first["type"] == "missing" else f" (found {str(first['input'])[:80]!r})"
        raise FormatError(
            f"{first['msg']}{shown}.", where=f"{path}: {key}", hint="This setting is not supported or was altered."
        ) from error


def _refuse_old(path: Path, data: dict[str, Any]) -> None:
    metadata = data.get("metadata")
    version = metadata.get("sae_lens_version") if isinstance(metadata, dict) else None
    major = re.match(r"\d+", str(version)) if version is not None else None
    if major is None or int(major[0]) < 6:
        found = "has no SAELens version" if version is None else f"was written by SAELens {str(version)[:20]}"
        raise FormatError(
            f"The file {found}; version 6 or newer is read.", where=f"{path}: metadata.sae_lens_version",
            hint="Open it in sae-lens 6 and save it again.",
        )


def _to_config(path: Path, file: _File) -> SAEConfig:
    if file.architecture not in _CLASSES:
        raise FormatError(
            f"The architecture {file.architecture[:40]!r} cannot be loaded.", where=f"{path}: architecture",
            hint=f"Supported: {', '.join(_CLASSES)}. A training checkpoint must be exported for inference first.",
        )
    if file.dtype.removeprefix("torch.") not in _DTYPES:
        raise FormatError(
            f"The dtype is {file.dtype[:40]!r}, expected one of {', '.join(_DTYPES)}.", where=f"{path}: dtype"
        )
    settings: dict[str, Any] = {"d_sae": file.d_sae, "apply_b_dec_to_input": file.apply_b_dec_to_input}
    if file.architecture == "topk":
        if file.k is None:
            raise FormatError("The value is missing.", where=f"{path}: k", hint="A topk SAE needs k.")
        settings["k"] = file.k
    config_class = _CLASSES[file.architecture][1]
    try:
        config = config_class.from_data(settings)
    except ConfigError as error:
        raise FormatError(error.what, where=f"{path}: {error.where}", hint=error.hint) from error
    return _with_training_settings(config, file.metadata)


def _with_training_settings(config: SAEConfig, metadata: dict[str, Any]) -> SAEConfig:
    """Settings that only training used, where the file has them under our names; inference does not depend on them."""
    details = metadata.get("training_architecture_details")
    if metadata.get("training_architecture") != config.architecture or not isinstance(details, dict):
        return config
    known = set(type(config).model_fields) - _SHARED_SETTINGS
    try:
        return type(config).from_data(config.to_data() | {k: v for k, v in details.items() if k in known})
    except ConfigError:  # another writer's values under the same names: the defaults do
        return config
