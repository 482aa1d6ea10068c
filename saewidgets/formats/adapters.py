"""Defines formats of SAEs that other projects published, where names, shapes and a few settings suffice to read them,
and EleutherAI's, which is also written. In formulas @ is the matrix product of row vectors."""

import re
from pathlib import PurePath
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats import unused
from saewidgets.formats.archives import PickledDict, read_pickled
from saewidgets.formats.format import (
    LINEAR,
    MATRICES,
    OTHERS,
    RAW,
    SAME,
    FileSettings,
    Format,
    Part,
    ReadPlan,
    SAEExport,
    Width,
    beside,
    config_of,
    has,
    layered,
    named,
    only,
    pt_header,
)
from saewidgets.formats.source import FolderSource, Source, checked, encoded, plain, read_yaml
from saewidgets.formats.tensors import Header, read_header

# --- Two linear layers -----------------------------------------------------------------------------------------------
#
# One pickled file called ``{model}-SAE-l{layer}.pt``, where alone model and layer are; the place is the output of the
# layer, as SAELens' loaders have it.
#
#     f = relu(x @ encoderᵀ + encoder's bias)          x̂ = f @ decoderᵀ + decoder's bias


def _linear_pt(name: str, owner: str, pattern: re.Pattern[str], end: str = "") -> Format:
    """Files of `owner`'s models. With an `end` of the layers' names, a renamed file is recognised by its tensors."""
    names = {ours: theirs.replace(".", f"{end}.") for ours, theirs in LINEAR.items()}

    def look(source: Source) -> ReadPlan:
        file, found = only(source, pattern, "…-SAE-l….pt")
        note = "Model and layer are only in the file's name on the hub, …-SAE-l19.pt, which this one does not have."
        return ReadPlan(
            files=(file,), header=pt_header(source, file), names=names, transposed=MATRICES, architecture="standard",
            model=f"{owner}/{found[1]}" if found else None,
            hook_name=f"blocks.{int(found[2])}.hook_resid_post" if found else None, settings=RAW,
            notes=() if found else (note,),
        )

    return Format(name, named(pattern, *(names.values() if end else ())), look, single_file=True)


GOODFIRE = _linear_pt(
    "goodfire", "meta-llama", re.compile(r"(Llama-[\w.\-]{1,80}?)-SAE-l([0-9]{1,4})\.pth?"), "_linear"
)
DEEPSEEK_R1 = _linear_pt(
    "deepseek_r1", "deepseek-ai", re.compile(r"(DeepSeek-[\w.\-]{1,80}?)-SAE-l([0-9]{1,4})\.pth?")
)

# --- OpenAI's sparse_autoencoder: GPT-2 small, pickled files ``{layer}.pt`` ------------------------------------------
#
#     x' = (x − mean(x)) / (std(x) + 1e-5)   (top-k ones only; std unbiased)
#     f = act((x' − pre_bias) @ encoder.weightᵀ + latent_bias)          x̂' = f @ decoder.weightᵀ + pre_bias
#
# and the reconstruction is scaled and shifted back. That inputs are normalised is implied by the activation being TopK
# (Gao et al. 2024, arXiv:2406.04093). Model and site are known only from the path of the download,
# ``gpt2-small/resid_post_mlp_v5_32k/autoencoders/6.pt``.

_OPENAI = re.compile(r"(\d{1,4})\.pt")
_OPENAI_NAMES = {"W_enc": "encoder.weight", "b_enc": "latent_bias", "W_dec": "decoder.weight", "b_dec": "pre_bias"}
_OPENAI_SETTINGS = ("activation", "activation_state_dict")
_OPENAI_HOOKS = {
    "resid_post_mlp": "blocks.{}.hook_resid_post", "resid_post_attn": "blocks.{}.hook_resid_mid",
    "resid_delta_mlp": "blocks.{}.hook_mlp_out", "resid_delta_attn": "blocks.{}.hook_attn_out",
    "mlp_post_act": "blocks.{}.mlp.hook_post",
}


