"""Defines the format of EleutherAI's sparsify (formerly `sae`): ``cfg.json`` and ``sae.safetensors``.

    p = relu((x − b_dec) @ encoder.weightᵀ + encoder.bias)      (a transcoder takes x as it is)
    f = the k largest of p, or (groupmax) the largest of each of k groups
    ŷ = f @ W_dec + b_dec [+ x @ W_skipᵀ]

W_dec is [d_sae, d_in], as here. ``num_latents`` 0 means ``expansion_factor · d_in``. Old configurations with ``signed``
keep the k largest magnitudes with their signs. The folder is called as the module that was read: ``layers.10``,
``h.3.attn``; what is written here also says under ``metadata`` which hook of which model that was, and
whatever else is known of the SAE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal

from pydantic import Field

from saewidgets.errors import FormatError
from saewidgets.formats.configuration import encoded, plain
from saewidgets.formats.format import Format, Look, Part, Saved, Settings, Width, config_of, has
from saewidgets.formats.header import read_header
from saewidgets.formats.source import Source

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
_NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}
# sparsify leaves out keys that it does not know; ours go under one. Its own place for them is the name of the folder.
_OURS = "metadata"
_KEPT = ("model_name", "hook_name", "hook_name_out")
_WRITTEN = ("topk", "abstopk", "groupmax")


class _File(Settings):
    d_in: Width
    activation: Literal["topk", "groupmax"] = "topk"
    expansion_factor: int = Field(default=32, ge=1, le=2**12)
    normalize_decoder: bool = True
    num_latents: int = Field(default=0, ge=0, le=2**24)
    k: int = Field(default=32, ge=1)
    skip_connection: bool = False
    transcode: bool = False
    signed: bool = False

    @property
    def d_sae(self) -> int:
        return self.num_latents or self.d_in * self.expansion_factor

    @property
    def architecture(self) -> str:
        """SAEs with a skip path are skip transcoders that centre their input."""
        if self.skip_connection:
            return f"{self.activation}_skip_transcoder"
        if self.transcode:
            return f"{self.activation}_transcoder"
        return "abstopk" if self.signed else self.activation


def _look(source: Source) -> Look:
    file, data, where = config_of(source, CONFIG_FILE, _File)
    if file.signed and (file.activation != "topk" or file.skip_connection or file.transcode):
        raise FormatError("Signed latents are known only for top-k SAEs.", where=f"{where}: signed")
    header = read_header(source, WEIGHTS_FILE)
    hook_name, said = _hook(source.label), _said(data)
    notes = []
    metadata: dict[str, Any] = {"hookpoint": PurePath(source.label).name} if hook_name else {}
    if "hook_name" in said:
        metadata["hook_name_out"] = said.get("hook_name_out")
    elif hook_name is None:
        notes.append("Where in the model the SAE reads is the name of its folder, which is not one of a module here.")
    elif file.transcode:
        notes.append("A transcoder of sparsify reads what goes into the module that its folder is called after.")
        metadata["hook_name_out"] = hook_name
    return Look(
        files=FILES, header=header, names=_NAMES | ({"W_skip": "W_skip"} if file.skip_connection else {}),
        transposed=("W_enc",), widths=(file.d_in, file.d_sae, file.d_in), said_by=CONFIG_FILE,
        architecture=file.architecture, model=said.get("model_name"),
        hook_name=said.get("hook_name") or (_input_hook(hook_name) if file.transcode else hook_name),
        settings={"apply_b_dec_to_input": not file.transcode, "k": file.k}, config=data, notes=notes,
        metadata=_others(data.get(_OURS)) | {key: value for key, value in metadata.items() if value is not None},
    )


def _save(saved: Saved) -> dict[str, Part]:
    """What sparsify opens. Top-k and groupmax SAEs can be expressed."""
    sae, cfg = saved.frozen, saved.frozen.cfg
    kind, _, rest = cfg.architecture.partition("_")
    if kind not in _WRITTEN or rest not in ("", "transcoder", "skip_transcoder"):
        known = f"{', '.join(_WRITTEN)} and their transcoders"
        saved.refuse(f"it is a {cfg.architecture}, and only {known} are known there")
    if cfg.normalize_activations != "none" or cfg.reshape_activations != "none":
        saved.refuse("it normalises or reshapes activations")
    if not rest and not cfg.apply_b_dec_to_input:
        saved.refuse("it does not subtract b_dec from the input, as all SAEs do there")
    if sae.W_dec.shape[1] != sae.d_in:
        saved.refuse(f"it reconstructs {sae.W_dec.shape[1]:,} values from {sae.d_in:,}")
    tensors = {_NAMES.get(name, name): tensor for name, tensor in saved.tensors().items()}
    tensors["encoder.weight"] = tensors["encoder.weight"].T.contiguous()
    if "skip" not in rest:
        tensors.pop("W_skip", None)
    config = {
        "activation": "groupmax" if kind == "groupmax" else "topk", "expansion_factor": max(1, sae.d_sae // sae.d_in),
        "normalize_decoder": False, "num_latents": sae.d_sae, "k": getattr(cfg, "k", None), "multi_topk": False,
        "skip_connection": "skip" in rest, "transcode": not cfg.apply_b_dec_to_input, "d_in": sae.d_in,
    }
    said = plain(_others(sae.metadata)) | _said({_OURS: sae.metadata})
    config |= ({"signed": True} if kind == "abstopk" else {}) | ({_OURS: said} if said else {})
    return {WEIGHTS_FILE: tensors, CONFIG_FILE: encoded(config)}


def _said(config: Mapping[str, Any]) -> dict[str, str]:
    """What was written here of what the SAE was trained on, wherever the folder is now."""
    found = config.get(_OURS)
    if not isinstance(found, Mapping):
        return {}
    return {key: found[key] for key in _KEPT if isinstance(found.get(key), str) and found[key]}


def _others(metadata: object) -> dict[str, Any]:
    """What else is known of the SAE: it is kept, and decides nothing."""
    return {key: value for key, value in metadata.items() if key not in _KEPT} if isinstance(metadata, Mapping) else {}


_SITES = {"": "hook_resid_post", "mlp": "hook_mlp_out", "attn": "hook_attn_out", "self_attn": "hook_attn_out",
          "attention": "hook_attn_out"}
_MODULE = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)(?:\.(mlp|attn|self_attn|attention))?")


def hook_of_module(path: str) -> str | None:
    """The hook name of the output of a transformers module: ``layers.10`` → ``blocks.10.hook_resid_post``."""
    if path.rsplit(".", 1)[-1] in {"embed_tokens", "wte", "embed_in"}:
        return "hook_embed"
    match = _MODULE.fullmatch(path)
    return f"blocks.{match[1]}.{_SITES[match[2] or '']}" if match else None


def _hook(label: str) -> str | None:
    """From the name of the folder, or of the one above where it is called after a seed."""
    parts = PurePath(label).parts
    if len(parts) > 1 and parts[-1].startswith("seed") and parts[-1][4:].isdecimal():
        parts = parts[:-1]
    return hook_of_module(parts[-1]) if parts else None


def _input_hook(hook_name: str | None) -> str | None:
    """What goes into the module whose output is `hook_name`."""
    if hook_name is None:
        return None
    for end, start in (("hook_resid_post", "hook_resid_pre"), ("hook_mlp_out", "mlp.hook_in")):
        if hook_name.endswith(end):
            return hook_name.removesuffix(end) + start
    return None


FORMAT = Format("sparsify", "sparsify", has(*FILES), _look, save=_save, config_file=CONFIG_FILE)
