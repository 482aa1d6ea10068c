"""Defines the formats of Gemma Scope (Gemma 2) and Gemma Scope 2 (Gemma 3), and reads the paths of such SAEs.

    f = p where p = x @ W_enc + b_enc exceeds its threshold, else 0
    ŷ = f @ W_dec + b_dec [+ x @ affine_skip_connection, in Gemma Scope 2]

b_dec is not subtracted from the input and nothing is normalised. Gemma Scope keeps JumpReLU SAEs and transcoders in
``params.npz`` without a configuration, so the model, the site and the layer are known only from the names of repository
and folders, ``google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82`` (Lieberum et al. 2024, arXiv:2408.05147).
SAEs of token embeddings were trained on embeddings times √d_in, which is moved into their weights.
"""

import math
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import torch
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats import unused
from saewidgets.formats.archives import read_npz_header, read_npz_sizes
from saewidgets.formats.format import (
    OTHERS,
    RAW,
    SAME,
    FileSettings,
    Format,
    Part,
    ReadPlan,
    SAEExport,
    Width,
    config_of,
    has,
    told,
)
from saewidgets.formats.source import FolderSource, Source, read_json
from saewidgets.formats.tensors import Header, TensorInfo, read_header

_REPO = re.compile(r"gemma-scope-(2b|9b|27b)-(pt|it)-(res|mlp|att|transcoders)")
_FOLDER = re.compile(r"(?:^|/)(?:layer_\d+|embedding)/width_\d+[km]/average_l0_\d+/?$")
_WIDTHS = {(f"{n // 1000}k" if n < 10**6 else f"{n // 10**6}m"): n for n in (2**power for power in range(10, 24))}
_HOOKS = {
    "res": "blocks.{}.hook_resid_post", "mlp": "blocks.{}.hook_mlp_out", "att": "blocks.{}.attn.hook_z",
    "transcoders": "blocks.{}.ln2.hook_normalized",
}


@dataclass(frozen=True, slots=True)
class ScopePath:
    """The properties of a Gemma Scope SAE that its path shows; None: not shown.

    Attributes:
        site: ``"res"``, ``"mlp"``, ``"att"`` or ``"transcoders"``.
        width: as written, ``"16k"``; `d_sae` is the number (``"131k"`` is 131072, ``"1m"`` is 1048576).
        embedding: the SAE reads token embeddings instead of a layer.
    """

    model: str | None = None
    site: str | None = None
    layer: int | None = None
    width: str | None = None
    l0: int | None = None
    embedding: bool = False

    @property
    def d_sae(self) -> int | None:
        return _WIDTHS.get(self.width) if self.width else None

    @property
    def hook_name(self) -> str | None:
        if self.embedding or self.site is None or self.layer is None:
            return "hook_embed" if self.embedding else None
        return _HOOKS[self.site].format(self.layer)


def read_path(label: str) -> ScopePath:
    """The properties that `label` shows: a local path, one in the hub cache, or ``owner/name@revision/folder``."""
    parts = PurePath(label).parts
    named = (re.fullmatch(r"(layer|width|average_l0)_(\w{1,8})", part) for part in parts[-4:])
    last = {match[1]: match[2] for match in named if match}
    repo = next((match for part in reversed(parts) if (match := _REPO.search(part))), None)
    layer, l0 = (int(text) if (text := last.get(key, "")).isdecimal() else None for key in ("layer", "average_l0"))
    return ScopePath(
        model=f"google/gemma-2-{repo[1]}{'-it' if repo[2] == 'it' else ''}" if repo else None,
        site=repo[3] if repo else None, layer=layer, width=last.get("width"), l0=l0,
        embedding="embedding" in parts[-4:] and "layer" not in last,
    )


# --- Gemma Scope -----------------------------------------------------------------------------------------------------

NPZ_FILE = "params.npz"
_NAMES = SAME | {"threshold": "threshold"}