def _openai(source: Source) -> ReadPlan:
    file, layer = only(source, _OPENAI, "….pt named after a layer")
    parts = PurePath(source.label).parts
    sites = [re.fullmatch(r"(\w+?)(?:_v\d+(?:_\d+k)?)?", part) for part in reversed(parts)]
    hook = next((_OPENAI_HOOKS[site[1]] for site in sites if layer and site and site[1] in _OPENAI_HOOKS), None)
    found = read_pickled(source, file) if isinstance(source, FolderSource) else None
    architecture, settings = (None, {}) if found is None else _openai_activation(found)
    header = None if found is None else found.header(besides={*_OPENAI_SETTINGS, *unused.OPENAI})
    return ReadPlan(
        files=(file,), header=header, names=_OPENAI_NAMES, transposed=MATRICES, unused=unused.OPENAI,
        architecture=architecture, model="gpt2" if "gpt2-small" in parts else None,
        hook_name=hook.format(layer[1]) if hook and layer else None, settings=settings,
        config={} if found is None else found.plain(),
        notes=() if hook else ("Where in the model the SAE reads is only in the path of the download.",),
    )


def _openai_activation(found: PickledDict) -> tuple[str, dict[str, Any]]:
    """Architecture and settings from the name of the activation function and its state."""
    data = found.plain()
    name, state = data.get("activation"), data.get("activation_state_dict")
    state = state if isinstance(state, dict) else {}
    settings: dict[str, Any] = {"apply_b_dec_to_input": True}
    PickledDict(f"{found.where}: activation_state_dict", state).require_known(("k", "postact_fn"))
    if name == "ReLU":
        return "standard", settings
    k, after = state.get("k"), state.get("postact_fn", "ReLU")
    for key, value, good, expected in (
        ("activation", name, name == "TopK", "ReLU or TopK"),
        ("activation_state_dict.k", k, type(k) is int and k >= 1, "a number"),
        ("activation_state_dict.postact_fn", after, after == "ReLU", "ReLU"),
    ):
        if not good:
            raise FormatError(f"The value is {str(value)[:40]!r}, expected {expected}.", where=f"{found.where}: {key}")
    return "topk", settings | {"k": k, "normalize_activations": "layer_norm"}


OPENAI = Format(
    "openai", named(_OPENAI, "pre_bias", "latent_bias", "activation"), _openai, single_file=True
)

# --- GhostTrack: JumpReLU, pickled checkpoints ``sae_layer_{L}_best.pt`` and ``…_final.pt`` --------------------------
#
#     f = p where p = x @ W_enc.weightᵀ + W_enc.bias > θ, else 0          x̂ = f @ W_dec.weightᵀ + W_dec.bias
#
# with one θ for all latents, which never gets a gradient and so is what training began with. The model is in no file.

_GHOSTTRACK = re.compile(r"sae_layer_(\d{1,4})_(?:best|final)\.pt")
_GHOSTTRACK_NAMES = {"W_enc": "W_enc.weight", "b_enc": "W_enc.bias", "W_dec": "W_dec.weight", "b_dec": "W_dec.bias"}


