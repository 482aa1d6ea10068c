"""Defines the formats of miStudio: what it exports, a training's ``checkpoint.safetensors``, and three files around
``model.safetensors``.

Its models are of two generations that write the same files for different maths: 1 is that of early 2026
(hitsainet/miStudio), 2 that of August 2026 (Onegaishimas/miStudio).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats import unused
from saewidgets.formats.format import (
    ANSWER,
    LINEAR,
    MATRICES,
    OTHERS,
    SAME,
    FileSettings,
    Format,
    Part,
    ReadPlan,
    SAEExport,
    Width,
    answered,
    config_of,
    has,
    told,
)
from saewidgets.formats.source import Source, encoded, plain, read_json
from saewidgets.formats.tensors import Header, read_header
from saewidgets.sae import inference_architectures
from saewidgets.sae.architectures import lookup_inference
from saewidgets.sae.scaler import shift_input

_SITES = {"residual": "hook_resid_post", "mlp": "hook_mlp_out", "attention": "hook_attn_out"}
_Normalization = Literal["none", "constant_norm_rescale", "anthropic_rescale"]
_PLACE = re.compile(r"layer_(\d{1,4})(?:_(residual|mlp|attention))?")


def _ours(kind: str, centred: bool, normalized: bool, k: int | None, where: str) -> dict[str, Any]:
    """What one of miStudio's models (standard, skip, transcoder, topk or jumprelu) is here, as arguments of `ReadPlan`.

    `normalized`: inputs are brought to norm √d; both of its names stand for the same, per token. With `k`, that many
    latents are active, else all that fire (or, for topk, it is not known).
    """
    architecture, skip = "topk" if k and kind != "skip" else kind, kind == "skip"
    if kind == "transcoder" or (skip and not normalized):  # only then a skip SAE is one, which SAELens has too
        architecture = ("topk_" if k else "") + ("skip_" if skip else "") + "transcoder"
    settings: dict[str, Any] = {"apply_b_dec_to_input": centred and "transcoder" not in architecture}
    settings |= {"normalize_activations": "constant_norm_rescale"} if normalized and kind != "transcoder" else {}
    settings |= ({"skip_scale": 1.0} if architecture == "skip" else {}) | ({"k": k} if k else {})
    refusal = None if architecture != "skip" or not k else FormatError(
        "A top-k skip autoencoder with normalised activations cannot be expressed.", where=where,
        hint="Its best solution is a copy of its input without any latent active; train another architecture.",
    )  # fmt: skip
    return {"architecture": architecture, "settings": settings, "refusal": refusal}


def _add_input(tensors: dict[str, Tensor], centred: bool) -> None:
    """Make a skip transcoder: a linear path adds the input, and the encoder's bias does what subtracting did."""
    b_dec = tensors["b_dec"]
    if centred:
        shift_input(tensors, -b_dec)
    tensors["W_skip"] = torch.eye(b_dec.numel(), dtype=b_dec.dtype, device=b_dec.device)


def _share(percent: float | None, d_sae: int) -> int | None:
    """k, where it is a percentage of the latents."""
    return None if percent is None else max(1, int(percent / 100.0 * d_sae))


# --- What miStudio exports: ``cfg.json`` and ``sae_weights.safetensors`` that look like SAELens' ---------------------
#
# Neither generation writes all that decides the maths. What tells them apart is which key stands in
# ``extra_metadata``: ``top_k_sparsity`` (1) or ``top_k`` (2). Corrected here:
#
# - 1, standard and skip: the model has two output biases that learn the same; one of them was exported, so b_dec is
#   half;
# - 1, standard with top_k_sparsity: it is a top-k SAE, k is that percentage of d_sae;
# - 2: b_dec is subtracted from the input, although cfg.json says it is not;
# - 2, standard_anthropic: inputs are brought to norm √d, whatever `normalize_activations` says;
# - both: hook names always say hook_resid_post; the folder's name (``layer_3_mlp``) knows better.
#
# Not exported, and so refused: b_pre of top-k (2), b_enc_center of transcoders (2).

_EXPORT = ("cfg.json", "sae_weights.safetensors")
_FIRST, _SECOND = "top_k_sparsity", "top_k"
_NEW_NAMES = ("standard_saelens", "standard_anthropic", "topk")  # only the second generation has them
_LOST = {"topk": "b_pre", "transcoder": "b_enc_center"}


class _CheckpointFields(FileSettings):
    ignored = None  # free-form
    hf_model_name: str | None = None
    top_k_sparsity: float | None = Field(default=None, gt=0, le=100)


