"""Defines the formats of OpenMOSS: Llama Scope, Llama Scope R1 and llamascopium (Language-Model-SAEs).

Their SAEs take activations scaled to an average norm of √d: with s = √d / average norm, and s_out the same for what is
reconstructed,

    p = s·x @ W_enc + b_enc          f = act(p)          x̂ = (f @ W_dec + b_dec) / s_out

The scales are moved into the weights, so that the SAE takes raw activations (He et al. 2024, arXiv:2410.20526).
"""

import json
import math
import re
from importlib.resources import files as package_files
from pathlib import PurePath
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats import unused
from saewidgets.formats.format import LINEAR, MATRICES, RAW, FileSettings, Format, ReadPlan, Width, config_of, has, told
from saewidgets.formats.source import Source, read_json
from saewidgets.formats.tensors import check_finite, read_header
from saewidgets.sae.scaler import fold_decoder_norm, fold_scales

_MOVED = "The scale of activations that the SAE was trained on was moved into its weights."


class _Norms(FileSettings):
    into: float = Field(alias="in", gt=1e-6, lt=1e9)
    out: float | None = Field(default=None, gt=1e-6, lt=1e9)


# --- Llama Scope -----------------------------------------------------------------------------------------------------
#
# JumpReLU SAEs of Llama 3.1 8B in ``hyperparams.json`` and ``checkpoints/final.safetensors``: those of a TopK training
# whose result was made a JumpReLU with one threshold θ. That θ is to be multiplied by s follows SAELens' loader (its
# pull request 483), which reaches the published L0 that way.

_FILES = ("hyperparams.json", "checkpoints/final.safetensors")


class _LlamaScopeFile(FileSettings):
    # expansion_factor is in d_sae, top_k was that of training, and decoder norms are in the published weights.
    ignored = unused.OPENMOSS | {"expansion_factor", "top_k", "sparsity_include_decoder_norm"}
    d_model: Width
    d_sae: Width
    hook_point_in: str
    hook_point_out: str | None = None
    jump_relu_threshold: float = Field(ge=0, lt=1e9)
    dataset_average_activation_norm: _Norms
    act_fn: str = "jumprelu"
    use_glu_encoder: bool = False
    use_decoder_bias: Literal[True] = True
    apply_decoder_bias_to_pre_encoder: Literal[False] = False
    norm_activation: Literal["dataset-wise"] = "dataset-wise"


def _look(source: Source) -> ReadPlan:
    file, data, where = config_of(source, _FILES[0], _LlamaScopeFile)
    if re.sub("[^a-z]", "", file.act_fn.lower()) != "jumprelu" or file.use_glu_encoder:
        found = "a gated encoder" if file.use_glu_encoder else f"the activation function {file.act_fn[:40]!r}"
        raise FormatError(f"The SAE has {found}; only JumpReLU is supported.", where=where)
    transcoder = file.hook_point_out not in (None, file.hook_point_in)
    norms, root = file.dataset_average_activation_norm, math.sqrt(file.d_model)
    into, out = norms.into, norms.out if transcoder else norms.into

    def fold(tensors: dict[str, Tensor]) -> None:
        assert out is not None
        fold_scales(tensors, root / into, root / out)
        threshold = file.jump_relu_threshold * root / into
        tensors["threshold"] = torch.full((file.d_sae,), threshold, device=tensors["W_dec"].device)

    return ReadPlan(
        files=_FILES, header=read_header(source, _FILES[1]), names=LINEAR, transposed=MATRICES,
        d_in=file.d_model, d_sae=file.d_sae, d_out=file.d_model, said_by=_FILES[0],
        architecture="jumprelu_transcoder" if transcoder else "jumprelu", model="meta-llama/Llama-3.1-8B",
        hook_name=file.hook_point_in, settings=RAW, config=data, notes=(_MOVED,),
        metadata={"hook_name_out": file.hook_point_out} if transcoder else {}, fold=fold,
        refusal=None if out is not None else FormatError(
            "The value is missing.", where=f"{where}: dataset_average_activation_norm.out",
            hint="Without it the output of this transcoder cannot be scaled back.",
        ),
    )  # fmt: skip


LLAMA_SCOPE = Format("llama_scope", has(*_FILES), _look, config_file=_FILES[0])

# --- Llama Scope R1 --------------------------------------------------------------------------------------------------
#
# JumpReLU SAEs of DeepSeek-R1-Distill-Llama-8B in ``config.json`` and ``sae_weights.safetensors``. The published
# files do not hold the average norm: s is taken from SAELens' table of facts, by the folders' names on the hub
# (``800M-Slimpajama-0-OpenR1-Math-220k/L12R``). Where the configuration says that thresholds compare ``p·‖W_dec‖``,
# they are divided by the norms.