def _ghosttrack(source: Source) -> ReadPlan:
    file, match = only(source, _GHOSTTRACK, "sae_layer_….pt")
    layer: Any = int(match[1]) if match else None
    header, config = None, dict[str, Any]()
    if isinstance(source, FolderSource):
        found = read_pickled(source, file)
        found.require_known(unused.GHOSTTRACK)
        header, data = found.within("model_state_dict").header(), found.plain()
        # without optimiser, schedule and history
        config = {key: data[key] for key in ("layer_idx", "epoch", "best_loss", "config") if key in data}
        layer = config.get("layer_idx", layer)
        if layer is not None and type(layer) is not int:
            raise FormatError(
                f"The layer is {str(layer)[:40]!r}, expected a number.", where=f"{found.where}: layer_idx"
            )

    def spread(tensors: dict[str, Tensor]) -> None:
        threshold = float(tensors["threshold"])
        if threshold < 0:
            raise FormatError(
                f"The threshold is {threshold:.4g}: latents would be negative, which a JumpReLU cannot express.",
                where=f"{source.label}/{file}: model_state_dict.threshold",
            )
        tensors["threshold"] = torch.full_like(tensors["b_enc"], threshold)

    return ReadPlan(
        files=(file,), header=header, names=_GHOSTTRACK_NAMES, transposed=MATRICES, scalars={"threshold": "threshold"},
        architecture="jumprelu", hook_name=None if layer is None else f"blocks.{layer}.hook_resid_post", settings=RAW,
        config=config, notes=("GhostTrack's files do not say which model the SAE belongs to.",), fold=spread,
    )


GHOSTTRACK = Format(
    "ghosttrack", named(_GHOSTTRACK, "model_state_dict", "layer_idx"), _ghosttrack, single_file=True
)

# --- Kissane and Krzyzanowski's attention SAEs: pickled files ``gpt2-small_L5_Hcat_z_….pt`` --------------------------
#
#     f = relu((z − b_dec) @ W_enc + b_enc)          ẑ = f @ W_dec + b_dec
#
# on the outputs z of all heads side by side (`hook_z`). ``…_cfg.json`` beside a file says widths and hook point;
# without it the file's name says layer and site (Kissane et al. 2024, arXiv:2406.17759).

_CONNOR_ROB = re.compile(r"([A-Za-z0-9\-]{1,60})_L([0-9]{1,4})_Hcat_z_[\w.+\-]{1,200}\.pt")


class _ConnorRob(FileSettings):
    ignored = unused.CONNOR_ROB
    act_size: Width
    dict_size: Width
    act_name: str | None = Field(default=None, pattern=r"^blocks\.[0-9]{1,4}\.attn\.hook_z$")


def _connor_rob(source: Source) -> ReadPlan:
    file, match = layered(source, _CONNOR_ROB, "gpt2-small_L5_Hcat_z_….pt")
    [config_file] = _connor_rob_beside(file)
    hook_name: str = f"blocks.{int(match[2])}.attn.hook_z"
    known: dict[str, Any] = {}
    if (around := beside(source, config_file)) is not None:
        config, data, _ = config_of(around, config_file, _ConnorRob)
        hook_name = config.act_name or hook_name
        known = {"config": data, "d_in": config.act_size, "d_sae": config.dict_size, "said_by": config_file}
    return ReadPlan(
        files=(file,), header=pt_header(source, file), names=SAME, architecture="standard",
        model={"gpt2-small": "gpt2"}.get(match[1], match[1]), hook_name=hook_name,
        settings={"apply_b_dec_to_input": True, "reshape_activations": "hook_z"}, **known,
    )


def _connor_rob_beside(file: str) -> tuple[str, ...]:
    return (file.removesuffix(".pt") + "_cfg.json",)


CONNOR_ROB = Format(
    "connor_rob", named(_CONNOR_ROB), _connor_rob, single_file=True, beside=_connor_rob_beside
)

# --- Qwen Scope: TopK SAEs of Qwen 3, pickled files ``layer{L}.sae.pt`` without a configuration ----------------------
#
#     f = the k largest of relu(x @ W_encᵀ + b_enc)          x̂ = f @ W_decᵀ + b_dec
#
# k, the model and the width are only in the repository's name, ``Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50``.

_QWEN_SCOPE = re.compile(r"layer(\d{1,4})\.sae\.pt")
_QWEN_REPO = re.compile(r"SAE-Res-([\w.\-]{1,80}?)-W(\d{1,5})K-L0_(\d{1,6})")