def _look(source: Source) -> ReadPlan:
    if NPZ_FILE not in source.files():
        return _look_at_kept(source)
    header = read_npz_header(source, NPZ_FILE) if isinstance(source, FolderSource) else _header_by_sizes(source)
    path = read_path(source.label)
    known = {name.lower(): name for name in (*_NAMES, "scaling_factor")}
    # The file writes W_enc or w_enc.
    names = _NAMES | {known[key.lower()]: key for key in header.tensors if key.lower() in known}
    transcoder = path.site == "transcoders"

    def fold(tensors: dict[str, Tensor]) -> None:
        if "scaling_factor" in tensors and not (tensors.pop("scaling_factor") == 1).all():
            raise FormatError(
                "The SAE was fine-tuned with a scaling factor per latent, which is not supported.",
                where=f"{header.where}: scaling_factor", hint="Open it in sae-lens 5 and fold the factor in.",
            )
        if path.embedding:
            _scale_embedding(tensors, math.sqrt(len(tensors["W_enc"])))

    out = f"blocks.{path.layer}.hook_mlp_out" if transcoder and path.layer is not None else None
    said = {"site": path.site, "layer": path.layer, "width": path.width, "average_l0": path.l0, "hook_name_out": out}
    config = {key: value for key, value in said.items() if value is not None}
    notes = {
        "The SAE was trained on token embeddings times √d_in; the factor was moved into its weights.": path.embedding,
        "Gemma Scope files name neither model nor layer: they are in the names of repository and folders, which are "
        "not all here. SAEs of token embeddings are recognised by them too, and need a factor of √d_in.":
            path.hook_name is None,
        "The name of the repository, which says which Gemma the SAE belongs to, is not known here.":
            path.hook_name is not None and path.model is None,
    }
    return ReadPlan(
        files=(NPZ_FILE,), header=header, names=names, d_sae=path.d_sae,
        said_by=f"the folder's name, width {path.width}" if path.d_sae else OTHERS,
        architecture="jumprelu_transcoder" if transcoder else "jumprelu", model=path.model, hook_name=path.hook_name,
        settings=RAW | ({"reshape_activations": "hook_z"} if path.site == "att" else {}), config=config,
        notes=[note for note, applies in notes.items() if applies], fold=fold,
        metadata={key: config[key] for key in ("hook_name_out", "average_l0") if key in config},
    )