class _ExportFile(FileSettings):
    # What miStudio writes there whatever its models compute.
    ignored = unused.MISTUDIO | {"apply_b_dec_to_input", "reshape_activations"}
    architecture: Literal[
        "standard", "standard_saelens", "standard_anthropic", "jumprelu", "topk", "skip", "transcoder"
    ]
    d_in: Width
    d_sae: Width
    model_name: str | None = None
    hook_name: str | None = None
    hook_point: str | None = None
    normalize_activations: _Normalization = "none"
    extra_metadata: _CheckpointFields = Field(default_factory=_CheckpointFields)


def _matches_export(source: Source) -> bool:
    """Matches by the names of the files, which SAELens has too, and miStudio's own keys."""

    def test() -> bool:
        data = read_json(source, _EXPORT[0])
        return "mistudio_training_id" in data or _generation(data) is not None

    return has(*_EXPORT)(source) and told(test)


def _generation(data: dict[str, Any]) -> int | None:
    extra = data.get("extra_metadata")
    known = isinstance(extra, dict) and (_FIRST in extra or _SECOND in extra)
    return None if not known else 1 if _FIRST in data["extra_metadata"] else 2


def _look_at_export(source: Source) -> ReadPlan:
    file, data, where = config_of(source, _EXPORT[0], _ExportFile)
    generation = _generation(data) or (2 if file.architecture in _NEW_NAMES else None)
    if generation is None:
        raise FormatError(
            "The file does not record which generation of miStudio wrote it, and so what it computes.",
            where=f"{where}: extra_metadata",
            hint=f"Add {_FIRST} (until early 2026) or {_SECOND} (later), with its value or null.",
        )
    second = generation == 2
    kind = "standard" if file.architecture.startswith("standard") else file.architecture
    if second and kind in _LOST:
        raise FormatError(
            f"miStudio did not export {_LOST[kind]} of this {kind} SAE, without which it computes something else.",
            where=f"{where}: architecture", hint="Load the training's checkpoint.safetensors instead.",
        )
    kind = "standard" if kind == "topk" else kind  # the first generation has no class of its own for it
    normalized = file.architecture == "standard_anthropic" or file.normalize_activations != "none"
    percent = None if second or kind == "jumprelu" else file.extra_metadata.top_k_sparsity
    ours = _ours(kind, second, normalized, _share(percent, file.d_sae), f"{where}: architecture")
    if ours["refusal"] is not None:
        raise ours["refusal"]
    halved = not second and kind in ("standard", "skip")
    place = _PLACE.fullmatch(PurePath(source.label).name)
    placed = place is not None and place[2] is not None
    notes = {
        f"Exported by miStudio, generation {generation}.": True,
        "No normalisation is written down; miStudio's default, which it leaves out, would be one.":
            not normalized and kind != "transcoder",
        "miStudio trained its transcoders to reconstruct their own input.": kind == "transcoder",
        "b_dec was doubled: miStudio exports one of two equal output biases.": halved,
        "miStudio writes hook_resid_post for SAEs of MLP and attention outputs too.": not placed,
    }
    header = read_header(source, _EXPORT[1])

    def correct(tensors: dict[str, Tensor]) -> None:
        if halved:
            tensors["b_dec"] = tensors["b_dec"] * 2
        if ours["architecture"].endswith("skip_transcoder"):
            _add_input(tensors, second)

    return ReadPlan(
        files=_EXPORT, header=header, names=SAME | ({"threshold": "threshold"} if kind == "jumprelu" else {}),
        d_in=file.d_in, d_sae=file.d_sae, d_out=None if kind == "transcoder" else file.d_in, said_by=_EXPORT[0],
        **ours, config=data,
        model=file.extra_metadata.hf_model_name or file.model_name,
        hook_name=f"blocks.{place[1]}.{_SITES[place[2]]}" if place and placed else file.hook_name or file.hook_point,
        notes=[note for note, said in notes.items() if said], fold=correct,
    )


EXPORT = Format("mistudio_community", _matches_export, _look_at_export, config_file=_EXPORT[0])

# --- State dicts -----------------------------------------------------------------------------------------------------
#
# Matrices lie the other way than here. What the tensors are called tells the class and nearly always the generation.
# The first adds decoder.bias to the output, beside decoder_bias. The second has decoder_bias alone, and subtracts it
# from the input; b_pre and b_enc_center are its own, and subtracted likewise. Of a JumpReLUSAE, and where the decoder
# is the encoder's transpose, the tensors do not tell.