def _qwen_scope(source: Source) -> ReadPlan:
    file, match = layered(source, _QWEN_SCOPE, "layer….sae.pt")
    found = re.findall(_QWEN_REPO, source.label)[-1:]
    model, d_sae, k = (f"Qwen/{found[0][0]}", int(found[0][1]) * 1024, int(found[0][2])) if found else (None, None, 0)
    unknown = "How many latents are active is only in the repository's name (…-W32K-L0_50), which is not known here"
    return ReadPlan(
        files=(file,), header=pt_header(source, file), names=SAME, transposed=MATRICES, d_sae=d_sae,
        said_by="the name of the repository" if found else OTHERS, architecture="topk", model=model,
        hook_name=f"blocks.{int(match[1])}.hook_resid_post",
        settings={**RAW, **({"k": k} if k else {})},
        notes=() if k else (f"{unknown}: the SAE cannot be loaded from here.",),
        metadata={"hf_hook_name": f"model.layers.{int(match[1])}"},
        refusal=None if k else FormatError(
            f"{unknown}.", where=f"{source.label}/{file}",
            hint="Keep the file in a folder named after its repository, SAE-Res-…-W…K-L0_….",
        ),
    )  # fmt: skip


QWEN_SCOPE = Format("qwen_scope", named(_QWEN_SCOPE), _qwen_scope, single_file=True)

# --- Transcoders as circuit-tracer reads them (mwhanna's and mntss'): ``layer_{L}.safetensors`` ----------------------
#
#     f = act(x @ W_encᵀ + b_enc)          ŷ = f @ W_dec + b_dec [+ x @ W_skipᵀ]
#
# W_enc is [d_sae, d_in]. W_dec is [d_sae, d_out] today and was the other way in the first files; where both widths are
# the same, nothing tells which. act is a top-k if the file has a tensor ``k`` or ``config.yaml`` says so, a JumpReLU if
# the file has thresholds, else a ReLU. circuit-tracer's top-k passes negative values on if fewer than k are positive;
# they are 0 here. ``config.yaml`` beside the files says model and hook points. Without it the name of the repository
# says the model of mwhanna's, which read what goes into the MLP.

_TRACER = re.compile(r"layer_([0-9]{1,4})\.safetensors")
_TRACER_CONFIG = "config.yaml"
_TRACER_QWEN = re.compile(r"mwhanna[/+\-]+qwen3-([0-9]{1,3}(?:\.[0-9])?)b-transcoders")
_TRACER_HOOK = r"^[a-zA-Z_][\w.]{0,60}$"
_TRACER_THRESHOLD = "activation_function.threshold"
_TRACER_K = {"crv-8b-instruct-transcoders": 128}  # repository → k, which circuit-tracer knows and its files do not say


class _Tracer(FileSettings):
    ignored = unused.CIRCUIT_TRACER
    model_name: str | None = Field(default=None, max_length=200)
    model_kind: Literal["transcoder_set"] | None = None
    feature_input_hook: str | None = Field(default=None, pattern=_TRACER_HOOK)
    feature_output_hook: str | None = Field(default=None, pattern=_TRACER_HOOK)
    activation: Literal["relu", "jump_relu", "jumprelu", "topk", "none"] | None = None
    k: int | None = Field(default=None, ge=1)