_CONFIG, _WEIGHTS = _BOTH = ("config.json", "sae_weights.safetensors")
_THRESHOLD = "log_jumprelu_threshold"


class _R1File(FileSettings):
    ignored = unused.OPENMOSS | {"d_sae", "top_k", "jump_relu_threshold"}
    d_model: Width
    expansion_factor: float = Field(gt=0, le=2**12)
    hook_point_in: str
    hook_point_out: str | None = None
    norm_activation: Literal["dataset-wise", "inference"] = "dataset-wise"
    sparsity_include_decoder_norm: bool = False
    dataset_average_activation_norm: _Norms | None = None
    act_fn: Literal["jumprelu"] = "jumprelu"
    use_decoder_bias: Literal[True] = True
    apply_decoder_bias_to_pre_encoder: Literal[False] = False
    use_glu_encoder: Literal[False] = False


def _matches_r1(source: Source) -> bool:
    """Matches by the names of the files, which llamascopium shares, and then by those of the tensors."""
    return has(*_BOTH)(source) and told(lambda: _THRESHOLD in read_header(source, _WEIGHTS).tensors)


def _look_r1(source: Source) -> ReadPlan:
    file, data, where = config_of(source, _CONFIG, _R1File)
    if file.hook_point_out not in (None, file.hook_point_in):
        raise FormatError(
            f"It reads {file.hook_point_in[:60]} and writes {str(file.hook_point_out)[:60]}; only SAEs are in this "
            "format.", where=f"{where}: hook_point_out",
        )
    scale: float | None = 1.0
    if file.norm_activation != "inference" and file.dataset_average_activation_norm is not None:
        scale = math.sqrt(file.d_model) / file.dataset_average_activation_norm.into
    elif file.norm_activation != "inference":
        table = (package_files("saewidgets.formats") / "llama_scope_r1_scales.json").read_text(encoding="utf-8")
        scale = json.loads(table)["scales"].get("/".join(PurePath(source.label).parts[-2:]))
    header = read_header(source, _WEIGHTS)
    unknown = "The scale of activations that the SAE was trained on is neither in its files nor known for this path"

    def fold(tensors: dict[str, Tensor]) -> None:
        assert scale is not None
        tensors["threshold"] = tensors["threshold"].float().exp()
        if file.sparsity_include_decoder_norm:
            tensors["threshold"] /= tensors["W_dec"].float().norm(dim=1)
        check_finite(header.where, {_THRESHOLD: tensors["threshold"]})
        fold_scales(tensors, scale, scale)

    return ReadPlan(
        files=_BOTH, header=header, names=LINEAR | {"threshold": _THRESHOLD}, transposed=MATRICES,
        d_in=file.d_model, d_sae=int(file.d_model * file.expansion_factor), said_by=_CONFIG, architecture="jumprelu",
        model="deepseek-ai/DeepSeek-R1-Distill-Llama-8B", hook_name=file.hook_point_in,
        settings=RAW, config=data, fold=fold,
        notes=(f"{unknown}: it cannot be loaded from here." if scale is None else _MOVED.replace(
            " on was", f" on ({scale:.4g}) was"
        ),),
        refusal=None if scale is not None else FormatError(
            f"{unknown}.", where=source.label, hint="Keep the names of the folders as they are on the hub."
        ),
    )  # fmt: skip


LLAMA_SCOPE_R1 = Format("llama_scope_r1", _matches_r1, _look_r1, config_file=_CONFIG)

# --- llamascopium ----------------------------------------------------------------------------------------------------
#
# ``config.json`` with `sae_type` and ``sae_weights.safetensors``:
#
#     f = act(p · n) / n  (n = ‖W_D‖ where sparsity_include_decoder_norm, else 1)
#
# s depends on `norm_activation`: √d over the average norm of the training activations (``dataset-wise``, kept in
# tensors ``dataset_average_activation_norm.<hook>``), over the norm of each vector (``token-wise``), or 1
# (``inference``). Scales and decoder norms are moved into weights and thresholds. Latents stay what llamascopium's
# `encode` gives, except that those of a top-k SAE whose decoder rows do not have norm one become ``f · n``, by which
# they were selected. Of the five kinds of dictionaries, crosscoders, cross-layer transcoders, Lorsa and Molt are
# refused.

_KINDS = {"crosscoder": "a crosscoder", "clt": "a cross-layer transcoder", "lorsa": "a Lorsa", "molt": "a Molt"}
_LOG_THRESHOLD = "activation_function.log_jumprelu_threshold"
_ARCHITECTURES = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk"}


class _ScopiumFile(FileSettings):
    ignored = unused.OPENMOSS
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
    apply_decoder_bias_to_pre_encoder: Literal[False] = False


