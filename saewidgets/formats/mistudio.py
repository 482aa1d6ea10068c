"""Defines the format of miStudio's own files: a training's ``checkpoint.safetensors``, and three around
``model.safetensors``.

A checkpoint holds tensors called ``model.…`` and says step, class, layer and hook in its header.
Normalisation and k are only in miStudio's database: where they are needed, the defaults of its code are taken and said
so in a note, or the SAE is refused. A ``config.json`` beside the checkpoint may say them:

    {"normalize_activations": "none", "top_k": 64, "top_k_sparsity": 5.0, "apply_b_dec_to_input": true}

The trio ``config.json``, ``model.safetensors``, ``training_metadata.json`` is in miStudio's design papers but nothing
there reads or writes it, so its tensors' names are nowhere specified. Written here are SAELens' names and orientation,
with a configuration that says everything; read are these and the state dicts of miStudio's models.

In state dicts matrices lie the other way than here. What the tensors are called tells the class and nearly always the
generation:

| class | tensors | generation |
|---|---|---|
| Sparse- or SkipAutoencoder | encoder, decoder, decoder_bias | 1: decoder.bias and decoder_bias are both added |
| the same | the same without decoder.bias | 2: decoder_bias is subtracted from the input and added to the output |
| TopKSAE | encoder, decoder.weight, b_pre | 2, b_pre likewise |
| Transcoder | encoder, decoder with its bias | 1 |
| Transcoder | the same, b_enc_center | 2: that is subtracted from the input |
| JumpReLUSAE | W_enc, b_enc, W_dec, b_dec, activation.log_threshold | 1 (nothing subtracted) or 2 (b_dec is) |

Generation 1 is the one of early 2026 (hitsainet/miStudio), 2 the one of August 2026 (Onegaishimas/miStudio).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.adapter import MATRICES, OTHERS, Look, Settings, Width, adapter, config_of, has
from saewidgets.formats.base import ANSWER, Part, Saved, answered
from saewidgets.formats.header import Header, read_header
from saewidgets.formats.jsonfile import encoded, plain, read_json
from saewidgets.formats.source import Source
from saewidgets.sae import inference_architectures
from saewidgets.sae.architectures import lookup_inference

SITES = {"residual": "hook_resid_post", "mlp": "hook_mlp_out", "attention": "hook_attn_out"}
Normalization = Literal["none", "constant_norm_rescale", "anthropic_rescale"]

# --- State dicts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _State:
    """How the tensors of one checkpoint become ours.

    Attributes:
        kind: ``"standard"``, ``"topk"``, ``"transcoder"`` or ``"jumprelu"``.
        names: our name → the file's; names of ours beginning with ``+`` and ``-`` are added to the output, and
            subtracted from the input, besides. Without W_dec the decoder is the encoder's transpose.
        widths: d_in, d_sae, d_out.
        centred: whether b_dec is subtracted from the input; None where the tensors do not tell.
    """

    kind: str
    names: Mapping[str, str]
    widths: tuple[int, int, int]
    centred: bool | None = None

    def look(self, header: Header, **more: Any) -> dict[str, Any]:
        """The arguments of `Look` that say how these tensors are read."""
        d_in, d_sae, d_out = self.widths
        shapes = {"+b_dec": (d_out,), "-b_dec": (d_in,), "log_threshold": (d_sae,)}
        return {"header": header, "names": self.names, "transposed": MATRICES, "widths": self.widths, "shapes": shapes,
                "said_by": OTHERS, **more}  # fmt: skip

    def finish(self, tensors: dict[str, Tensor]) -> None:
        """Turn what was read by `names` into our tensors, in place."""
        if "W_dec" not in tensors:
            tensors["W_dec"] = tensors["W_enc"].T.contiguous()
        if "+b_dec" in tensors:
            tensors["b_dec"] = tensors["b_dec"] + tensors.pop("+b_dec")
        if "-b_dec" in tensors:
            centre_encoder(tensors, tensors.pop("-b_dec"))
        if "log_threshold" in tensors:
            tensors["threshold"] = tensors.pop("log_threshold").float().exp()


def _read_state(header: Header, prefix: str = "") -> _State:
    """What the tensors called `prefix`… are. Raises `FormatError` where they are of no class that is known."""
    names = {name.removeprefix(prefix) for name in header.tensors if name.startswith(prefix)}
    centred: bool | None = None
    if "W_enc" in names:
        kind, decoder = "jumprelu", "W_dec"
        found = {"W_enc": "W_enc", "b_enc": "b_enc", "b_dec": "b_dec", "log_threshold": "activation.log_threshold"}
    else:
        kind, decoder = "standard", "decoder.weight"
        found = {"W_enc": "encoder.weight", "b_enc": "encoder.bias"}
        if "b_pre" in names:
            kind, centred, found["b_dec"] = "topk", True, "b_pre"
        elif "decoder_bias" not in names:
            kind, centred, found["b_dec"] = "transcoder", False, "decoder.bias"
            found |= {"-b_dec": "b_enc_center"} if "b_enc_center" in names else {}
        else:
            found["b_dec"] = "decoder_bias"
            centred = None if decoder not in names else "decoder.bias" not in names
            found |= {"+b_dec": "decoder.bias"} if "decoder.bias" in names else {}
    found |= {"W_dec": decoder} if decoder in names else {}
    if extra := sorted(names - set(found.values())):
        raise FormatError(
            f"There are unexpected tensors: {', '.join(extra)[:300]}.", where=header.where,
            hint="What they would do is not known here, so the SAE is not loaded without them.",
        )
    found = {ours: prefix + theirs for ours, theirs in found.items()}
    d_sae, d_in = header.shape(found["W_enc"], 2)
    linear = kind != "jumprelu" and "W_dec" in found
    return _State(kind, found, (d_in, d_sae, header.shape(found["W_dec"], 2)[0] if linear else d_in), centred)


def centre_encoder(tensors: dict[str, Tensor], centre: Tensor) -> None:
    """Let the encoder subtract `centre` [d_in] from its input by its bias: ``b_enc − centre @ W_enc``."""
    wide = torch.promote_types(tensors["b_enc"].dtype, torch.float32)
    moved = tensors["b_enc"].to(wide) - centre.to(wide) @ tensors["W_enc"].to(wide)
    tensors["b_enc"] = moved.to(tensors["b_enc"].dtype)


def add_identity(tensors: dict[str, Tensor]) -> None:
    """A linear path that adds the input to the output, as miStudio's skip autoencoders do."""
    b_dec = tensors["b_dec"]
    tensors["W_skip"] = torch.eye(b_dec.numel(), dtype=b_dec.dtype, device=b_dec.device)