def _circuit_tracer(source: Source) -> ReadPlan:
    file, match = layered(source, _TRACER, "layer_….safetensors")
    header = read_header(source, file)
    names = SAME | ({"W_skip": "W_skip"} if "W_skip" in header.tensors else {})
    (d_out,), d_sae = header.shape("b_dec", 1), header.shape("W_enc", 2)[0]
    turned = header.shape("W_dec", 2) == (d_out, d_sae)
    if turned and d_out == d_sae:
        raise FormatError(
            f"W_dec is {d_out:,} by {d_sae:,}: versions of this format differ in which dimension holds the latents.",
            where=f"{header.where}: W_dec",
        )
    around = beside(source, _TRACER_CONFIG)
    data = {} if around is None else read_yaml(around, _TRACER_CONFIG)
    where = f"{source.label}/{_TRACER_CONFIG}"
    config = checked(_Tracer, data, where)
    if not data and (qwen := _TRACER_QWEN.search(source.label.replace("--", "/"))):
        config = _Tracer(
            model_name=f"Qwen/Qwen3-{qwen[1]}B", feature_input_hook="mlp.hook_in", feature_output_hook="hook_mlp_out"
        )
    kind, k = _tracer_activation(source, file, header, config, where)
    names |= {"threshold": _TRACER_THRESHOLD} if kind == "jumprelu" else {}

    def fold(tensors: dict[str, Tensor]) -> None:
        tensors.pop("the k", None)
        if "threshold" in tensors and bool((tensors["threshold"] < 0).any()):
            raise FormatError(
                "A threshold is negative: latents would be negative, which a JumpReLU cannot express.",
                where=f"{header.where}: {_TRACER_THRESHOLD}",
            )

    block, into, out = f"blocks.{int(match[1])}", config.feature_input_hook, config.feature_output_hook
    of_transcoder = ("skip_" if "W_skip" in names else "") + "transcoder"
    return ReadPlan(
        files=(file,), header=header, names=names, transposed=MATRICES if turned else ("W_enc",),
        scalars={"the k": "k"} if "k" in header.tensors else {},
        architecture=f"{kind}_{of_transcoder}" if kind else of_transcoder, model=config.model_name,
        hook_name=f"{block}.{into}" if into else None, settings=RAW | ({"k": k} if k else {}), fold=fold,
        config={key: data[key] for key in _Tracer.model_fields if data.get(key) is not None},
        notes=() if into else ("Model and hook points are in config.yaml of the repository, which is not here.",),
        # LayerNorm's weights must not be moved into the model's matrices: it was trained on what comes then.
        metadata={"model_from_pretrained_kwargs": {"fold_ln": False}}
        | ({"hook_name_out": f"{block}.{out}"} if out else {}),
    )


def _tracer_activation(
    source: Source, file: str, header: Header, config: _Tracer, where: str
) -> tuple[str, int | None]:
    """``"topk"`` with its k, ``"jumprelu"``, or ``""`` for a ReLU. Raises `FormatError` if tensors and configuration
    contradict each other."""
    stored, limited = header.tensors.get("k"), _TRACER_THRESHOLD in header.tensors
    k = config.k
    if stored is not None:
        header.shape("k", 0)
        if stored.dtype not in ("I64", "I32", "I16", "I8", "U8"):
            raise FormatError(f"The dtype is {stored.dtype!r}, expected an integer.", where=f"{header.where}: k")
        k = int.from_bytes(source.read(file, stored.start, stored.nbytes), "little", signed=stored.dtype != "U8")
    if config.activation == "topk" and k is None:
        k = next((known for name, known in _TRACER_K.items() if name in source.label), None)
    topk = config.activation == "topk" or (k is not None and config.activation is None)
    for wrong, place, what in (
        (k is not None and k < 1, f"{header.where}: k", f"k is {k}, expected at least 1."),
        (stored is not None and config.k not in (None, k), f"{header.where}: k",
         f"k is {k}, but {_TRACER_CONFIG} says {config.k}."),
        (topk and k is None, f"{where}: k", "The value is missing, and it decides how many latents are active."),
        (k is not None and not topk, f"{where}: activation",
         f"There is a k, but the activation function is {config.activation!r}."),
        (topk and limited, f"{header.where}: {_TRACER_THRESHOLD}", "A top-k has no thresholds."),
        (config.activation == "relu" and limited, f"{where}: activation",
         f"The activation function is 'relu', but the file has {_TRACER_THRESHOLD}."),
        (config.activation in ("jump_relu", "jumprelu") and not limited, f"{header.where}: {_TRACER_THRESHOLD}",
         "The tensor is missing."),
    ):
        if wrong:
            hint = "Configuration and weights belong to different SAEs, or one of them was altered."
            raise FormatError(what, where=place, hint=hint)
    return ("topk", k) if topk else ("jumprelu" if limited else "", None)