_LAYERS = {name: LINEAR[name] for name in ("W_enc", "b_enc", "W_dec")}
# The tensor that only this class has → what it is here, whether b_dec is subtracted, our names of tensors → the file's.
_LAYOUTS: dict[str, tuple[str, bool | None, dict[str, str]]] = {
    "W_enc": ("jumprelu", None, SAME | {"log_threshold": "activation.log_threshold"}),
    "b_pre": ("topk", True, _LAYERS | {"b_dec": "b_pre"}),
    "decoder_bias": ("standard", True, _LAYERS | {"b_dec": "decoder_bias", "+b_dec": "decoder.bias"}),
    "": ("transcoder", False, _LAYERS | {"b_dec": "decoder.bias", "-b_dec": "b_enc_center"}),  # all others
}
_OPTIONAL = ("W_dec", "+b_dec", "-b_dec")


@dataclass(frozen=True, slots=True)
class _State:
    """How the tensors of one checkpoint become ours. Names of ours beginning with ``+`` and ``-`` are added to the
    output, and subtracted from the input, besides. Without W_dec the decoder is the encoder's transpose."""

    kind: str
    names: Mapping[str, str]  # ours → the file's
    widths: tuple[int, int, int]
    centred: bool | None = None  # whether b_dec is subtracted from the input; None where the tensors do not tell

    def finish(self, tensors: dict[str, Tensor]) -> None:
        """Turn what was read by `names` into our tensors, in place."""
        if "W_dec" not in tensors:
            tensors["W_dec"] = tensors["W_enc"].T.contiguous()
        if "+b_dec" in tensors:
            tensors["b_dec"] = tensors["b_dec"] + tensors.pop("+b_dec")
        if "-b_dec" in tensors:
            shift_input(tensors, -tensors.pop("-b_dec"))
        if "log_threshold" in tensors:
            tensors["threshold"] = tensors.pop("log_threshold").float().exp()


def _read_state(header: Header, prefix: str) -> _State:
    """What the tensors called `prefix`… are. Raises `FormatError` where they are of no class that is known."""
    names = {name.removeprefix(prefix) for name in header.tensors if name.startswith(prefix)}
    kind, centred, known = next(row for mark, row in _LAYOUTS.items() if mark in {"", *names})
    found = {ours: theirs for ours, theirs in known.items() if theirs in names or ours not in _OPTIONAL}
    if kind == "standard":
        centred = "+b_dec" not in found if "W_dec" in found else None
    if extra := sorted(names - set(found.values())):
        raise FormatError(
            f"There are unexpected tensors: {', '.join(extra)[:300]}.", where=header.where,
            hint="Their effect is not known, so the SAE is not loaded without them.",
        )
    found = {ours: prefix + theirs for ours, theirs in found.items()}
    d_sae, d_in = header.shape(found["W_enc"], 2)
    linear = kind != "jumprelu" and "W_dec" in found
    return _State(kind, found, (d_in, d_sae, header.shape(found["W_dec"], 2)[0] if linear else d_in), centred)


# --- Checkpoints -----------------------------------------------------------------------------------------------------
#
# Tensors called ``model.…``, with step, class, layer and hook in the header. Normalisation and k are only in miStudio's
# database: where they are needed, the defaults of its code are taken and said so in a note, or the SAE is refused. A
# ``config.json`` beside the checkpoint may say them:
#
#     {"normalize_activations": "none", "top_k": 64, "top_k_sparsity": 5.0, "apply_b_dec_to_input": true}

_CHECKPOINT = "checkpoint.safetensors"
_PREFIX = "model."
_BESIDE = ("config.json", "metadata.json")
_CLASSES = {
    "SparseAutoencoder": "standard", "SkipAutoencoder": "standard", "Transcoder": "transcoder", "TopKSAE": "topk",
    "JumpReLUSAE": "jumprelu",
}
_OPEN = "The file does not record whether b_dec is subtracted from the input, in which miStudio's generations differ"


class _SidecarFile(FileSettings):
    """The settings that a file beside the checkpoint may have."""

    ignored = unused.MISTUDIO | {"architecture"}
    d_in: Width | None = None
    d_sae: Width | None = None
    normalize_activations: _Normalization | None = None
    top_k: int | None = Field(default=None, ge=1)
    top_k_sparsity: float | None = Field(default=None, gt=0, le=100)
    apply_b_dec_to_input: bool | None = None
    model_name: str | None = None