def refuse_normalized_skip(top_k: bool, where: str) -> None:
    """Raise `FormatError` for top-k skip autoencoders with normalisation, for which no architecture is known here."""
    if top_k:
        raise FormatError(
            "A top-k skip autoencoder with normalised activations cannot be expressed.", where=where,
            hint="Its best solution is a copy of its input without any latent active; train another architecture.",
        )


# --- Checkpoints -----------------------------------------------------------------------------------------------------

_CHECKPOINT = "checkpoint.safetensors"
_PREFIX = "model."
_BESIDE = ("config.json", "metadata.json")
_CLASSES = {
    "SparseAutoencoder": "standard", "SkipAutoencoder": "standard", "Transcoder": "transcoder", "TopKSAE": "topk",
    "JumpReLUSAE": "jumprelu",
}


class _Beside(Settings):
    """What a file beside the checkpoint may say."""

    normalize_activations: Normalization | None = None
    top_k: int | None = Field(default=None, ge=1)
    top_k_sparsity: float | None = Field(default=None, gt=0, le=100)
    apply_b_dec_to_input: bool | None = None
    model_name: str | None = None


def _look_at_checkpoint(source: Source, apply_b_dec_to_input: bool | None) -> Look:
    header = read_header(source, _CHECKPOINT)
    state = _read_state(header, _PREFIX)
    beside, names = _Beside(), tuple(name for name in _BESIDE if name in source.files())[:1]
    for name in names:
        beside, _, _ = config_of(source, name, _Beside)
    said = beside.apply_b_dec_to_input if state.centred is None else state.centred
    centred = answered(said, apply_b_dec_to_input, source.label)
    kind = _kind(header, state)
    notes: list[str] = []
    settings = _checkpoint_settings(kind, state, beside, centred, notes)
    architecture = _architecture(kind, settings)

    def fold(tensors: dict[str, Tensor]) -> None:
        state.finish(tensors)
        if centred is None and not (tensors["b_dec"] == 0).all():
            raise _missing(
                header, ANSWER,
                "Whether b_dec is subtracted from the input is not said, and the two generations of miStudio differ in "
                "it.",
            )
        if architecture == "skip":
            refuse_normalized_skip("k" in settings, header.where)
        elif kind == "skip":
            if centred:  # a transcoder subtracts nothing, so the encoder's bias does
                centre_encoder(tensors, tensors["b_dec"])
            add_identity(tensors)

    step = header.metadata.get("step", "")
    refusal = _missing(header, "top_k", "How many latents are active is only in miStudio's database.")
    return Look(
        **state.look(header, extra=True), files=(_CHECKPOINT, *names), weights=_CHECKPOINT, architecture=architecture,
        model=beside.model_name, hook_name=_hook(header, source.label), settings=settings,
        config=dict(header.metadata), notes=notes, metadata={"mistudio_step": int(step)} if step.isdecimal() else {},
        fold=fold, refusal=refusal if kind == "topk" and "k" not in settings else None,
    )