CIRCUIT_TRACER = Format(
    "circuit_tracer", named(_TRACER), _circuit_tracer, single_file=True, beside=lambda _: (_TRACER_CONFIG,)
)

# --- Temporal SAEs (canrager/temporalSAEs): ``conf.yaml`` and ``latest_ckpt.safetensors`` ----------------------------
#
# `saewidgets.sae.temporal` says what they compute. D is the decoder [d_sae, d_in], b its bias, E the encoder
# [d_in, d_sae] unless weights are tied; activations are multiplied by ``scaling_factor`` first and the output divided
# by it. Model and layer are only in the path, ``gemma-2-2B/layer_12/temporal``.

_TEMPORAL_FILES = ("conf.yaml", "latest_ckpt.safetensors")
_TEMPORAL_MODELS = {"gemma-2-2b": "google/gemma-2-2b", "llama-3.1-8b": "meta-llama/Llama-3.1-8B"}
_TEMPORAL_SETTINGS = (
    "n_heads", "n_attn_layers", "bottleneck_factor", "sae_diff_type", "kval_topk", "tied_weights"
)
_TEMPORAL_PLACE = re.compile(r"(?:([\w.\-]{1,60})/)?layer_([0-9]{1,4})(?:/|$)")


class _TemporalModel(FileSettings):
    ignored = unused.TEMPORAL_MODEL
    dimin: Width


class _TemporalSAE(FileSettings):
    ignored = unused.TEMPORAL_SAE
    sae_type: Literal["temporal"] = "temporal"
    exp_factor: float = Field(gt=0, le=2**12)
    n_heads: int = Field(ge=1, le=2**12)
    n_attn_layers: int = Field(ge=1, le=64)
    bottleneck_factor: int = Field(ge=1, le=2**16)
    sae_diff_type: Literal["relu", "topk"]
    kval_topk: int | None = Field(default=None, ge=1)
    tied_weights: bool
    scaling_factor: float = Field(gt=0, lt=1e9)


class _Temporal(FileSettings):
    ignored = unused.TEMPORAL
    llm: _TemporalModel
    sae: _TemporalSAE


def _temporal(source: Source) -> ReadPlan:
    data = read_yaml(source, _TEMPORAL_FILES[0])
    where = f"{source.label}/{_TEMPORAL_FILES[0]}"
    file = checked(_Temporal, data, where)
    sae, d_in, d_sae = file.sae, file.llm.dimin, int(file.llm.dimin * file.sae.exp_factor)
    if not 1 <= d_sae <= 2**24 or d_sae % (sae.n_heads * sae.bottleneck_factor):
        raise FormatError(
            f"{d_sae:,} latents cannot be split into {sae.n_heads} heads of a bottleneck of {sae.bottleneck_factor}.",
            where=f"{where}: sae",
        )
    header = read_header(source, _TEMPORAL_FILES[1])
    row = header.tensors.get("b")
    names = {"W_dec": "D", "b_dec": "b"} | ({} if sae.tied_weights else {"W_enc": "E"})
    shapes = {"b_dec": (1, d_in) if row is not None and len(row.shape) == 2 else (d_in,)}
    narrow = d_sae // sae.bottleneck_factor
    for i in range(sae.n_attn_layers):
        for name, width in (("k_ctx", narrow), ("q_target", narrow), ("v_ctx", d_sae), ("c_proj", d_sae)):
            layer = f"attn_layers.{i}.{name}"
            shapes |= {f"{layer}.weight": (width, d_sae), f"{layer}.bias": (width,)}
            names |= {f"{layer}.{part}": f"{layer}.{part}" for part in ("weight", "bias")}

    def flatten(tensors: dict[str, Tensor]) -> None:
        tensors["b_dec"] = tensors["b_dec"].reshape(-1)

    place = _TEMPORAL_PLACE.search(source.label)
    note = "Model and layer are only in the path of the download, gemma-2-2B/layer_12/temporal."
    return ReadPlan(
        files=_TEMPORAL_FILES, header=header, names=names, shapes=shapes, d_in=d_in, d_sae=d_sae,
        said_by=_TEMPORAL_FILES[0], architecture="temporal",
        model=_TEMPORAL_MODELS.get((place[1] or "").lower()) if place else None,
        hook_name=f"blocks.{int(place[2])}.hook_resid_post" if place else None,
        settings={
            "apply_b_dec_to_input": True, "normalize_activations": "constant_scalar_rescale",
            "activation_normalization_factor": sae.scaling_factor,
            **{key: getattr(sae, key) for key in _TEMPORAL_SETTINGS},
        },
        config={key: data[key] for key in ("llm", "sae", "data") if key in data}, notes=() if place else (note,),
        fold=flatten,
    )


