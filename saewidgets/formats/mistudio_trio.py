"""The trio of miStudio's papers: ``config.json``, ``model.safetensors`` and (optional) ``training_metadata.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import save_file

from saewidgets.errors import FormatError
from saewidgets.formats.base import ANSWER, Description, answered
from saewidgets.formats.foreign import Settings, Width, build, dtype_name, read, total
from saewidgets.formats.header import Header, read_header
from saewidgets.formats.jsonfile import checked, encoded, plain, read_json
from saewidgets.formats.mistudio_state import State, finish, read_state
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.whole import whole_folder
from saewidgets.sae import SAE, inference_architectures
from saewidgets.sae.registry import lookup_inference

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TRAINING_FILE = "training_metadata.json"
FILES = (CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE)
_SYNONYMS = {"standard_saelens": "standard", "standard_anthropic": "standard"}
_KEPT = ("k", "residual_threshold", "max_iterations", "stop_on_duplicate_support", "skip_scale")
_UNWRITTEN = ("temporal",)


class _File(Settings):
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


def matches(source: Source) -> bool:
    """By the names of the files, which language models share, and then by the keys of an SAE."""
    if CONFIG_FILE not in source.files() or WEIGHTS_FILE not in source.files():
        return False
    try:
        return {"d_in", "d_sae", "architecture"} <= set(read_json(source, CONFIG_FILE))
    except FormatError:  # the files of most language models are called so
        return False


def describe(source: Source, format: str, apply_b_dec_to_input: bool | None = None) -> Description:
    """What configuration and header say."""
    file, data = _read(source)
    header = read_header(source, WEIGHTS_FILE)
    state = _state(header)
    d_out = file.d_out or file.d_in
    if state is None:
        header.require(_shapes(file, header), source=CONFIG_FILE)
    elif (state.d_in, state.d_sae) != (file.d_in, file.d_sae):
        raise FormatError(
            f"The encoder is {state.d_sae:,} × {state.d_in:,}, expected {file.d_sae:,} × {file.d_in:,} from "
            f"{CONFIG_FILE}.", where=header.where, hint="Configuration and weights belong to different SAEs.",
        )
    files = tuple(name for name in FILES if name in source.files())
    return Description(
        format=format, architecture=_SYNONYMS.get(file.architecture, file.architecture), d_in=file.d_in,
        d_sae=file.d_sae, d_out=d_out,
        dtype=dtype_name(header, "W_dec" if state is None else state.names["W_enc"]), files=files,
        size_bytes=total(source, files), model=file.model_name, hook_name=file.hook_name,
        settings=_settings(file, state, source, apply_b_dec_to_input), config=data,
    )


def load(
    folder: Path, format: str, apply_b_dec_to_input: bool | None, *, device: torch.device, dtype: torch.dtype | None
) -> SAE:
    """The SAE in `folder`, frozen."""
    source = FolderSource(folder)
    description = describe(source, format, apply_b_dec_to_input)
    file, _ = _read(source)
    header = read_header(source, WEIGHTS_FILE)
    state = _state(header)
    if state is None:
        tensors = read(source, header, WEIGHTS_FILE, {name: name for name in header.tensors}, device=device)
    else:
        tensors = read(source, header, WEIGHTS_FILE, state.names, device=device, transposed=state.transposed)
        finish(state, tensors)
    return build(description, tensors, where=header.where, device=device, dtype=dtype, metadata=file.metadata)


def save(sae: SAE, folder: Path) -> Path:
    """Write the trio: SAELens' names and orientation, and a configuration that says all that decides the maths."""
    frozen = sae.to_inference()
    cfg = frozen.cfg
    if cfg.architecture in _UNWRITTEN:
        raise FormatError(
            f"The trio is not written for {cfg.architecture} SAEs.", where=str(folder), hint='Save it as "saelens".'
        )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in frozen.inference_tensors().items()}
    metadata = plain(frozen.metadata)
    config = {
        "format": "mistudio", "architecture": cfg.architecture, "d_in": frozen.d_in, "d_sae": frozen.d_sae,
        "d_out": frozen.d_out, "dtype": str(frozen.W_dec.dtype).removeprefix("torch."),
        "apply_b_dec_to_input": cfg.apply_b_dec_to_input, "normalize_activations": cfg.normalize_activations,
        "reshape_activations": cfg.reshape_activations, "model_name": metadata.get("model_name"),
        "hook_name": metadata.get("hook_name"), "metadata": metadata,
    }
    config |= {key: getattr(cfg, key) for key in _KEPT if hasattr(cfg, key)}
    training = {"training_architecture": sae.cfg.architecture, "hyperparameters": sae.cfg.to_data()}
    texts = {CONFIG_FILE: encoded(config, indent=2), TRAINING_FILE: encoded(training, indent=2)}
    with whole_folder(folder, replaceable=FILES) as draft:
        save_file(tensors, draft / WEIGHTS_FILE)
        for name, text in texts.items():
            (draft / name).write_bytes(text)
    return folder


def _read(source: Source) -> tuple[_File, dict[str, Any]]:
    data = read_json(source, CONFIG_FILE)
    where = f"{source.label}/{CONFIG_FILE}"
    file = checked(_File, data, where)
    known = [*inference_architectures(), *_SYNONYMS]
    if file.architecture not in known or file.architecture in _UNWRITTEN:
        raise FormatError(
            f"The architecture is {file.architecture[:40]!r}, expected one of {', '.join(known)}.",
            where=f"{where}: architecture",
        )
    return file, data


def _state(header: Header) -> State | None:
    """How the tensors of miStudio's own models are read; None where they have SAELens' names and orientation.

    W_enc alone is in both, the other way round: thresholds as logarithms are miStudio's.
    """
    if "encoder.weight" in header.tensors or "activation.log_threshold" in header.tensors:
        return read_state(header)
    return None


def _settings(file: _File, state: State | None, source: Source, answer: bool | None) -> dict[str, Any]:
    centred = file.apply_b_dec_to_input
    if state is not None and state.centred is not None:
        centred = state.centred
    where = f"{source.label}/{CONFIG_FILE}"
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


def _shapes(file: _File, header: Header) -> dict[str, tuple[int, ...]]:
    """What tensors of SAELens' names have to be shaped like. Which of them there must be, the architecture says."""
    d_in, d_sae, d_out = file.d_in, file.d_sae, file.d_out or file.d_in
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (d_in, d_sae), "W_dec": (d_sae, d_out), "b_dec": (d_out,), "W_skip": (d_out, d_in),
        **dict.fromkeys(("b_enc", "threshold", "b_gate", "r_mag", "b_mag"), (d_sae,)),
    }
    return {name: shape for name, shape in shapes.items() if name in header.tensors or name == "W_dec"}