def _matches_scopium(source: Source) -> bool:
    """Matches by the names of the files, `sae_type`, and (Llama Scope R1 has the same) the names of the tensors."""

    def test() -> bool:
        kind = read_json(source, _CONFIG).get("sae_type")
        return kind in list(_KINDS) or (kind == "sae" and "W_E" in read_header(source, _WEIGHTS).tensors)

    return has(*_BOTH)(source) and told(test, otherwise=True)


def _look_scopium(source: Source) -> ReadPlan:
    kind = read_json(source, _CONFIG).get("sae_type")
    if isinstance(kind, str) and kind in _KINDS:
        raise FormatError(
            f"This is {_KINDS[kind]}, which is not an SAE of one place in the model.",
            where=f"{source.label}/{_CONFIG}: sae_type", hint="Only SAEs and transcoders can be loaded.",
        )
    file, data, where = config_of(source, _CONFIG, _ScopiumFile)
    transcoder = file.hook_point_out not in (None, file.hook_point_in)
    normal = ("dataset-wise", "inference", *(() if transcoder else ("token-wise",)))
    for wrong, key, what, hint in (
        (file.act_fn.lower() not in _ARCHITECTURES, "act_fn",
         f"The activation function {file.act_fn[:40]!r} is not supported.",
         "With batchtopk, which latents are active depends on the batch: convert it to JumpReLU in llamascopium."),
        (file.use_glu_encoder, "use_glu_encoder", "The encoder is gated (GLU), which is not supported.", None),
        (file.norm_activation not in normal, "norm_activation",
         f"The normalisation {file.norm_activation[:40]!r} cannot be computed from one activation alone.",
         f"Supported here: {', '.join(normal)}."),
    ):
        if wrong:
            raise FormatError(what, where=f"{where}: {key}", hint=hint)
    header = read_header(source, _WEIGHTS)
    d_in, act = file.d_model, _ARCHITECTURES[file.act_fn.lower()]
    names = {"W_enc": "W_E", "b_enc": "b_E", "W_dec": "W_D"} | ({"b_dec": "b_D"} if file.use_decoder_bias else {})
    names |= {"threshold": _LOG_THRESHOLD} if act == "jumprelu" else {}
    by_dataset = file.norm_activation == "dataset-wise"
    hooks = {"in": file.hook_point_in, "out": file.hook_point_out or file.hook_point_in}
    norms = {end: f"dataset_average_activation_norm.{hook}" for end, hook in hooks.items()}

    def fold(tensors: dict[str, Tensor]) -> list[str]:
        found = {end: float(tensors.pop(end)) for end in norms if by_dataset}
        tensors.setdefault("b_dec", torch.zeros(d_in, dtype=tensors["W_dec"].dtype, device=tensors["W_dec"].device))
        by_norm, notes = file.sparsity_include_decoder_norm, []
        # act(p · n) / n becomes an activation function of p alone.
        if "threshold" in tensors:
            tensors["threshold"] = tensors["threshold"].float().exp()
            if by_norm:  # p · n > θ where p > θ / n; what is passed on is p
                tensors["threshold"] /= tensors["W_dec"].float().norm(dim=1).clamp_min(1e-8)
        elif by_norm and act == "topk" and fold_decoder_norm(tensors):
            notes.append("Latents are reported times the norm of their decoder rows, by which they are selected.")
        check_finite(header.where, {name: tensors[name] for name in ("threshold",) if name in tensors})
        for end, norm in found.items():
            if not 1e-6 < norm < 1e9:
                raise FormatError(
                    f"The average norm of activations is {norm:.4g}: it was never set.",
                    where=f"{header.where}: {norms[end]}",
                    hint="Save the SAE again with its norm, or folded (fold_activation_scale=True).",
                )
        if by_dataset:
            fold_scales(tensors, math.sqrt(d_in) / found["in"], math.sqrt(d_in) / found["out"])
        return notes

    settings: dict[str, Any] = RAW | ({"k": file.top_k} if act == "topk" else {})
    if file.norm_activation == "token-wise":
        settings["normalize_activations"] = "constant_norm_rescale"
    of_transcoder = "transcoder" if act == "standard" else f"{act}_transcoder"
    return ReadPlan(
        files=_BOTH, header=header, names=names, d_in=d_in, d_sae=int(d_in * file.expansion_factor), d_out=d_in,
        scalars=norms if by_dataset else {}, said_by=_CONFIG,
        # A norm that is not needed is what was in memory.
        unused=[
            name for name in norms.values()
            if not by_dataset and name in header.tensors and header.tensors[name].shape == ()
        ],
        architecture=of_transcoder if transcoder else act,
        hook_name=file.hook_point_in, settings=settings, config=data, notes=(_MOVED,) if by_dataset else (),
        metadata={"hook_name_out": file.hook_point_out} if transcoder else {}, fold=fold,
    )


LLAMASCOPIUM = Format("llamascopium", _matches_scopium, _look_scopium, config_file=_CONFIG)
