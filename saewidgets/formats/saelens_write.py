"""Defines `save`: writing SAELens' inference format, version 6, so that the `sae-lens` package opens it as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from saewidgets.config.hook_names import head_of, without_head
from saewidgets.config.sae import SAEConfig, SkipConfig
from saewidgets.errors import FormatError
from saewidgets.formats.jsonfile import encoded, plain
from saewidgets.formats.tensors import nbytes
from saewidgets.formats.whole import whole_folder
from saewidgets.sae import SAE, inference_sae

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
SPARSITY_FILE = "sparsity.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
SHIPPED = (
    "standard", "gated", "topk", "abstopk", "jumprelu", "transcoder", "skip_transcoder", "jumprelu_transcoder",
    "jumprelu_skip_transcoder", "matching_pursuit", "temporal",
)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
HEAD_OF = {"hook_name": "hook_head_index", "hook_name_out": "hook_head_index_out"}
"""Where SAELens has a hook name, and where the one head it may mean: our hook names have both."""
WRITTEN_VERSION = "6.54.12"  # the SAELens release whose format is written; from 6 on its modern loader is taken
_DTYPE_NAMES = {value: key for key, value in DTYPES.items()}
_WRITTEN = ("d_sae", "apply_b_dec_to_input", "normalize_activations", "reshape_activations")


def save(sae: SAE, folder: Path, *, log_sparsity: Tensor | None = None) -> Path:
    """Write the inference form of `sae` into `folder`, whole or not at all.

    Args:
        sae: a trained or a loaded one.
        folder: new, empty, or an SAE in the same format that is replaced.
        log_sparsity: log10 of how often each latent fires [d_sae], if it is known.

    Raises:
        FormatError: SAELens has no such architecture, or refuses one of its settings.
        StorageError: the folder holds something else, or cannot be written.
    """
    trained_as = sae.cfg if sae.training or any(p.requires_grad for p in sae.parameters()) else None
    frozen = sae if trained_as is None and type(sae).to_inference is SAE.to_inference else sae.to_inference()
    if frozen.cfg.architecture == "skip" and frozen.cfg.normalize_activations == "none":
        frozen = _as_skip_transcoder(frozen)
    _check(frozen)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in frozen.inference_tensors().items()}
    config = encoded(_config_data(frozen, trained_as))
    with whole_folder(folder, replaceable=(*FILES, SPARSITY_FILE), needed=nbytes(tensors.values())) as draft:
        save_file(tensors, draft / WEIGHTS_FILE)
        if log_sparsity is not None:
            save_file({"sparsity": log_sparsity.float().cpu().contiguous()}, draft / SPARSITY_FILE)
        (draft / CONFIG_FILE).write_bytes(config)
    return folder


def _as_skip_transcoder(sae: SAE) -> SAE:
    """SAELens has no skip autoencoders, but a skip transcoder from a place to itself computes the same: its linear path
    is a multiple of the identity, and the encoder's bias does what subtracting b_dec did. Weights in a format shorter
    than float32 are written in float32, since neither the sum nor the multiple is a number of theirs."""
    wide = torch.promote_types(sae.W_dec.dtype, torch.float32)
    tensors = {name: tensor.to(wide) for name, tensor in sae.inference_tensors().items()}
    if sae.cfg.apply_b_dec_to_input:
        shift = tensors["b_dec"].double() @ tensors["W_enc"].double()
        tensors["b_enc"] = (tensors["b_enc"].double() - shift).to(tensors["b_enc"].dtype)
    assert isinstance(sae.cfg, SkipConfig)
    tensors["W_skip"] = sae.cfg.skip_scale * torch.eye(sae.d_in).to(tensors["W_dec"])
    found = inference_sae("skip_transcoder", sae.d_in, tensors)
    found.metadata = dict(sae.metadata)
    if sae.metadata.get("hook_name") is not None:
        found.metadata["hook_name_out"] = sae.metadata["hook_name"]
    return found


def _check(sae: SAE) -> None:
    """Raise `FormatError` for what SAELens cannot open."""
    name, cfg = sae.cfg.architecture, sae.cfg
    if name not in SHIPPED:
        raise FormatError(
            f"SAELens has no architecture {name!r}.", where="architecture",
            hint=f"It has {', '.join(SHIPPED)}. Keep the SAE in the format it came in.",
        )
    if sae.W_dec.dtype not in _DTYPE_NAMES:
        raise FormatError(f"SAELens does not store {sae.W_dec.dtype}.", where="dtype", hint="Convert it to float32.")
    hook = sae.metadata.get("hook_name")
    if cfg.reshape_activations == "hook_z" and hook is not None and not str(hook).endswith("_z"):
        raise FormatError(
            f"SAELens reshapes heads only at hooks whose name ends in _z, and this is {str(hook)[:80]!r}.",
            where="reshape_activations", hint="Correct sae.metadata['hook_name'].",
        )


def _config_data(sae: SAE, trained_as: SAEConfig | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if trained_as is not None:
        own = trained_as.model_dump(mode="json", exclude={"architecture", *_WRITTEN})
        metadata = {"training_architecture": trained_as.architecture, "training_architecture_details": own}
    cfg = sae.cfg.model_dump(mode="json")
    data = {
        "architecture": cfg["architecture"],
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": _DTYPE_NAMES[sae.W_dec.dtype],
        "device": "cpu",
        **{key: cfg[key] for key in _WRITTEN[1:]},
        "metadata": {
            **metadata,
            "sae_lens_training_version": None,
            **{str(key): plain(value) for key, value in _without_heads(sae.metadata).items()},
            "sae_lens_version": WRITTEN_VERSION,
        },
    }
    return data | _own_settings(cfg)


def _without_heads(metadata: Mapping[Any, Any]) -> dict[Any, Any]:
    """SAELens has the one head that a hook name of ours may mean beside it."""
    found = dict(metadata)
    for name, key in HEAD_OF.items():
        place = found.get(name)
        if isinstance(place, str) and (head := head_of(place)) is not None:
            found |= {name: without_head(place), key: head}
    return found


def _own_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that only this architecture has, under SAELens' names."""
    name = cfg["architecture"]
    if name in ("topk", "abstopk"):
        return {"k": cfg["k"], "rescale_acts_by_decoder_norm": False}
    if "transcoder" in name:
        return {"d_out": cfg["d_out"]}
    if name in ("matching_pursuit", "temporal"):
        return {k: v for k, v in cfg.items() if k not in {"architecture", "decoder_init_norm", *_WRITTEN}}
    return {}