TEMPORAL = Format("temporal", has(*_TEMPORAL_FILES), _temporal, config_file=_TEMPORAL_FILES[0])

# --- EleutherAI's sparsify (formerly `sae`): ``cfg.json`` and ``sae.safetensors`` ------------------------------------
#
#     p = relu((x − b_dec) @ encoder.weightᵀ + encoder.bias)      (a transcoder takes x as it is)
#     f = the k largest of p, or (groupmax) the largest of each of k groups
#     ŷ = f @ W_dec + b_dec [+ x @ W_skipᵀ]
#
# W_dec is [d_sae, d_in], as here. ``num_latents`` 0 means ``expansion_factor · d_in``. Old configurations with
# ``signed`` keep the k largest magnitudes with their signs. The folder is called as the module that was read:
# ``layers.10``, ``h.3.attn``; what is written here also says under ``metadata``, a key that sparsify leaves out, which
# hook of which model that was, and whatever else is known of the SAE.

_SPARSIFY_FILES = ("cfg.json", "sae.safetensors")
_SPARSIFY_NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}
_SPARSIFY_SITES = {
    None: "hook_resid_post", "mlp": "hook_mlp_out", "attn": "hook_attn_out", "self_attn": "hook_attn_out",
    "attention": "hook_attn_out",
}
_SPARSIFY_INPUTS = {"hook_resid_post": "hook_resid_pre", "hook_mlp_out": "mlp.hook_in"}  # of the same module
_SPARSIFY_SAID = ("model_name", "hook_name", "hook_name_out")


class _Sparsify(FileSettings):
    ignored = unused.SPARSIFY
    d_in: Width
    activation: Literal["topk", "groupmax"] = "topk"
    expansion_factor: int = Field(default=32, ge=1, le=2**12)
    num_latents: int = Field(default=0, ge=0, le=2**24)
    k: int = Field(default=32, ge=1)
    skip_connection: bool = False
    transcode: bool = False
    signed: bool = False


