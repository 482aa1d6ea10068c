"""Defines SAELens' formats: version 6 (``cfg.json`` and ``sae_weights.safetensors``), and before it, the same files
with a flat ``cfg.json`` of other names and defaults.

Outputs of a training and checkpoints from within one are both read as what they are for inference; what is written
the `sae-lens` package opens as it is. Older files are read as sae-lens 6 reads them, except where that loses something
silently: an activation function that is not ReLU, a top-k without k and a fine-tuned factor per latent are folded in or
refused by name.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from saewidgets.config.hook_names import head_of, with_head, without_head
from saewidgets.config.names import text_or_none
from saewidgets.config.sae import SAEConfig, SkipConfig
from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats import unused
from saewidgets.formats.format import FileSettings, Format, ReadPlan, SAEExport, Width, has, told
from saewidgets.formats.source import FolderSource, Source, checked, encoded, plain, read_json
from saewidgets.formats.tensors import FLOATS, Header, check_finite, read_header, read_tensors
from saewidgets.sae import SAE, inference_sae
from saewidgets.sae.architectures import architectures, lookup_inference
from saewidgets.sae.scaler import Whitening, fold_decoder_norm, fold_scales, fold_whitening, shift_input

NAME = "saelens"
CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
SPARSITY_FILE = "sparsity.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
SHIPPED = (
    "standard", "gated", "topk", "abstopk", "jumprelu", "transcoder", "skip_transcoder", "jumprelu_transcoder",
    "jumprelu_skip_transcoder", "matching_pursuit", "temporal",
)
_SCALER_FILE = "activation_scaler.json"
_WHITENING_FILE = "activation_whitening.safetensors"
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
_HEAD_OF = {"hook_name": "hook_head_index", "hook_name_out": "hook_head_index_out"}
"""Where SAELens has a hook name, and where the one head it may mean: our hook names have both."""
_TRAINING_ONLY = {"batchtopk": "jumprelu", "matryoshka_batchtopk": "jumprelu"}  # → what it is for inference
_RESCALED = frozenset({"topk", "abstopk", *_TRAINING_ONLY})
_SCALES = ("scaling_factor", "finetuning_scaling_factor")
_UNFOLDED = (
    'normalize_activations is "expected_average_only_in": the average scale of the activations must already be in the '
    "weights, as SAELens assumes. If reconstructions are off by a constant factor, it is not."
)
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

# --- cfg.json --------------------------------------------------------------------------------------------------------


class _Arguments(FileSettings):
    k: int | None = Field(default=None, ge=1)


class _SAELensFile(FileSettings):
    """What decides the maths of every architecture, in the form of version 6."""

    ignored = unused.SAELENS
    architecture: str
    d_in: int = Field(ge=1, le=2**20)
    d_sae: Width
    dtype: str = "float32"
    apply_b_dec_to_input: bool = True
    normalize_activations: Literal[
        "none", "expected_average_only_in", "constant_norm_rescale", "layer_norm", "covariance_whitening",
        "constant_scalar_rescale",
    ] = "none"
    reshape_activations: Literal["none", "hook_z"] = "none"
    rescale_acts_by_decoder_norm: bool | None = None
    activation_fn_str: Literal["relu"] | None = None  # before version 6, where `_modernised` reads it
    activation_fn_kwargs: _Arguments | None = None  # before version 6
    metadata: dict[str, Any] = Field(default_factory=dict)

    @property
    def rescaled(self) -> bool:
        """Whether latents compete by their norm in the decoder; the default is SAELens'."""
        given = self.rescale_acts_by_decoder_norm
        return self.architecture in _RESCALED and (self.architecture in _TRAINING_ONLY if given is None else given)


def _matches(source: Source, *, modern: bool) -> bool:
    """Whether SAELens 6 reads it as its own format, or as one of the versions before."""

    def test() -> bool:
        data = read_json(source, CONFIG_FILE)
        metadata = data.get("metadata")
        inner = metadata.get("sae_lens_version") if isinstance(metadata, dict) else None
        major = re.match(r"\d+", str(data.get("sae_lens_version") or inner))
        return (major is not None and int(major[0][:6]) >= 6) is modern

    return has(*FILES)(source) and told(test, otherwise=modern)