def _look_at_checkpoint(source: Source, apply_b_dec_to_input: bool | None) -> ReadPlan:
    header = read_header(source, _CHECKPOINT)
    state = _read_state(header, _PREFIX)
    beside, names = _SidecarFile(), tuple(name for name in _BESIDE if name in source.files())[:1]
    for name in names:
        beside, _, _ = config_of(source, name, _SidecarFile)
    said_kind, kind, k = header.metadata.get("architecture"), state.kind, beside.top_k
    if said_kind is not None and _CLASSES.get(said_kind) != kind:
        raise FormatError(
            f"The header says {said_kind[:40]!r}, but the tensors are those of a {kind} SAE.", where=header.where,
            hint="The file was altered, or comes from an unknown version of miStudio.",
        )
    if said_kind is None and kind == "standard":
        raise FormatError(
            "The header does not say whether this is a SparseAutoencoder or a SkipAutoencoder.",
            where=f"{header.where}: architecture", hint="Save the checkpoint with miStudio itself.",
        )
    kind = "skip" if said_kind == "SkipAutoencoder" else kind
    said = beside.apply_b_dec_to_input if state.centred is None else state.centred
    centred = answered(said, apply_b_dec_to_input, source.label)
    # The first generation could keep a percentage of latents.
    relative = kind not in ("topk", "jumprelu") and state.centred is not True
    if kind != "topk":
        k = _share(beside.top_k_sparsity if relative else None, state.widths[1])
    notes = {
        f"{_OPEN}; it is loaded only if b_dec is zero, or a config.json beside it or the call says "
        '"apply_b_dec_to_input".': centred is None,
        "Normalisation is only in miStudio's database; its default, constant_norm_rescale, was taken.":
            kind != "transcoder" and beside.normalize_activations is None,
        "How many latents are active is only in miStudio's database, so the SAE cannot be loaded.":
            kind == "topk" and k is None,
        "If the training had top_k_sparsity, that is only in miStudio's database and was not applied.":
            relative and k is None,
    }
    ours = _ours(kind, bool(centred), beside.normalize_activations != "none", k, header.where)

    def fold(tensors: dict[str, Tensor]) -> None:
        state.finish(tensors)
        if centred is None and not (tensors["b_dec"] == 0).all():
            raise _missing(header, ANSWER, f"{_OPEN}.")
        if ours["architecture"].endswith("skip_transcoder"):
            _add_input(tensors, bool(centred))

    step, layer, site = (header.metadata.get(key, "") for key in ("step", "layer_idx", "hook_type"))
    if place := re.fullmatch(r"layer_(\d{1,4})(?:_(\w+))?", PurePath(source.label).name):
        layer, site = layer or place[1], site or place[2] or ""
    if kind == "topk" and k is None:
        ours["refusal"] = _missing(header, "top_k", "How many latents are active is only in miStudio's database.")
    d_in, d_sae, d_out = state.widths
    return ReadPlan(
        header=header, names=state.names, transposed=MATRICES, d_in=beside.d_in or d_in, d_sae=beside.d_sae or d_sae,
        d_out=d_out, said_by=names[0] if beside.d_in or beside.d_sae else OTHERS,
        shapes={"+b_dec": (d_out,), "-b_dec": (d_in,)},
        unused=[name for name in header.tensors if name.startswith("optimizer.")],
        files=(_CHECKPOINT, *names), weights=_CHECKPOINT, model=beside.model_name, **ours,
        hook_name=f"blocks.{int(layer)}.{_SITES.get(site, 'hook_resid_post')}" if layer.isdecimal() else None,
        config=dict(header.metadata), notes=[note for note, given in notes.items() if given],
        metadata={"mistudio_step": int(step)} if step.isdecimal() else {}, fold=fold,
    )


def _missing(header: Header, key: str, what: str) -> FormatError:
    call = f", pass {key}=True or False where you load it" if key == ANSWER else ""
    return FormatError(
        what, where=f"{header.where}: {key}",
        hint=f'Put a config.json with "{key}" beside the checkpoint{call}, or load what miStudio exported.',
    )


# --- The trio --------------------------------------------------------------------------------------------------------
#
# ``config.json``, ``model.safetensors`` and ``training_metadata.json`` are in miStudio's design papers. Written here
# are SAELens' names and orientation, with a configuration that says everything. Read are these, and the state dicts
# of miStudio's models beside a configuration with SAELens' names for settings.

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TRAINING_FILE = "training_metadata.json"
FILES = (CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE)
_KEPT = ("k", "residual_threshold", "max_iterations", "stop_on_duplicate_support", "skip_scale")
_UNWRITTEN = ("temporal",)
_TENSORS = ("W_enc", "b_dec", "W_skip", "b_enc", "threshold", "b_gate", "r_mag", "b_mag")


