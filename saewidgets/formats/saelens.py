"""Defines SAELens' formats: version 6 (``cfg.json`` and ``sae_weights.safetensors``), and before it, the same files
with a flat ``cfg.json`` of other names and defaults.

Outputs of a training and checkpoints from within one are both read as what they are for inference; what is written
(saelens_write.py) the `sae-lens` package opens as it is. Older files are read as sae-lens 6 reads them, except where
that loses something silently: an activation function that is not ReLU, a top-k without k and a fine-tuned factor per
latent are folded in or refused by name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from saewidgets.config.hook_names import with_head
from saewidgets.config.sae import SAEConfig
from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats import saelens_write
from saewidgets.formats.adapter import add_notes
from saewidgets.formats.base import Description, Format
from saewidgets.formats.header import FLOATS, Header, read_header
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.saelens_write import (
    CONFIG_FILE,
    DTYPES,
    FILES,
    HEAD_OF,
    SHIPPED,
    SPARSITY_FILE,
    WEIGHTS_FILE,
)
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.tensors import check_finite, read_tensors
from saewidgets.sae import SAE
from saewidgets.sae.architectures import architectures, inference_architectures, lookup_inference
from saewidgets.sae.inference import inference_sae
from saewidgets.sae.scaler import Whitening, fold_whitening

NAME = "saelens"
SCALER_FILE = "activation_scaler.json"
WHITENING_FILE = "activation_whitening.safetensors"
TRAINING_ONLY = {"batchtopk": "jumprelu", "matryoshka_batchtopk": "jumprelu"}  # → what it is for inference
_RESCALED = frozenset({"topk", "abstopk", *TRAINING_ONLY})
_SCALES = ("scaling_factor", "finetuning_scaling_factor")
_UNFOLDED = (
    'normalize_activations is "expected_average_only_in": the average scale of the activations must already be in the '
    "weights, as SAELens assumes. If reconstructions are off by a constant factor, it is not."
)


@dataclass(slots=True)
class Reading:
    """What cfg.json says.

    Attributes:
        where: what errors call cfg.json.
        stored: the architecture as the file names it; `architecture` is what it is for inference.
        settings: of the architecture's configuration, with d_sae.
        normalize: as the file has it, with the two kinds that must be folded into the weights.
        rescale: latents compete by their norm in the decoder (SAELens' `rescale_acts_by_decoder_norm`).
        finetuned: a tensor `scaling_factor` multiplies latents before they are decoded.
        config: cfg.json as data.
    """

    where: str
    stored: str
    d_in: int
    dtype: torch.dtype
    settings: dict[str, Any]
    normalize: str
    rescale: bool
    config: Mapping[str, Any]
    metadata: dict[str, Any]
    finetuned: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def architecture(self) -> str:
        return TRAINING_ONLY.get(self.stored, self.stored)

    @property
    def d_sae(self) -> int:
        return int(self.settings["d_sae"])


# --- Version 6 -------------------------------------------------------------------------------------------------------

# Settings of one architecture or the other, passed on under their own names.
_OWN = {
    "topk": ("k",),
    "abstopk": ("k",),
    "matching_pursuit": ("residual_threshold", "max_iterations", "stop_on_duplicate_support"),
    "temporal": (
        "n_heads", "n_attn_layers", "bottleneck_factor", "sae_diff_type", "kval_topk", "tied_weights",
        "activation_normalization_factor",
    ),
}
_TRANSCODER = ("d_out",)


class Shared(BaseModel):
    """What decides the maths of every architecture. Unknown keys are ignored, as SAELens does."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    architecture: str
    d_in: int = Field(ge=1, le=2**20)
    d_sae: int = Field(ge=1, le=2**24)
    dtype: str = "float32"
    apply_b_dec_to_input: bool = True
    normalize_activations: Literal[
        "none", "expected_average_only_in", "constant_norm_rescale", "layer_norm", "covariance_whitening",
        "constant_scalar_rescale",
    ] = "none"
    reshape_activations: Literal["none", "hook_z"] = "none"
    rescale_acts_by_decoder_norm: bool | None = None


class _File(Shared):
    metadata: dict[str, Any] = Field(default_factory=dict)


def is_modern(data: Mapping[str, Any]) -> bool:
    """Whether SAELens 6 reads `data` as its own format, not as one of the versions before."""
    metadata = data.get("metadata")
    version = data.get("sae_lens_version") or (metadata.get("sae_lens_version") if isinstance(metadata, dict) else None)
    major = re.match(r"\d+", str(version)) if version is not None else None
    return major is not None and int(major[0][:6]) >= 6


def _matches(source: Source) -> bool:
    if not all(name in source.files() for name in FILES):
        return False
    try:
        return is_modern(read_json(source, CONFIG_FILE))
    except FormatError:  # no other format reads it either: reading it for good says what is wrong
        return True


def from_shared(file: Shared, data: Mapping[str, Any], where: str) -> Reading:
    """The reading of a checked configuration, for version 6 and what is brought into its form."""
    stored = file.architecture
    if stored not in known_architectures():
        raise architecture_error(where, stored)
    dtype = DTYPES.get(file.dtype.removeprefix("torch."))
    if dtype is None:
        raise FormatError(
            f"The dtype is {file.dtype[:40]!r}, expected one of {', '.join(DTYPES)}.", where=f"{where}: dtype"
        )
    normalize = file.normalize_activations
    folded = normalize in ("expected_average_only_in", "covariance_whitening")
    settings: dict[str, Any] = {
        "d_sae": file.d_sae, "apply_b_dec_to_input": file.apply_b_dec_to_input,
        "normalize_activations": "none" if folded else normalize, "reshape_activations": file.reshape_activations,
    }
    own = _TRANSCODER if "transcoder" in stored else _OWN.get(stored, ())
    given = file.model_extra or {}
    settings |= {key: given[key] for key in own if key in given}
    if stored in ("topk", "abstopk") and settings.get("k") is None:
        raise FormatError("The value is missing.", where=f"{where}: k", hint=f"A {stored} SAE needs k.")
    rescale = file.rescale_acts_by_decoder_norm
    metadata = given.get("metadata") if not isinstance(file, _File) else file.metadata
    return Reading(
        where=where, stored=stored, d_in=file.d_in, dtype=dtype, settings=settings, normalize=normalize,
        rescale=stored in TRAINING_ONLY if rescale is None else rescale,  # SAELens' defaults
        config=data, metadata=dict(metadata) if isinstance(metadata, dict) else {},
    )


def _modern(source: Source) -> Reading:
    """What a cfg.json of version 6 says."""
    data = read_json(source, CONFIG_FILE)
    where = f"{source.label}/{CONFIG_FILE}"
    return with_heads(from_shared(checked(_File, data, where), data, where))


def read_config(folder: Path) -> tuple[dict[str, Any], SAEConfig]:
    """cfg.json as data, and the configuration it stands for; weights are not touched."""
    found = _modern(FolderSource(folder))
    return dict(found.config), to_config(found)


# --- Before version 6 ------------------------------------------------------------------------------------------------

_RENAMED = {
    "hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn",
}
_KEPT = frozenset({  # what SAELens carries over into metadata, and the layer, which it drops
    "model_name", "hook_name", "model_class_name", "hook_head_index", "model_from_pretrained_kwargs", "prepend_bos",
    "exclude_special_tokens", "neuronpedia_id", "context_size", "seqpos_slice", "dataset_path", "sae_lens_version",
    "sae_lens_training_version", "hook_name_out", "hook_head_index_out", "hf_hook_name", "hf_hook_name_out",
})


class _Arguments(BaseModel):
    k: int | None = Field(default=None, ge=1)


class _Activation(BaseModel):
    activation_fn_kwargs: _Arguments | None = None


def _matches_legacy(source: Source) -> bool:
    if not all(name in source.files() for name in FILES):
        return False
    try:
        return not is_modern(read_json(source, CONFIG_FILE))
    except FormatError:  # version 6 claims it and says what is wrong
        return False


def _legacy(source: Source) -> Reading:
    """What a cfg.json of before version 6 says."""
    where = f"{source.label}/{CONFIG_FILE}"
    data = read_json(source, CONFIG_FILE)
    new = _modernised(data, where)
    file = checked(Shared, new, where)
    found = from_shared(file, data, where)
    nested = data.get("metadata", {})
    if not isinstance(nested, dict):
        raise FormatError("This is not a JSON object.", where=f"{where}: metadata", hint="Export the SAE again.")
    found.metadata = {
        **nested, **{key: new[key] for key in sorted(_KEPT) if key in new},
    }
    found.finetuned = new.get("finetuning_scaling_factor") is True
    if "metadata" in data:
        found.notes.append(
            "cfg.json has the form of SAELens 6 but no version, so sae-lens reads it as an older one and forgets its "
            "metadata; it was kept here."
        )
    return with_heads(found)


def _modernised(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The flat configuration under the names and with the defaults of version 6."""
    new = {_RENAMED.get(key, key): value for key, value in data.items()}
    new.setdefault("prepend_bos", True)
    new.setdefault("architecture", "standard")
    hook = new.get("hook_name")
    new.setdefault("reshape_activations", "hook_z" if isinstance(hook, str) and "hook_z" in hook else "none")
    normalize = new.get("normalize_activations")
    if normalize is None or isinstance(normalize, bool):
        new["normalize_activations"] = "expected_average_only_in" if normalize else "none"
    activation = new.get("activation_fn") or "relu"
    if activation == "topk":
        arguments = checked(_Activation, new, where).activation_fn_kwargs
        if arguments is None or arguments.k is None:
            raise FormatError(
                "The activation function is topk, but k is missing.", where=f"{where}: activation_fn_kwargs.k",
                hint="sae-lens would load a plain ReLU here. Add {\"k\": …} to activation_fn_kwargs.",
            )
        new |= {"architecture": "topk", "k": arguments.k}
    elif activation != "relu" and new["architecture"] == "standard":
        raise FormatError(
            f"The activation function is {str(activation)[:40]!r}; version 6 of SAELens silently takes ReLU instead.",
            where=f"{where}: activation_fn_str", hint="Open it in the version of sae-lens that wrote it.",
        )
    return new


# --- Both ------------------------------------------------------------------------------------------------------------

def with_heads(reading: Reading) -> Reading:
    """`reading` with the one head that SAELens keeps beside the hook name as a part of that name."""
    for name, key in HEAD_OF.items():
        place, head = reading.metadata.get(name), reading.metadata.get(key)
        if isinstance(place, str) and type(head) is int and (found := with_head(place, head)) is not None:
            reading.metadata[name] = found
            if name == "hook_name":  # also where an older file says hook_z: nothing is laid side by side of one head
                reading.settings["reshape_activations"] = "none"
    return reading


def architecture_error(where: str, name: str) -> FormatError:
    """The error for an architecture that SAELens does not have or that cannot be loaded here."""
    return FormatError(
        f"The architecture {name[:40]!r} cannot be loaded.", where=f"{where}: architecture",
        hint=f"Supported: {', '.join(known_architectures())}.",
    )


def known_architectures() -> list[str]:
    """SAELens' names, of inference and of training, that can be loaded here."""
    here = set(inference_architectures())
    return [*(name for name in SHIPPED if name in here), *TRAINING_ONLY]


def to_config(reading: Reading) -> SAEConfig:
    """The configuration of the SAE. Raises `FormatError` naming a setting that cannot work."""
    config = checked(lookup_inference(reading.architecture)[1], reading.settings, reading.where)
    return _with_training_settings(config, reading)


def _with_training_settings(config: SAEConfig, reading: Reading) -> SAEConfig:
    """Settings that only training used, where the file has them under our names; none that decides the maths."""
    details = reading.metadata.get("training_architecture_details")
    trained_as = reading.metadata.get("training_architecture")
    if trained_as != config.architecture or trained_as not in architectures() or not isinstance(details, dict):
        return config
    known = set(type(config).model_fields) - {"architecture", *reading.settings}
    try:
        return type(config).from_data(config.to_data() | {k: v for k, v in details.items() if k in known})
    except ConfigError:  # another writer's values under the same names: the defaults do
        return config


# What training did to activations before the SAE saw them, moved into the SAE's weights.
#
# SAELens' checkpoints are saved before this is done: ``activation_scaler.json`` holds a factor s (the SAE was trained
# on s·x), or ``activation_whitening.safetensors`` an affine map (it was trained on z = (x - mean)·matrix, x =
# z·inverse + mean). Both are linear, so an SAE of raw x with the same latents exists; the formulas are SAELens' own.
class _ScalerFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    scaling_factor: float | None = Field(None, gt=0, lt=1e30)
    has_whitening: bool = True


@dataclass(frozen=True, slots=True)
class Scaler:
    """What is to be folded: a factor, or a whitening in `file` (its matrices are read when they are needed)."""

    file: str
    factor: float | None = None
    source: Source | None = None
    header: Header | None = None

    @property
    def whitening(self) -> bool:
        return self.header is not None


def read_scaler(source: Source, normalize: str, d_in: int) -> Scaler | None:
    """What is still to be folded into the weights, if anything.

    Args:
        source: the folder.
        normalize: cfg.json's `normalize_activations`.
        d_in: width of the activations.

    Raises:
        FormatError: a whitening is needed and missing, or the files contradict the configuration.
    """
    present = source.files()
    where = f"{source.label}/{SCALER_FILE}"
    file = _ScalerFile(scaling_factor=None, has_whitening=True)
    if SCALER_FILE in present:
        file = checked(_ScalerFile, read_json(source, SCALER_FILE), where)
    if normalize == "covariance_whitening":
        if WHITENING_FILE not in present or not file.has_whitening:
            raise FormatError(
                f"The SAE was trained on whitened activations; {WHITENING_FILE}, without which it cannot be used on "
                "raw ones, is missing.",
                where=f"{source.label}/cfg.json: normalize_activations",
                hint="Take the final output of the training or a checkpoint with all its files.",
            )
        header = read_header(source, WHITENING_FILE)
        header.require({"mean": (d_in,), "matrix": (d_in, d_in), "inverse_matrix": (d_in, d_in)})
        return Scaler(WHITENING_FILE, source=source, header=header)
    if file.scaling_factor is None:
        return None
    if normalize != "expected_average_only_in":
        raise FormatError(
            f"There is a factor {file.scaling_factor:g} for the activations, but normalize_activations is "
            f"{normalize!r}.",
            where=f"{where}: scaling_factor", hint="These files belong to different checkpoints.",
        )
    return Scaler(SCALER_FILE, factor=file.scaling_factor)


def fold(tensors: dict[str, Tensor], scaler: Scaler, *, centred: bool) -> None:
    """Let the SAE of `tensors` take raw activations, in place; `centred` is its `apply_b_dec_to_input`."""
    if scaler.factor is not None:
        if "W_enc" in tensors:
            tensors["W_enc"].mul_(scaler.factor)
            tensors["W_dec"].div_(scaler.factor)
        tensors["b_dec"].div_(scaler.factor)  # a tied encoder stays; its latents shrink with the input
        return
    assert isinstance(scaler.source, FolderSource)
    assert scaler.header is not None
    maps = read_tensors(scaler.source.path(WHITENING_FILE), scaler.header, dtype=torch.float64)
    fold_whitening(tensors, Whitening.of_tensors(maps), centred=centred)


def fold_decoder_norm(tensors: dict[str, Tensor]) -> bool:
    """Turn ``top_k(p · ‖W_dec‖)`` decoded with ``f / ‖W_dec‖`` into the same function without the norms, in place.

    False if all norms were one already.
    """
    norms = tensors["W_dec"].norm(dim=1).clamp_min(1e-8)
    if torch.allclose(norms, torch.ones_like(norms), atol=1e-6):
        return False
    tensors["W_enc"].mul_(norms)
    tensors["b_enc"].mul_(norms)
    tensors["W_dec"].div_(norms[:, None])
    return True


@dataclass(frozen=True, slots=True)
class Files:
    """The files of an SAE, checked against its configuration before anything is allocated."""

    header: Header
    config: SAEConfig
    wanted: tuple[str, ...]
    scaler: Scaler | None


def check_files(source: Source, reading: Reading) -> Files:
    """Everything that can be known to be wrong without reading a weight; corrections go into ``reading.notes``."""
    header = read_header(source, WEIGHTS_FILE)
    if "transcoder" in reading.architecture and "d_out" not in reading.settings:
        reading.settings["d_out"] = header.shape("W_dec", 2)[1]
    config = to_config(reading)
    with torch.device("meta"):
        empty = lookup_inference(reading.architecture)[0](config, reading.d_in, initialise=False)
    expected = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
    wanted = tuple(_stored_names(reading, header, expected))
    shapes: dict[str, tuple[int, ...]] = {**expected, "topk_threshold": (), "log_threshold": (reading.d_sae,)}
    shapes |= dict.fromkeys(_SCALES, (reading.d_sae,))
    header.require({name: shapes[name] for name in wanted})
    scaler = read_scaler(source, reading.normalize, reading.d_in)
    if scaler is None and reading.normalize == "expected_average_only_in":
        reading.notes.append(_UNFOLDED)
    elif scaler is not None:
        if reading.architecture == "temporal" or "transcoder" in reading.architecture:
            raise FormatError(
                f"A scale of training cannot be folded into a {reading.architecture} SAE.",
                where=f"{source.label}/{scaler.file}", hint="Open it in sae-lens.",
            )
        if scaler.whitening and reading.architecture == "matching_pursuit":
            raise FormatError(
                "Whitening cannot be folded into a matching_pursuit SAE, whose encoder is its decoder.",
                where=f"{source.label}/{scaler.file}",
            )
        reading.notes.append(
            f"This is a checkpoint from within training: the {'whitening' if scaler.whitening else 'scale'} of its "
            f"activations ({scaler.file}) was folded into the weights, so that it takes raw activations."
        )
    if reading.stored in TRAINING_ONLY:
        reading.notes.append(
            f"This is a training checkpoint of a {reading.stored} SAE; for inference it is a jumprelu with the "
            "threshold that training kept."
        )
    return Files(header, config, wanted, scaler)


def _stored_names(reading: Reading, header: Header, expected: Mapping[str, Any]) -> list[str]:
    """Which tensors the file must have."""
    names = list(expected)
    if reading.stored in TRAINING_ONLY:
        names = ["topk_threshold" if name == "threshold" else name for name in names]
    elif "log_threshold" in header.tensors and "threshold" not in header.tensors:  # training checkpoints before 2026-07
        names = ["log_threshold" if name == "threshold" else name for name in names]
    return names + [name for name in _SCALES if name in header.tensors]


def _describe(format: str, read: Callable[[Source], Reading], source: Source) -> Description:
    reading = read(source)
    known = check_files(source, reading)
    present = source.files()
    files = tuple(
        name for name in (*FILES, SPARSITY_FILE, SCALER_FILE, WHITENING_FILE)
        if name in present
    )
    settings = {key: value for key, value in reading.settings.items() if key not in ("d_sae", "d_out")}
    return Description(
        format=format,
        architecture=reading.architecture,
        d_in=reading.d_in,
        d_sae=reading.d_sae,
        d_out=reading.settings.get("d_out", reading.d_in),
        dtype=str(known.header.tensors["W_dec"].torch_dtype).removeprefix("torch."),
        files=files,
        size_bytes=sum(present[name] for name in files),
        model=_text(reading.metadata.get("model_name")),
        hook_name=_text(reading.metadata.get("hook_name")),
        settings=settings,
        config=reading.config,
        notes=tuple(reading.notes),
    )


def _load(
    read: Callable[[Source], Reading], folder: Path, *, device: torch.device, dtype: torch.dtype | None = None
) -> SAE:
    source = FolderSource(folder)
    reading = read(source)
    files = check_files(source, reading)
    wanted = dtype or reading.dtype
    path = source.path(WEIGHTS_FILE)
    infinite = frozenset({"log_threshold"})  # of a threshold of zero
    tensors = read_tensors(path, files.header, files.wanted, device=device, dtype=wanted, infinite=infinite)
    _to_inference_tensors(files.header.where, reading, tensors, files.scaler)
    settings = files.config.model_dump(exclude={"architecture"})
    if files.scaler is not None and files.scaler.factor and reading.architecture == "matching_pursuit":
        settings["residual_threshold"] /= files.scaler.factor
    try:
        sae = inference_sae(reading.architecture, reading.d_in, tensors, **settings)
    except ConfigError as error:
        raise FormatError(error.what, where=f"{reading.where}: {error.where}", hint=error.hint) from error
    sae.metadata = dict(reading.metadata)
    add_notes(sae, reading.notes)
    return sae


def _to_inference_tensors(where: str, reading: Reading, tensors: dict[str, Tensor], scaler: Scaler | None) -> None:
    """Bring `tensors`, as they are stored, into the form of inference, in place."""
    changed = _apply_finetuning(where, reading, tensors)
    if "log_threshold" in tensors:
        tensors["threshold"] = tensors.pop("log_threshold").exp_()
        changed = True
    rescaled = reading.rescale and reading.stored in _RESCALED
    if scaler is not None:
        if scaler.whitening and rescaled:  # whitening changes the norms, so they go first; as SAELens does
            fold_decoder_norm(tensors)
        fold(tensors, scaler, centred=reading.settings["apply_b_dec_to_input"])
        if scaler.factor and rescaled and "topk_threshold" in tensors:
            tensors["topk_threshold"] /= scaler.factor  # it is in units of p · ‖W_dec‖, and W_dec was divided by it
        changed = True
    if rescaled and not (scaler is not None and scaler.whitening):
        changed |= fold_decoder_norm(tensors)
    if "topk_threshold" in tensors:
        tensors["threshold"] = tensors.pop("topk_threshold").to(tensors["b_enc"]).repeat(reading.d_sae)
    if changed:
        check_finite(where, tensors)


def _apply_finetuning(where: str, reading: Reading, tensors: dict[str, Tensor]) -> bool:
    """SAELens 2 to 5 kept a factor per latent that was applied before decoding: it goes into the decoder."""
    for name in _SCALES:
        if name not in tensors:
            continue
        scale = tensors.pop(name)
        if torch.allclose(scale, torch.ones_like(scale)):
            continue
        if not reading.finetuned:
            raise FormatError(
                "It is not all ones, but finetuning_scaling_factor is not set.", where=f"{where}: {name}",
                hint="It is not known whether latents are to be multiplied by it; ask whoever trained the SAE.",
            )
        tensors["W_dec"].mul_(scale[:, None])
        reading.notes.append(f"The fine-tuned factor per latent ({name}) was folded into the decoder.")
        return True
    return False


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


# --- How often latents fire ------------------------------------------------------------------------------------------

NEVER = -10.0  # SAELens writes log10(probability + 1e-10)


def read_log_density(path: Path) -> Tensor | None:
    """log10 of each latent's firing probability [d_sae], float32, at least -10; None where the folder does not say.

    A value that is not a number (a checkpoint of a training that had just begun) counts as never.

    Raises:
        FormatError: the file is there and damaged.
    """
    source = FolderSource(path)
    if SPARSITY_FILE not in source.files():
        return None
    header = read_header(source, SPARSITY_FILE)
    info = header.tensors.get("sparsity")
    if info is None or len(info.shape) != 1 or info.dtype not in FLOATS:
        raise FormatError(
            "There is no list of numbers named 'sparsity'.", where=header.where, hint="Remove the file; it is optional."
        )
    values = read_tensors(source.path(SPARSITY_FILE), header, ["sparsity"], checked=False)["sparsity"].float()
    return values.nan_to_num(nan=NEVER, posinf=0.0, neginf=NEVER).clamp_(NEVER, 0.0)


def _format(
    name: str, title: str, matches: Callable[[Source], bool], read: Callable[[Source], Reading], **more: Any
) -> Format:
    describe, load = functools.partial(_describe, name, read), functools.partial(_load, read)
    return Format(name, title, matches, describe, load, config_file=CONFIG_FILE, **more)


FORMAT = _format(NAME, "SAELens", _matches, _modern, save=saelens_write.save)
LEGACY = _format("saelens_legacy", "SAELens before version 6", _matches_legacy, _legacy)