def _settings(file: _SAELensFile, where: str) -> dict[str, Any]:
    """The settings of the architecture's configuration that the file decides, with d_sae and, if it is given, d_out."""
    if file.architecture not in (known := [*SHIPPED, *_TRAINING_ONLY]):
        raise FormatError(
            f"The architecture {file.architecture[:40]!r} cannot be loaded.", where=f"{where}: architecture",
            hint=f"Supported: {', '.join(known)}.",
        )
    if file.dtype.removeprefix("torch.") not in _DTYPES:
        raise FormatError(
            f"The dtype is {file.dtype[:40]!r}, expected one of {', '.join(_DTYPES)}.", where=f"{where}: dtype"
        )
    folded = file.normalize_activations in ("expected_average_only_in", "covariance_whitening")
    given = file.model_extra or {}
    own = ("d_out",) if "transcoder" in file.architecture else _OWN.get(file.architecture, ())
    if "k" in own and given.get("k") is None:
        raise FormatError("The value is missing.", where=f"{where}: k", hint=f"A {file.architecture} SAE needs k.")
    return {
        "d_sae": file.d_sae, "apply_b_dec_to_input": file.apply_b_dec_to_input,
        "normalize_activations": "none" if folded else file.normalize_activations,
        "reshape_activations": file.reshape_activations, **{key: given[key] for key in own if key in given},
    }