def _kind(header: Header, state: _State) -> str:
    """What the tensors are, with skip told from standard by the class in the header."""
    name = header.metadata.get("architecture")
    if name is not None and _CLASSES.get(name) != state.kind:
        raise FormatError(
            f"The header says {name[:40]!r}, but the tensors are those of a {state.kind} SAE.", where=header.where,
            hint="The file was altered, or is of a miStudio that is not known here.",
        )
    if name is None and state.kind == "standard":
        raise FormatError(
            "The header does not say whether this is a SparseAutoencoder or a SkipAutoencoder.",
            where=f"{header.where}: architecture", hint="Save the checkpoint with miStudio itself.",
        )
    return "skip" if name == "SkipAutoencoder" else state.kind


def _checkpoint_settings(
    kind: str, state: _State, beside: _Beside, centred: bool | None, notes: list[str]
) -> dict[str, Any]:
    if centred is None:
        notes.append(
            "Whether b_dec is subtracted from the input is not said, and the two generations of miStudio differ in it; "
            'it is loaded only if b_dec is zero, or a config.json beside it or the call says "apply_b_dec_to_input".'
        )
    settings: dict[str, Any] = {"apply_b_dec_to_input": bool(centred) and kind != "transcoder"}
    if kind != "transcoder":
        normalization = beside.normalize_activations
        if normalization is None:
            normalization = "constant_norm_rescale"
            notes.append("Normalisation is only in miStudio's database; its default, constant_norm_rescale, was taken.")
        if normalization != "none":
            settings["normalize_activations"] = "constant_norm_rescale"
            if kind == "skip":
                settings["skip_scale"] = 1.0
        elif kind == "skip":  # a skip transcoder, whose encoder's bias does what is left of subtracting b_dec
            settings["apply_b_dec_to_input"] = False
    if kind == "topk":
        if beside.top_k is not None:
            settings["k"] = beside.top_k
        else:
            notes.append("How many latents are active is only in miStudio's database, so the SAE cannot be loaded.")
    elif kind != "jumprelu" and state.centred is not True:  # the first generation could keep a percentage of latents
        if beside.top_k_sparsity is not None:
            settings["k"] = max(1, int(beside.top_k_sparsity / 100.0 * state.widths[1]))
        else:
            notes.append("If the training had top_k_sparsity, that is only in miStudio's database and was not applied.")
    return settings


def _architecture(kind: str, settings: dict[str, Any]) -> str:
    """Only a skip SAE whose input is not normalised is a skip transcoder, which SAELens has too."""
    if kind == "skip" and "normalize_activations" in settings:
        return kind
    if kind in ("skip", "transcoder"):
        name = "skip_transcoder" if kind == "skip" else "transcoder"
        return f"topk_{name}" if "k" in settings else name
    return "topk" if "k" in settings else kind


def _missing(header: Header, key: str, what: str) -> FormatError:
    call = f", say {key}=True or False where you load it" if key == ANSWER else ""
    return FormatError(
        what, where=f"{header.where}: {key}",
        hint=f'Put a config.json with "{key}" beside the checkpoint{call}, or load what miStudio exported.',
    )


def _hook(header: Header, label: str) -> str | None:
    layer, site = header.metadata.get("layer_idx", ""), header.metadata.get("hook_type", "")
    named = re.fullmatch(r"layer_(\d{1,4})(?:_(\w+))?", PurePath(label).name)
    if named:
        layer, site = layer or named[1], site or named[2] or ""
    if not layer.isdecimal():
        return None
    return f"blocks.{int(layer)}.{SITES.get(site or 'residual', 'hook_resid_post')}"


# --- The trio --------------------------------------------------------------------------------------------------------

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TRAINING_FILE = "training_metadata.json"
FILES = (CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE)
_SYNONYMS = {"standard_saelens": "standard", "standard_anthropic": "standard"}
_KEPT = ("k", "residual_threshold", "max_iterations", "stop_on_duplicate_support", "skip_scale")
_UNWRITTEN = ("temporal",)
_TENSORS = ("W_enc", "b_dec", "W_skip", "b_enc", "threshold", "b_gate", "r_mag", "b_mag")


class _TrioFile(Settings):
    architecture: str
    d_in: Width
    d_sae: Width
    d_out: Width | None = None
    apply_b_dec_to_input: bool | None = None
    normalize_activations: Literal["none", "layer_norm", "constant_norm_rescale", "anthropic_rescale"] = "none"
    reshape_activations: Literal["none", "hook_z"] = "none"
    k: int | None = Field(default=None, ge=1)
    residual_threshold: float | None = None
    max_iterations: int | None = Field(default=None, ge=1)
    stop_on_duplicate_support: bool | None = None
    skip_scale: float | None = None
    model_name: str | None = None
    hook_name: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


