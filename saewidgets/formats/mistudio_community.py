"""Defines the format of what miStudio exports: ``cfg.json`` and ``sae_weights.safetensors`` that look like SAELens' but
mean something else.

Its two generations write the same files for different maths, and neither writes all that decides it. What tells them
apart is which key stands in ``extra_metadata``: ``top_k_sparsity`` (1) or ``top_k`` (2). Corrected here:

- 1, standard and skip: the model has two output biases that learn the same; one of them was exported, so b_dec is half;
- 1, standard with top_k_sparsity: it is a top-k SAE, k is that percentage of d_sae;
- 2: b_dec is subtracted from the input, although cfg.json says it is not;
- 2, standard_anthropic: inputs are brought to norm √d, whatever `normalize_activations` says;
- both: hook names always say hook_resid_post; the folder's name (``layer_3_mlp``) knows better.

Not exported, and so refused: b_pre of top-k (2), b_enc_center of transcoders (2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.adapter import SAME, Look, Settings, Width, adapter, config_of, has
from saewidgets.formats.header import read_header
from saewidgets.formats.jsonfile import read_json
from saewidgets.formats.mistudio import SITES, Normalization, add_identity, centre_encoder, refuse_normalized_skip
from saewidgets.formats.source import Source

FILES = ("cfg.json", "sae_weights.safetensors")
_FIRST, _SECOND = "top_k_sparsity", "top_k"
_NEW_NAMES = ("standard_saelens", "standard_anthropic", "topk")  # only the second generation has them
Architecture = Literal[
    "standard", "standard_saelens", "standard_anthropic", "jumprelu", "topk", "skip", "transcoder"
]


class _Extra(Settings):
    hf_model_name: str | None = None
    top_k_sparsity: float | None = Field(default=None, gt=0, le=100)


class _File(Settings):
    architecture: Architecture
    d_in: Width
    d_sae: Width
    model_name: str | None = None
    hook_name: str | None = None
    hook_point: str | None = None
    hook_point_layer: int | None = None
    normalize_activations: Normalization = "none"
    extra_metadata: _Extra = Field(default_factory=_Extra)

    @property
    def normalized(self) -> bool:
        """Whether inputs are brought to norm √d; both names stand for the same, per token."""
        if self.architecture == "transcoder":
            return False
        return self.architecture == "standard_anthropic" or self.normalize_activations != "none"


@dataclass(frozen=True, slots=True)
class _Plan:
    architecture: str
    settings: dict[str, Any]
    notes: tuple[str, ...]
    halved: bool = False
    skip: bool = False
    centred: bool = False


def _matches(source: Source) -> bool:
    """By the names of the files and miStudio's own keys."""
    if not has(*FILES)(source):
        return False
    try:
        data = read_json(source, FILES[0])
    except FormatError:  # SAELens, which has the same files, says what is wrong
        return False
    extra = data.get("extra_metadata")
    return "mistudio_training_id" in data or (isinstance(extra, dict) and (_FIRST in extra or _SECOND in extra))


def _look(source: Source) -> Look:
    file, data, where = config_of(source, FILES[0], _File)
    plan = _plan(file, data, where)
    header = read_header(source, FILES[1])
    d_out = header.shape("W_dec", 2)[1] if file.architecture == "transcoder" else file.d_in

    def correct(tensors: dict[str, Tensor]) -> None:
        if plan.halved:
            tensors["b_dec"] = tensors["b_dec"] * 2
        if plan.skip and plan.centred:  # a transcoder subtracts nothing, so the encoder's bias does
            centre_encoder(tensors, tensors["b_dec"])
        if plan.skip:
            add_identity(tensors)

    hook_name, hook_notes = _hook(file, source.label)
    return Look(
        files=FILES, header=header,
        names=SAME | ({"threshold": "threshold"} if plan.architecture == "jumprelu" else {}),
        widths=(file.d_in, file.d_sae, d_out), said_by=FILES[0], architecture=plan.architecture,
        model=file.extra_metadata.hf_model_name or file.model_name, hook_name=hook_name, settings=plan.settings,
        config=data, notes=(*plan.notes, *hook_notes), fold=correct,
    )


def _plan(file: _File, data: Any, where: str) -> _Plan:
    """What is computed, by architecture and generation. Raises `FormatError` for what was not exported whole."""
    second = _generation(file, data, where)
    kind = file.architecture
    notes = [f"Exported by miStudio, generation {2 if second else 1}."]
    settings: dict[str, Any] = {"apply_b_dec_to_input": second and kind != "transcoder"}
    if file.normalized:
        settings["normalize_activations"] = "constant_norm_rescale"
    elif kind != "transcoder":
        notes.append("No normalisation is written down; miStudio's default, which it leaves out, would be one.")
    if second and kind in ("topk", "transcoder"):
        lost = "b_pre" if kind == "topk" else "b_enc_center"
        raise FormatError(
            f"miStudio did not export {lost} of this {kind} SAE, without which it computes something else.",
            where=f"{where}: architecture", hint="Load the training's checkpoint.safetensors instead.",
        )
    if kind == "jumprelu":
        return _Plan("jumprelu", settings, tuple(notes))
    percent = None if second else file.extra_metadata.top_k_sparsity
    if percent is not None:
        settings["k"] = max(1, int(percent / 100.0 * file.d_sae))
    if kind == "transcoder":
        notes.append("miStudio trained its transcoders to reconstruct their own input.")
        return _Plan("transcoder" if percent is None else "topk_transcoder", settings, tuple(notes))
    if not second:
        notes.append("b_dec was doubled: miStudio exports one of two equal output biases.")
    if kind == "skip":
        if file.normalized:
            refuse_normalized_skip(percent is not None, f"{where}: architecture")
            return _Plan("skip", settings | {"skip_scale": 1.0}, tuple(notes), halved=not second)
        settings["apply_b_dec_to_input"] = False
        architecture = "skip_transcoder" if percent is None else "topk_skip_transcoder"
        return _Plan(architecture, settings, tuple(notes), halved=not second, skip=True, centred=second)
    return _Plan("standard" if percent is None else "topk", settings, tuple(notes), halved=not second)


def _generation(file: _File, data: Any, where: str) -> bool:
    """Whether the second generation wrote `data`."""
    extra = data.get("extra_metadata")
    extra = extra if isinstance(extra, dict) else {}
    if _FIRST in extra or _SECOND in extra:
        return _FIRST not in extra
    if file.architecture in _NEW_NAMES:
        return True
    raise FormatError(
        "Which generation of miStudio wrote this, and so what it computes, is not said.",
        where=f"{where}: extra_metadata",
        hint=f"It would hold {_FIRST} (until early 2026) or {_SECOND} (later); add the one that is true, or null.",
    )


def _hook(file: _File, label: str) -> tuple[str | None, tuple[str, ...]]:
    hook_name = file.hook_name or file.hook_point
    match = re.fullmatch(r"layer_(\d{1,4})(?:_(residual|mlp|attention))?", PurePath(label).name)
    if match and match[2]:
        return f"blocks.{match[1]}.{SITES[match[2]]}", ()
    return hook_name, ("miStudio writes hook_resid_post for SAEs of MLP and attention outputs too.",)


FORMAT = adapter("mistudio_community", "miStudio export", _matches, _look, config_file=FILES[0])