def _training_settings(config: SAEConfig, metadata: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that only training used, where the file has them under our names; none that decides the maths."""
    details = metadata.get("training_architecture_details")
    trained_as = metadata.get("training_architecture")
    if trained_as == config.architecture and trained_as in architectures() and isinstance(details, dict):
        known = set(type(config).model_fields) - {"architecture", *settings}
        try:
            config = type(config).from_data(config.to_data() | {k: v for k, v in details.items() if k in known})
        except ConfigError:  # another writer's values under the same names: the defaults do
            pass
    return config.model_dump(exclude={"architecture", *settings})


# Before version 6: other names and defaults.

_RENAMED = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn"}
_KEPT = frozenset({  # what SAELens carries over into metadata, and the layer, which it drops
    "model_name", "hook_name", "model_class_name", "hook_head_index", "model_from_pretrained_kwargs", "prepend_bos",
    "exclude_special_tokens", "neuronpedia_id", "context_size", "seqpos_slice", "dataset_path", "sae_lens_version",
    "sae_lens_training_version", "hook_name_out", "hook_head_index_out", "hf_hook_name", "hf_hook_name_out",
})


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
        arguments = new.get("activation_fn_kwargs")
        if not isinstance(arguments, dict) or arguments.get("k") is None:
            raise FormatError(
                "The activation function is topk, but k is missing.", where=f"{where}: activation_fn_kwargs.k",
                hint="sae-lens would load a plain ReLU here. Add {\"k\": …} to activation_fn_kwargs.",
            )
        new |= {"architecture": "topk", "k": arguments["k"]}
    elif activation != "relu" and new["architecture"] == "standard":
        raise FormatError(
            f"The activation function is {str(activation)[:40]!r}; version 6 of SAELens silently takes ReLU instead.",
            where=f"{where}: activation_fn_str", hint="Open it in the version of sae-lens that wrote it.",
        )
    new.pop("activation_fn", None)
    return new


# --- What training did to activations, moved into the weights --------------------------------------------------------
#
# SAELens' checkpoints are saved before this is done: ``activation_scaler.json`` holds a factor s (the SAE was trained
# on s·x), or ``activation_whitening.safetensors`` an affine map (it was trained on z = (x - mean)·matrix, x =
# z·inverse + mean). Both are linear, so an SAE of raw x with the same latents exists; the formulas are SAELens' own.


class _ScalerFile(FileSettings):
    scaling_factor: float | None = Field(None, gt=0, lt=1e30)
    has_whitening: bool = True


class _Scaler(NamedTuple):
    """The scaling to be folded: a factor, or the whitening of a file with this header."""

    file: str
    factor: float | None
    header: Header | None = None


def _read_scaler(source: Source, file: _SAELensFile, architecture: str) -> _Scaler | None:
    """The scaling still to be folded. Raises `FormatError` if it is missing, contradicts cfg.json or cannot be."""
    present, normalize, d_in = source.files(), file.normalize_activations, file.d_in
    scale, whitened = _ScalerFile(scaling_factor=None), normalize == "covariance_whitening"
    if _SCALER_FILE in present:
        scale = checked(_ScalerFile, read_json(source, _SCALER_FILE), f"{source.label}/{_SCALER_FILE}")
    if not whitened and scale.scaling_factor is None:
        return None
    name, tied = _WHITENING_FILE if whitened else _SCALER_FILE, architecture == "matching_pursuit"
    missing = whitened and (_WHITENING_FILE not in present or not scale.has_whitening)
    raw = f"The SAE was trained on whitened activations; {_WHITENING_FILE}, which raw activations need, is missing."
    contradiction = f"There is a factor for the activations, but normalize_activations is {normalize!r}."
    for wrong, where, what, hint in (
        (missing, f"{CONFIG_FILE}: normalize_activations", raw, "Take the final output, or all files."),
        (not whitened and normalize != "expected_average_only_in", f"{name}: scaling_factor", contradiction,
         "These files belong to different checkpoints."),
        (architecture == "temporal" or "transcoder" in architecture, name,
         f"A scale of training cannot be folded into a {architecture} SAE.", "Open it in sae-lens."),
        (whitened and tied, name, "Whitening cannot be folded into an SAE whose encoder is its decoder.", None),
    ):
        if wrong:
            raise FormatError(what, where=f"{source.label}/{where}", hint=hint)
    if not whitened:
        return _Scaler(name, scale.scaling_factor)
    header = read_header(source, name)
    header.require({"mean": (d_in,), "matrix": (d_in, d_in), "inverse_matrix": (d_in, d_in)})
    return _Scaler(name, None, header)


# --- Reading ---------------------------------------------------------------------------------------------------------


def _look(source: Source, *, modern: bool) -> ReadPlan:
    data, where = read_json(source, CONFIG_FILE), f"{source.label}/{CONFIG_FILE}"
    new = data if modern else _modernised(data, where)
    file, notes = checked(_SAELensFile, new, where), list[str]()
    metadata = dict(file.metadata)
    if not modern:
        metadata |= {key: new[key] for key in sorted(_KEPT) if key in new}
    if not modern and "metadata" in data:
        notes.append(
            "cfg.json has the form of SAELens 6 but no version, so sae-lens reads it as an older one and forgets its "
            "metadata; it was kept here."
        )
    architecture = _TRAINING_ONLY.get(file.architecture, file.architecture)
    settings = _settings(file, where)
    for name, key in _HEAD_OF.items():
        place, head = metadata.get(name), metadata.get(key)
        if isinstance(place, str) and type(head) is int and (joined := with_head(place, head)) is not None:
            metadata[name] = joined
            if name == "hook_name":  # also where an older file says hook_z: nothing is laid side by side of one head
                settings["reshape_activations"] = "none"
        if str(metadata.get("saewidgets_version")).startswith("0.1.") and str(place).endswith(".ln2.hook_normalized"):
            metadata[name] = str(place).replace("ln2.hook_normalized", "mlp.hook_in")
            notes.append(f"It was trained with saewidgets 0.1, whose {place} is now called {metadata[name]}.")
    header = read_header(source, WEIGHTS_FILE)
    if "transcoder" in architecture:
        settings.setdefault("d_out", header.shape("W_dec", 2)[1])
    sae_class, config_class = lookup_inference(architecture)
    config = checked(config_class, settings, where)
    with torch.device("meta"):
        empty = sae_class(config, file.d_in, initialise=False)
    scaler = _read_scaler(source, file, architecture)
    if scaler is not None:
        notes.append(
            f"This is a checkpoint from within training: the {'scale' if scaler.factor else 'whitening'} of its "
            f"activations ({scaler.file}) was folded into the weights, so that it takes raw activations."
        )
        if scaler.factor and "residual_threshold" in settings:
            settings["residual_threshold"] /= scaler.factor
    elif file.normalize_activations == "expected_average_only_in":
        notes.append(_UNFOLDED)
    if file.architecture in _TRAINING_ONLY:
        notes.append(
            f"This is a training checkpoint of a {file.architecture} SAE; for inference it is a jumprelu with the "
            "threshold that training kept."
        )
    finetuned = not modern and new.get("finetuning_scaling_factor") is True
    shapes: dict[str, tuple[int, ...]] = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
    threshold = "threshold"
    if file.architecture in _TRAINING_ONLY:
        threshold = "topk_threshold"
    elif threshold not in header.tensors and "log_threshold" in header.tensors:  # checkpoints before 2026-07
        threshold = "log_threshold"
    names = [threshold if name == "threshold" else name for name in shapes]
    names += [name for name in _SCALES if name in header.tensors]
    return ReadPlan(
        files=tuple(
            name for name in (*FILES, SPARSITY_FILE, _SCALER_FILE, _WHITENING_FILE) if name in source.files()
        ),
        weights=WEIGHTS_FILE, header=header, names={name: name for name in names},
        shapes=shapes | {"topk_threshold": ()}, infinite=frozenset({"log_threshold"}),  # of a threshold of zero
        read_as=_DTYPES[file.dtype.removeprefix("torch.")], said_by=CONFIG_FILE,
        d_in=file.d_in, d_sae=file.d_sae, d_out=settings.get("d_out"), architecture=architecture,
        model=text_or_none(metadata.get("model_name")), hook_name=text_or_none(metadata.get("hook_name")),
        config=data, notes=notes,
        settings={key: value for key, value in settings.items() if key not in ("d_sae", "d_out")},
        training=_training_settings(config, metadata, settings), metadata=metadata, bare=True,
        fold=functools.partial(_fold, source, file, header.where, scaler, finetuned),
    )


def _fold(
    source: Source, file: _SAELensFile, where: str, scaler: _Scaler | None, finetuned: bool, tensors: dict[str, Tensor]
) -> list[str]:
    """Bring `tensors`, as they are stored, into the form of inference, in place."""
    notes, changed = list[str](), scaler is not None
    for name in _SCALES:  # SAELens 2 to 5 kept a factor per latent that was applied before decoding
        scale = tensors.pop(name, None)
        if scale is None or torch.allclose(scale, torch.ones_like(scale)):
            continue
        if not finetuned:
            raise FormatError(
                "It is not all ones, but finetuning_scaling_factor is not set.", where=f"{where}: {name}",
                hint="It is not known whether latents are to be multiplied by it; ask whoever trained the SAE.",
            )
        tensors["W_dec"].mul_(scale[:, None])
        notes.append(f"The fine-tuned factor per latent ({name}) was folded into the decoder.")
        changed = True
        break
    if "log_threshold" in tensors:
        tensors["threshold"] = tensors.pop("log_threshold").exp_()
        changed = True
    whitened = scaler is not None and scaler.header is not None
    if whitened and file.rescaled:  # whitening changes the norms, so they go first; as SAELens does
        fold_decoder_norm(tensors)
    if scaler is not None and scaler.header is not None and isinstance(source, FolderSource):
        maps = read_tensors(source.path(scaler.file), scaler.header, dtype=torch.float64)
        fold_whitening(tensors, Whitening.of_tensors(maps), centred=file.apply_b_dec_to_input)
    elif scaler is not None and scaler.factor is not None:
        if "W_enc" in tensors:
            fold_scales(tensors, scaler.factor, scaler.factor)
        else:  # a tied encoder stays; its latents shrink with the input
            tensors["b_dec"].div_(scaler.factor)
        if file.rescaled and "topk_threshold" in tensors:
            tensors["topk_threshold"] /= scaler.factor  # it is in units of p · ‖W_dec‖, and W_dec was divided by it
    if file.rescaled and not whitened:
        changed |= fold_decoder_norm(tensors)
    if "topk_threshold" in tensors:
        tensors["threshold"] = tensors.pop("topk_threshold").to(tensors["b_enc"]).repeat(file.d_sae)
    if changed:
        check_finite(where, tensors)
    return notes


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


# --- Writing ---------------------------------------------------------------------------------------------------------

_WRITTEN_VERSION = "6.54.12"  # the SAELens release whose format is written; from 6 on its modern loader is taken
_DTYPE_NAMES = {value: key for key, value in _DTYPES.items()}
_WRITTEN = ("d_sae", "apply_b_dec_to_input", "normalize_activations", "reshape_activations")


def _save(saved: SAEExport) -> dict[str, Any]:
    """The inference form of an SAE. Raises `FormatError` where SAELens has no such architecture, or refuses it."""
    if isinstance(saved.frozen.cfg, SkipConfig) and saved.frozen.cfg.normalize_activations == "none":
        saved = replace(saved, frozen=_as_skip_transcoder(saved.frozen))
    sae, name = saved.frozen, saved.frozen.cfg.architecture
    hook = sae.metadata.get("hook_name")
    apart = sae.cfg.reshape_activations == "hook_z" and hook is not None and not str(hook).endswith("_z")
    for wrong, where, what, hint in (
        (name not in SHIPPED, "architecture", f"SAELens has no architecture {name!r}.",
         f"It has {', '.join(SHIPPED)}. Keep the SAE in the format it came in."),
        (sae.W_dec.dtype not in _DTYPE_NAMES, "dtype", f"SAELens does not store {sae.W_dec.dtype}.",
         "Convert it to float32."),
        (apart, "reshape_activations",
         f"SAELens reshapes heads only at hooks whose name ends in _z, and this is {str(hook)[:80]!r}.",
         "Correct sae.metadata['hook_name']."),
    ):
        if wrong:
            raise FormatError(what, where=where, hint=hint)
    config = _config_data(sae, saved.sae.cfg if saved.trained else None)
    return {WEIGHTS_FILE: saved.tensors(), SPARSITY_FILE: None, CONFIG_FILE: encoded(config)}


def _as_skip_transcoder(sae: SAE) -> SAE:
    """SAELens has no skip autoencoders, but a skip transcoder from a place to itself computes the same: its linear path
    is a multiple of the identity, and the encoder's bias does what subtracting b_dec did. Weights in a format shorter
    than float32 are written in float32, since neither the sum nor the multiple is a number of theirs."""
    wide = torch.promote_types(sae.W_dec.dtype, torch.float32)
    tensors = {name: tensor.to(wide, copy=tensor.dim() == 1) for name, tensor in sae.inference_tensors().items()}
    if sae.cfg.apply_b_dec_to_input:
        shift_input(tensors, -tensors["b_dec"])
    assert isinstance(sae.cfg, SkipConfig)
    tensors["W_skip"] = sae.cfg.skip_scale * torch.eye(sae.d_in).to(tensors["W_dec"])
    found = inference_sae("skip_transcoder", sae.d_in, tensors)
    found.metadata = dict(sae.metadata)
    if sae.metadata.get("hook_name") is not None:
        found.metadata["hook_name_out"] = sae.metadata["hook_name"]
    return found


def _config_data(sae: SAE, trained_as: SAEConfig | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    known = dict(sae.metadata)
    for name, key in _HEAD_OF.items():  # SAELens has the one head that a hook name of ours may mean beside it
        place = known.get(name)
        if isinstance(place, str) and (head := head_of(place)) is not None:
            known |= {name: without_head(place), key: head}
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
            **{str(key): plain(value) for key, value in known.items()},
            "sae_lens_version": _WRITTEN_VERSION,
        },
    }
    own_names = ("d_out",) if "transcoder" in cfg["architecture"] else _OWN.get(cfg["architecture"], ())
    data |= {key: cfg[key] for key in own_names}
    return data | ({"rescale_acts_by_decoder_norm": False} if "k" in own_names else {})


FORMAT = Format(
    NAME, functools.partial(_matches, modern=True), functools.partial(_look, modern=True), save=_save,
    config_file=CONFIG_FILE,
)
LEGACY = Format(
    "saelens_legacy", functools.partial(_matches, modern=False),
    functools.partial(_look, modern=False), config_file=CONFIG_FILE,
)