class _Arguments(FileSettings):
    k: int | None = Field(default=None, ge=1)


class _TrioFile(FileSettings):
    ignored = unused.MISTUDIO
    architecture: str
    d_in: Width
    d_sae: Width
    d_out: Width | None = None
    apply_b_dec_to_input: bool | None = None
    normalize_activations: Literal["layer_norm"] | _Normalization | None = None
    reshape_activations: Literal["none", "hook_z"] = "none"
    k: int | None = Field(default=None, ge=1)
    top_k: int | None = Field(default=None, ge=1)
    top_k_sparsity: float | None = Field(default=None, gt=0, le=100)
    activation_fn_str: str | None = None
    activation_fn_kwargs: _Arguments | None = None
    residual_threshold: float | None = None
    max_iterations: int | None = Field(default=None, ge=1)
    stop_on_duplicate_support: bool | None = None
    skip_scale: float | None = None
    model_name: str | None = None
    hook_name: str | None = None
    hook_point: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


def _look_at_state_dict(
    source: Source, file: _TrioFile, header: Header, data: dict[str, Any], apply_b_dec_to_input: bool | None
) -> ReadPlan:
    """The state dict of one of miStudio's models beside a configuration, which says what the tensors do not."""
    where, state, k = f"{source.label}/{CONFIG_FILE}", _read_state(header, ""), file.k or file.top_k
    k = k or (file.activation_fn_kwargs.k if file.activation_fn_kwargs else None)
    kind = "standard" if file.architecture.startswith("standard") else file.architecture
    topk = kind == "topk" or file.activation_fn_str == "topk"
    # The first generation could keep a percentage of latents.
    relative = state.kind not in ("topk", "jumprelu") and state.centred is not True
    share = _share(file.top_k_sparsity, file.d_sae) if relative else None
    for wrong, key, what, hint in (
        (kind not in {"standard": ("standard", "skip", "topk")}.get(state.kind, (state.kind,)), "architecture",
         f"The architecture is {file.architecture[:40]!r}, but the tensors are those of a {state.kind} SAE.", None),
        (topk and not (k or share), "k", "The value is missing, and it decides how many latents are active.",
         f"Add the number; {TRAINING_FILE} may name it."),
        (k is not None and not topk, "k", f"A {kind} SAE has no k.", "Remove it."),
        (file.normalize_activations == "layer_norm", "normalize_activations", "miStudio has no layer norm.", None),
        (file.skip_scale not in (None, 1.0), "skip_scale", "miStudio adds the whole input.", None),
    ):
        if wrong:
            raise FormatError(what, where=f"{where}: {key}", hint=hint)
    said = file.apply_b_dec_to_input if state.centred is None else state.centred
    if (centred := answered(said, apply_b_dec_to_input, where)) is None:
        raise _missing(header, ANSWER, f"{_OPEN}.")
    normalized = file.architecture == "standard_anthropic" or file.normalize_activations not in (None, "none")
    of = "standard" if kind == "topk" != state.kind else kind
    ours = _ours(of, centred, normalized, k or share, where)
    notes = {
        "No normalisation is written down; miStudio's default, which it leaves out, would be one.":
            file.normalize_activations is None and not normalized and kind != "transcoder",
        f"The configuration says that b_dec is {'not ' if said else ''}subtracted from the input; the tensors are "
        "those of a model that does the other.": file.apply_b_dec_to_input not in (None, said),
    }

    def fold(tensors: dict[str, Tensor]) -> None:
        state.finish(tensors)
        if ours["architecture"].endswith("skip_transcoder"):
            _add_input(tensors, centred)

    ours["settings"] |= {"reshape_activations": file.reshape_activations}
    return ReadPlan(
        header=header, names=state.names, transposed=MATRICES, d_in=file.d_in, d_sae=file.d_sae,
        d_out=file.d_out or state.widths[2], shapes={"+b_dec": (state.widths[2],), "-b_dec": (file.d_in,)},
        said_by=CONFIG_FILE, weights=WEIGHTS_FILE, files=tuple(name for name in FILES if name in source.files()),
        **ours, model=file.model_name, hook_name=file.hook_name or file.hook_point, config=data, metadata=file.metadata,
        notes=[note for note, applies in notes.items() if applies], fold=fold,
    )


