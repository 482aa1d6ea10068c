"""miStudio's own files: a training's ``checkpoint.safetensors``, and the trio around ``model.safetensors``.

A checkpoint holds tensors called ``model.…`` (see `mistudio_state`) and says step, class, layer and hook in its header.
Normalisation and k are only in miStudio's database: where they are needed, the defaults of its code are taken and said
so in a note, or the SAE is refused. A ``config.json`` beside the checkpoint may say them:

    {"normalize_activations": "none", "top_k": 64, "top_k_sparsity": 5.0, "apply_b_dec_to_input": true}

The trio ``config.json``, ``model.safetensors``, ``training_metadata.json`` is in miStudio's design papers but nothing
there reads or writes it, so its tensors' names are nowhere specified. Written here are SAELens' names and orientation,
with a configuration that says everything; read are these and the state dicts of miStudio's models.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Any

import torch
from pydantic import Field

from saewidgets.errors import FormatError
from saewidgets.formats import mistudio_trio
from saewidgets.formats.base import ANSWER, Description, Format, answered
from saewidgets.formats.foreign import Settings, build, dtype_name, read, total
from saewidgets.formats.header import Header, read_header
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.mistudio_community import SITES, Normalization, refuse_normalized_skip
from saewidgets.formats.mistudio_state import State, add_identity, centre_encoder, finish, read_state
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

WEIGHTS_FILE = "checkpoint.safetensors"
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


def matches(source: Source) -> bool:
    """A checkpoint with ``model.…`` tensors, or the trio with an SAE's configuration."""
    if WEIGHTS_FILE not in source.files():
        return mistudio_trio.matches(source)
    try:
        return any(name.startswith(_PREFIX) for name in read_header(source, WEIGHTS_FILE).tensors)
    except FormatError:  # no other format has such a file: reading it for good says what is wrong
        return True


def describe(source: Source, apply_b_dec_to_input: bool | None = None) -> Description:
    """What the header and files beside it say."""
    if WEIGHTS_FILE not in source.files():
        return mistudio_trio.describe(source, FORMAT.name, apply_b_dec_to_input)
    header = read_header(source, WEIGHTS_FILE)
    state = read_state(header, _PREFIX)
    beside, names = _beside(source, state, apply_b_dec_to_input)
    kind = _kind(header, state)
    notes: list[str] = []
    settings = _settings(kind, state, beside, notes)
    files = (WEIGHTS_FILE, *names)
    return Description(
        format=FORMAT.name, architecture=_architecture(kind, settings), d_in=state.d_in, d_sae=state.d_sae,
        d_out=state.d_out, dtype=dtype_name(header, state.names["W_enc"]), files=files, size_bytes=total(source, files),
        model=beside.model_name, hook_name=_hook(header, source.label), settings=settings, config=dict(header.metadata),
        notes=tuple(notes),
    )


def load(
    folder: Path, *, device: torch.device, dtype: torch.dtype | None = None, apply_b_dec_to_input: bool | None = None
) -> SAE:
    """The SAE in `folder`, frozen."""
    source = FolderSource(folder)
    if WEIGHTS_FILE not in source.files():
        return mistudio_trio.load(folder, FORMAT.name, apply_b_dec_to_input, device=device, dtype=dtype)
    description = describe(source, apply_b_dec_to_input)
    header = read_header(source, WEIGHTS_FILE)
    state = read_state(header, _PREFIX)
    beside, _ = _beside(source, state, apply_b_dec_to_input)
    kind = _kind(header, state)
    settings = dict(description.settings)
    if kind == "topk" and "k" not in settings:
        raise _missing(header, "top_k", "How many latents are active is only in miStudio's database.")
    tensors = read(source, header, WEIGHTS_FILE, state.names, device=device, transposed=state.transposed)
    finish(state, tensors)
    centred = beside.apply_b_dec_to_input
    if centred is None and not (tensors["b_dec"] == 0).all():
        raise _missing(
            header, ANSWER,
            "Whether b_dec is subtracted from the input is not said, and the two generations of miStudio differ in it.",
        )
    if description.architecture == "skip":
        refuse_normalized_skip("k" in settings, header.where)
    elif kind == "skip":
        if centred:  # a transcoder subtracts nothing, so the encoder's bias does
            centre_encoder(tensors, tensors["b_dec"])
        add_identity(tensors)
    metadata = {"mistudio_step": int(header.metadata["step"])} if header.metadata.get("step", "").isdecimal() else {}
    return build(description, tensors, where=header.where, device=device, dtype=dtype, metadata=metadata)


def _kind(header: Header, state: State) -> str:
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


def _settings(kind: str, state: State, beside: _Beside, notes: list[str]) -> dict[str, Any]:
    centred = beside.apply_b_dec_to_input
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
            settings["k"] = max(1, int(beside.top_k_sparsity / 100.0 * state.d_sae))
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


def _beside(source: Source, state: State, answer: bool | None) -> tuple[_Beside, tuple[str, ...]]:
    """What the first of the files beside the checkpoint says, the tensors before it and a person after it."""
    found, names = _Beside(), tuple(name for name in _BESIDE if name in source.files())[:1]
    for name in names:
        found = checked(_Beside, read_json(source, name), f"{source.label}/{name}")
    said = found.apply_b_dec_to_input if state.centred is None else state.centred
    return found.model_copy(update={ANSWER: answered(said, answer, source.label)}), names


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


FORMAT = Format(
    "mistudio", "miStudio", matches, describe, load, mistudio_trio.save, config_file=mistudio_trio.CONFIG_FILE,
    leaves_open=True,
)  # fmt: skip