def _sparsify(source: Source) -> ReadPlan:
    file, data, where = config_of(source, _SPARSIFY_FILES[0], _Sparsify)
    if file.signed and (file.activation != "topk" or file.skip_connection or file.transcode):
        raise FormatError("Signed latents are known only for top-k SAEs.", where=f"{where}: signed")
    kind = "skip_transcoder" if file.skip_connection else "transcoder" if file.transcode else ""
    parts = PurePath(source.label).parts
    if len(parts) > 1 and re.fullmatch(r"seed\d+", parts[-1]):  # in a folder called after the module
        parts = parts[:-1]
    module = hook_of_module(parts[-1]) if parts else None
    site = module.rpartition(".")[2] if module else ""
    known = data.get("metadata")
    metadata = dict(known) if isinstance(known, dict) else {}
    said = {key: value for key in _SPARSIFY_SAID if isinstance(value := metadata.pop(key, None), str) and value}
    hook_name, notes = module, list[str]()
    if module is not None:
        metadata["hookpoint"] = PurePath(source.label).name
    if module is not None and file.transcode:
        hook_name = module.removesuffix(site) + _SPARSIFY_INPUTS[site] if site in _SPARSIFY_INPUTS else None
    if "hook_name" in said:
        metadata |= {key: said[key] for key in ("hook_name_out",) if key in said}
    elif module is None:
        notes.append("The folder should have the name of the module that the SAE reads; this one does not.")
    elif file.transcode:
        notes.append("A transcoder of sparsify reads what goes into the module that its folder is named after.")
        metadata["hook_name_out"] = module
    return ReadPlan(
        files=_SPARSIFY_FILES, header=read_header(source, _SPARSIFY_FILES[1]), transposed=("W_enc",),
        names=_SPARSIFY_NAMES | ({"W_skip": "W_skip"} if file.skip_connection else {}), said_by=_SPARSIFY_FILES[0],
        d_in=file.d_in, d_sae=file.num_latents or file.d_in * file.expansion_factor, d_out=file.d_in,
        # SAEs with a skip path are skip transcoders that centre their input.
        architecture=f"{file.activation}_{kind}" if kind else "abstopk" if file.signed else file.activation,
        model=said.get("model_name"), hook_name=said.get("hook_name") or hook_name,
        settings={"apply_b_dec_to_input": not file.transcode, "k": file.k}, config=data, notes=notes, metadata=metadata,
    )


def hook_of_module(path: str) -> str | None:
    """The hook name of the output of a transformers module: ``layers.10`` → ``blocks.10.hook_resid_post``."""
    if path.rsplit(".", 1)[-1] in {"embed_tokens", "wte", "embed_in"}:
        return "hook_embed"
    match = re.fullmatch(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)(?:\.(mlp|attn|self_attn|attention))?", path)
    return f"blocks.{match[1]}.{_SPARSIFY_SITES[match[2]]}" if match else None


def _save_sparsify(saved: SAEExport) -> dict[str, Part]:
    sae, cfg = saved.frozen, saved.frozen.cfg
    kind, _, rest = cfg.architecture.partition("_")
    written = kind in ("topk", "abstopk", "groupmax") and rest in ("", "transcoder", "skip_transcoder")
    known = "topk, abstopk, groupmax and their transcoders"
    saved.refuse((not written, f"it is a {cfg.architecture}, and only {known} are known there"))
    saved.refuse_changed_activations()
    saved.refuse(
        (not rest and not cfg.apply_b_dec_to_input,
         "it does not subtract b_dec from the input, as all SAEs do there"),
        (sae.d_out != sae.d_in, f"it reconstructs {sae.d_out:,} values from {sae.d_in:,}"),
    )
    tensors = {_SPARSIFY_NAMES.get(name, name): tensor for name, tensor in saved.tensors().items()}
    tensors["encoder.weight"] = tensors["encoder.weight"].T.contiguous()
    if "skip" not in rest:
        tensors.pop("W_skip", None)
    config = {
        "activation": "groupmax" if kind == "groupmax" else "topk", "expansion_factor": max(1, sae.d_sae // sae.d_in),
        "normalize_decoder": False, "num_latents": sae.d_sae, "k": getattr(cfg, "k", None), "multi_topk": False,
        "skip_connection": "skip" in rest, "transcode": not cfg.apply_b_dec_to_input, "d_in": sae.d_in,
    }
    config |= {"signed": True} if kind == "abstopk" else {}
    metadata = {key: value for key, value in sae.metadata.items()
                if key not in _SPARSIFY_SAID or (value and isinstance(value, str))}  # fmt: skip
    config |= {"metadata": plain(metadata)} if metadata else {}
    return {_SPARSIFY_FILES[1]: tensors, _SPARSIFY_FILES[0]: encoded(config)}


SPARSIFY = Format(
    "sparsify", has(*_SPARSIFY_FILES), _sparsify, save=_save_sparsify, config_file=_SPARSIFY_FILES[0]
)