def _look_at_trio(source: Source, apply_b_dec_to_input: bool | None) -> ReadPlan:
    file, data, where = config_of(source, CONFIG_FILE, _TrioFile)
    header = read_header(source, WEIGHTS_FILE)
    # W_enc alone is in both namings; thresholds as logarithms are miStudio's.
    if {"encoder.weight", "activation.log_threshold"} & set(header.tensors):
        return _look_at_state_dict(source, file, header, data, apply_b_dec_to_input)
    known = [name for name in inference_architectures() if name not in _UNWRITTEN]
    if file.architecture not in known:
        raise FormatError(
            f"The architecture is {file.architecture[:40]!r}, expected one of {', '.join(known)}.",
            where=f"{where}: architecture",
        )
    centred = answered(file.apply_b_dec_to_input, apply_b_dec_to_input, where)
    if centred is None:
        raise FormatError(
            "The value is missing, and SAEs of miStudio differ in it.", where=f"{where}: {ANSWER}",
            hint=f"Add true or false, or pass {ANSWER}=True or False where you load it.",
        )
    if file.k is None and "k" in lookup_inference(file.architecture)[1].model_fields:
        raise FormatError(
            "The value is missing, and it decides how many latents are active.",
            where=f"{where}: k", hint=f"Add the number; {TRAINING_FILE} may name it.",
        )
    settings = {
        "apply_b_dec_to_input": centred, "reshape_activations": file.reshape_activations,
        "normalize_activations": (file.normalize_activations or "none").replace("anthropic", "constant_norm"),
        **{key: value for key in _KEPT if (value := getattr(file, key)) is not None},
    }
    return ReadPlan(
        # Which tensors there must be, the architecture says.
        header=header, names={name: name for name in header.tensors if name in _TENSORS} | {"W_dec": "W_dec"},
        d_in=file.d_in, d_sae=file.d_sae, d_out=file.d_out or file.d_in, said_by=CONFIG_FILE, weights=WEIGHTS_FILE,
        files=tuple(name for name in FILES if name in source.files()), architecture=file.architecture,
        model=file.model_name, hook_name=file.hook_name, settings=settings, config=data, metadata=file.metadata,
    )


def _save(saved: SAEExport) -> dict[str, Part]:
    """The trio: SAELens' names and orientation, and a configuration that says all that decides the maths."""
    frozen, cfg = saved.frozen, saved.frozen.cfg
    saved.refuse((cfg.architecture in _UNWRITTEN, f"{cfg.architecture} SAEs are not supported there"))
    metadata = plain(frozen.metadata)
    config = {
        "format": "mistudio", "architecture": cfg.architecture, "d_in": frozen.d_in, "d_sae": frozen.d_sae,
        "d_out": frozen.d_out, "dtype": str(frozen.W_dec.dtype).removeprefix("torch."),
        "apply_b_dec_to_input": cfg.apply_b_dec_to_input, "normalize_activations": cfg.normalize_activations,
        "reshape_activations": cfg.reshape_activations, "model_name": metadata.get("model_name"),
        "hook_name": metadata.get("hook_name"), "metadata": metadata,
    }
    config |= {key: getattr(cfg, key) for key in _KEPT if hasattr(cfg, key)}
    training = {"training_architecture": saved.sae.cfg.architecture, "hyperparameters": saved.sae.cfg.to_data()}
    return {
        WEIGHTS_FILE: saved.tensors(), CONFIG_FILE: encoded(config, indent=2),
        TRAINING_FILE: encoded(training, indent=2),
    }


def _matches(source: Source) -> bool:
    """A checkpoint with ``model.…`` tensors; or the trio, whose files language models share, with an SAE's keys."""

    def of_model() -> bool:
        return any(name.startswith(_PREFIX) for name in read_header(source, _CHECKPOINT).tensors)

    if _CHECKPOINT in source.files():
        return told(of_model, otherwise=True)
    keys = {"d_in", "d_sae", "architecture"}
    return has(CONFIG_FILE, WEIGHTS_FILE)(source) and told(lambda: keys <= set(read_json(source, CONFIG_FILE)))


def _look(source: Source, apply_b_dec_to_input: bool | None = None) -> ReadPlan:
    look = _look_at_checkpoint if _CHECKPOINT in source.files() else _look_at_trio
    return look(source, apply_b_dec_to_input)


FORMAT = Format("mistudio", _matches, _look, save=_save, config_file=CONFIG_FILE, leaves_open=True)