def _look_at_trio(source: Source, apply_b_dec_to_input: bool | None) -> Look:
    file, data, where = config_of(source, CONFIG_FILE, _TrioFile)
    known = [*inference_architectures(), *_SYNONYMS]
    if file.architecture not in known or file.architecture in _UNWRITTEN:
        raise FormatError(
            f"The architecture is {file.architecture[:40]!r}, expected one of {', '.join(known)}.",
            where=f"{where}: architecture",
        )
    header = read_header(source, WEIGHTS_FILE)
    # W_enc alone is in SAELens' names and in miStudio's, the other way round: thresholds as logarithms are miStudio's.
    state = _read_state(header) if {"encoder.weight", "activation.log_threshold"} & set(header.tensors) else None
    if state is not None:
        if state.widths[:2] != (file.d_in, file.d_sae):
            raise FormatError(
                f"The encoder is {state.widths[1]:,} × {state.widths[0]:,}, expected {file.d_sae:,} × {file.d_in:,} "
                f"from {CONFIG_FILE}.", where=header.where, hint="Configuration and weights belong to different SAEs.",
            )
        tensors = state.look(header)
    else:  # which tensors there must be, the architecture says
        tensors = {
            "header": header, "names": {name: name for name in header.tensors if name in _TENSORS} | {"W_dec": "W_dec"},
            "widths": (file.d_in, file.d_sae, file.d_out or file.d_in), "said_by": CONFIG_FILE,
        }
    found = Look(
        **tensors, files=tuple(name for name in FILES if name in source.files()), weights=WEIGHTS_FILE,
        architecture=_SYNONYMS.get(file.architecture, file.architecture), model=file.model_name,
        hook_name=file.hook_name, settings=_trio_settings(file, state, where, apply_b_dec_to_input), config=data,
        metadata=file.metadata, fold=None if state is None else state.finish,
    )
    if state is None:
        found.dtype = str(header.tensors["W_dec"].torch_dtype).removeprefix("torch.")
    return found


def _trio_settings(file: _TrioFile, state: _State | None, where: str, answer: bool | None) -> dict[str, Any]:
    centred = file.apply_b_dec_to_input
    if state is not None and state.centred is not None:
        centred = state.centred
    centred = answered(centred, answer, where)
    if centred is None:
        raise FormatError(
            "The value is missing, and SAEs of miStudio differ in it.", where=f"{where}: {ANSWER}",
            hint=f"Add true or false, or say {ANSWER}=True or False where you load it.",
        )
    if state is not None and state.kind == "transcoder":
        centred = False
    if file.k is None and "k" in lookup_inference(_SYNONYMS.get(file.architecture, file.architecture))[1].model_fields:
        raise FormatError(
            "The value is missing, and it decides how many latents are active.",
            where=f"{where}: k", hint=f"Add the number; {TRAINING_FILE} may name it.",
        )
    normalization = file.normalize_activations
    settings: dict[str, Any] = {
        "apply_b_dec_to_input": centred, "reshape_activations": file.reshape_activations,
        "normalize_activations": "constant_norm_rescale" if normalization == "anthropic_rescale" else normalization,
    }
    if file.architecture == "skip":
        settings["skip_scale"] = 1.0  # where the file does not say: miStudio adds the whole input
    return settings | {key: value for key in _KEPT if (value := getattr(file, key)) is not None}


def _save(saved: Saved) -> dict[str, Part]:
    """The trio: SAELens' names and orientation, and a configuration that says all that decides the maths."""
    frozen, cfg = saved.frozen, saved.frozen.cfg
    if cfg.architecture in _UNWRITTEN:
        saved.refuse(f"the trio is not written for {cfg.architecture} SAEs")
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
    if _CHECKPOINT in source.files():
        try:
            return any(name.startswith(_PREFIX) for name in read_header(source, _CHECKPOINT).tensors)
        except FormatError:  # no other format has such a file: reading it for good says what is wrong
            return True
    if not has(CONFIG_FILE, WEIGHTS_FILE)(source):
        return False
    try:
        return {"d_in", "d_sae", "architecture"} <= set(read_json(source, CONFIG_FILE))
    except FormatError:  # the files of most language models are called so
        return False


def _look(source: Source, apply_b_dec_to_input: bool | None = None) -> Look:
    look = _look_at_checkpoint if _CHECKPOINT in source.files() else _look_at_trio
    return look(source, apply_b_dec_to_input)


FORMAT = adapter("mistudio", "miStudio", _matches, _look, save=_save, config_file=CONFIG_FILE, leaves_open=True)