def _header_by_sizes(source: Source) -> Header:
    """What the arrays of an archive on the hub must be, by their sizes; the whole header is read where it is loaded."""
    first, counts = read_npz_sizes(source, NPZ_FILE)
    where, lower = f"{source.label}/{NPZ_FILE}", {name.lower(): name for name in counts}
    d_sae = counts.get(lower.get("b_enc", ""), 0)
    shapes: dict[str, tuple[int, ...]] = {name: (count,) for name, count in counts.items()}
    for key in {"w_enc", "w_dec"} & set(lower) if d_sae else ():
        widths = (counts[lower[key]] // d_sae, d_sae)
        shapes[lower[key]] = widths if key == "w_enc" else widths[::-1]
    if first.shape not in shapes.values() or any(math.prod(shapes[name]) != count for name, count in counts.items()):
        raise FormatError(
            "The sizes of the arrays contradict each other.", where=where,
            hint="The file was cut off or altered; tell the owner of the repository.",
        )
    return Header(where, {name: TensorInfo(first.dtype, shape) for name, shape in shapes.items()})


def _scale_embedding(tensors: dict[str, Tensor], factor: float) -> None:
    """Take raw embeddings instead of embeddings times `factor`."""
    tensors["W_enc"].div_(factor)
    tensors["W_dec"].mul_(factor)


# Gemma Scope SAEs as some tools keep them: ``cfg.json`` and ``sae_weights.safetensors`` below ``layer_L/width_W/…``.
# Such a ``cfg.json`` is flat and may say next to nothing; what it does not say is Gemma Scope's. (SAELens would assume
# that b_dec is subtracted.) A configuration that SAELens or miStudio wrote is left to their formats.

CONFIG_FILE = "cfg.json"
_KEPT = (CONFIG_FILE, "sae_weights.safetensors")
_MARKS = {"sae_lens_version", "sae_lens_training_version", "metadata", "activation_fn_str", "mistudio_training_id",
          "extra_metadata"}  # fmt: skip


class _ConvertedFile(FileSettings):
    ignored = unused.SAELENS
    d_in: Width
    d_sae: Width
    architecture: Literal["jumprelu", "jump_relu"] = "jumprelu"
    apply_b_dec_to_input: bool = False
    normalize_activations: Literal["none"] | None = None
    model_name: str | None = None
    hook_name: str | None = None


def _matches(source: Source) -> bool:
    """A ``params.npz``; or the other files in such a folder, and no other writer's mark in the configuration. Where
    that cannot be read, SAELens, which has the same files, says what is wrong."""
    if NPZ_FILE in source.files():
        return True
    kept = _FOLDER.search(source.label.replace("\\", "/")) is not None and has(*_KEPT)(source)
    return kept and told(lambda: not _MARKS & set(read_json(source, CONFIG_FILE)))


def _look_at_kept(source: Source) -> ReadPlan:
    file, data, where = config_of(source, CONFIG_FILE, _ConvertedFile)
    path = read_path(source.label)
    note = (
        "Gemma Scope trained SAEs of embeddings on embeddings times √d_in; whether these weights take that into "
        "account already is not known, so they are used as they are."
    )
    if path.d_sae not in (None, file.d_sae):
        raise FormatError(
            f"The SAE has {file.d_sae:,} latents, but the folder's name says width {path.width}.",
            where=f"{where}: d_sae", hint="The files are in another SAE's folder, or were altered.",
        )
    return ReadPlan(
        files=_KEPT, header=read_header(source, _KEPT[1]), names=_NAMES, d_in=file.d_in,
        d_sae=file.d_sae, said_by=CONFIG_FILE, architecture="jumprelu", model=path.model or file.model_name,
        hook_name=path.hook_name or file.hook_name,
        settings={"apply_b_dec_to_input": file.apply_b_dec_to_input}
        | ({"reshape_activations": "hook_z"} if path.site == "att" else {}),
        config=data, notes=(note,) if path.embedding else (),
        metadata={} if path.l0 is None else {"average_l0": path.l0},
    )


def _save(saved: SAEExport) -> dict[str, Part]:
    """Only a JumpReLU on raw activations can be expressed, of a width with a name."""
    sae, cfg, path = saved.frozen, saved.frozen.cfg, read_path(str(saved.folder))
    saved.refuse(
        (cfg.architecture not in ("jumprelu", "jumprelu_transcoder"), f"it is a {cfg.architecture}, not a jumprelu"),
        ((cfg.architecture == "jumprelu_transcoder") != (path.site == "transcoders"),
         "only the name of the repository (…-transcoders) tells transcoders from SAEs"),
        (cfg.apply_b_dec_to_input, "it subtracts b_dec from the input"),
        (cfg.normalize_activations != "none", f"it normalises activations ({cfg.normalize_activations})"),
        (sae.W_dec.dtype == torch.float64, "its weights are float64, the files are float32"),
        (sae.d_sae not in _WIDTHS.values(),
         f"folders are named after widths such as 16k (2^14), and {sae.d_sae:,} latents have no such name"),
        (path.d_sae not in (None, sae.d_sae),
         f"it has {sae.d_sae:,} latents, and the folder's name says width {path.width}"),
    )
    tensors = {name: tensor.float() for name, tensor in saved.tensors().items()}
    if path.embedding:  # what is read from such a folder is scaled the other way
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        _scale_embedding(tensors, 1 / math.sqrt(sae.d_in))
    return {NPZ_FILE: tensors}


GEMMA_SCOPE = Format("gemma_scope", _matches, _look, save=_save, config_file=CONFIG_FILE)

# --- Gemma Scope 2 ---------------------------------------------------------------------------------------------------
#
# ``config.json`` and ``params.safetensors`` in folders called ``resid_post_all/layer_12_width_16k_l0_small``; where
# ``config.json`` is missing, the names say the same. The cross-layer transcoders (``clt``) write to all later layers
# from one file per layer, and are refused.

_CONFIG_2, _WEIGHTS_2 = "config.json", "params.safetensors"
_HOOKS_2 = {
    "resid_post": "blocks.{}.hook_resid_post", "mlp_out": "blocks.{}.hook_mlp_out", "attn_out": "blocks.{}.attn.hook_z",
    "transcoder": "blocks.{}.mlp.hook_in",
}
_HF_SITES = {  # what follows the layer in hf_hook_point_in
    "output": "resid_post", "self_attn.o_proj.input": "attn_out", "post_feedforward_layernorm.output": "mlp_out",
    "pre_feedforward_layernorm.output": "transcoder",
}
_SKIP = "affine_skip_connection"


class _GemmaScope2File(FileSettings):
    ignored = unused.GEMMA_SCOPE_2
    architecture: Literal["jump_relu"] = "jump_relu"
    model_name: str | None = None
    hf_hook_point_in: str | None = None
    hf_hook_point_out: str | None = None
    affine_connection: bool = False


def _matches_2(source: Source) -> bool:
    """Matches by the name of the weights, which only this format has; a configuration may be missing."""
    files = source.files()
    if _WEIGHTS_2 not in files or _CONFIG_2 not in files:
        return _WEIGHTS_2 in files
    return told(lambda: read_json(source, _CONFIG_2).get("architecture") == "jump_relu", otherwise=True)


def _look_2(source: Source) -> ReadPlan:
    files = tuple(name for name in (_CONFIG_2, _WEIGHTS_2) if name in source.files())
    file, data = _GemmaScope2File(), dict[str, Any]()
    if _CONFIG_2 in files:
        file, data, _ = config_of(source, _CONFIG_2, _GemmaScope2File)
    header = read_header(source, _WEIGHTS_2)
    skip = _SKIP in header.tensors
    names = {ours: ours.lower() for ours in _NAMES} | ({"W_skip": _SKIP} if skip or file.affine_connection else {})
    decoder = header.tensors.get("w_dec")
    if decoder is not None and len(decoder.shape) == 3:
        raise FormatError(
            "This is one layer of a cross-layer transcoder, which writes to several layers.",
            where=f"{header.where}: w_dec", hint="Only SAEs and per-layer transcoders can be loaded.",
        )
    site, layer, note = _place_2(file, source.label)
    hook_name = _HOOKS_2[site].format(layer) if site and layer is not None else None
    metadata = {"hf_hook_name": file.hf_hook_point_in, "hf_hook_name_out": file.hf_hook_point_out}
    if hook_name and site == "transcoder":
        metadata["hook_name_out"] = hook_name.replace("mlp.hook_in", "hook_mlp_out")
    of_path = re.findall(r"gemma-scope-2-(\w+)-(pt|it)", source.label)[-1:]
    if model := file.model_name or (f"gemma-3-{of_path[0][0]}-{of_path[0][1]}" if of_path else None):
        # a configuration says gemma-v3-1b-pt or the like; the 270m model is published without the suffix
        model = (model if "/" in model else f"google/{model}").replace("-v3", "-3")
        model = model.replace("-pt", "") if "270m" in model else model
    if site != "transcoder" and (skip or header.shape("w_enc", 2) != header.shape("w_dec", 2)[::-1]):
        raise FormatError(
            "It reconstructs another width or has a linear path, as only transcoders do, but is not marked as one.",
            where=header.where, hint="Keep config.json and the folder's name as they are on the hub.",
        )
    return ReadPlan(
        # The linear path is stored [d_in, d_out]; SAELens' W_skip is [d_out, d_in].
        files=files, header=header, names=names, transposed=("W_skip",),
        architecture=f"jumprelu{'_skip' if skip else ''}_transcoder" if site == "transcoder" else "jumprelu",
        model=model or None, hook_name=hook_name, settings=RAW, config=data, notes=(note,) if note else (),
        metadata={key: value for key, value in metadata.items() if value is not None},
    )


def _place_2(file: _GemmaScope2File, label: str) -> tuple[str | None, int | None, str | None]:
    """Site and layer, from the configuration's hook point or else from the folders' names; and what is missing."""
    match = re.fullmatch(r"(?:\w+\.)*layers\.(\d{1,4})\.([\w.]+)", file.hf_hook_point_in or "")
    if match and match[2] in _HF_SITES:
        return _HF_SITES[match[2]], int(match[1]), None
    outer, inner = ("", "", *PurePath(label).parts)[-2:]
    named = re.fullmatch(r"(resid_post|mlp_out|attn_out|transcoder)(?:_all)?", outer)
    if not named:
        return None, None, "Where in the model the SAE reads is neither in a configuration nor in the folders' names."
    layer = re.search(r"layer_(\d{1,4})_width_", inner)
    return named[1], int(layer[1]) if layer else None, None if layer else "The path does not say which layer."


GEMMA_SCOPE_2 = Format("gemma_scope_2", _matches_2, _look_2, config_file=_CONFIG_2)
