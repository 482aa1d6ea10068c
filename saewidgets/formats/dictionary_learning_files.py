"""What dictionary_learning's files say: its classes, the configuration of a trainer, and the tensors of each class."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description
from saewidgets.formats.foreign import Settings, Width, add_notes, build, fold_decoder_norm, read, scaled
from saewidgets.formats.header import Header
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.pickled import Pickled, read_pickled
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.tensors import read_tensors
from saewidgets.sae import SAE

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "ae.pt"
OURS = "metadata"  # a key beside `trainer` and `buffer` that only what is written here has


@dataclass(frozen=True, slots=True)
class Kind:
    """How one `dict_class` is stored: our name → its name; matrices that lie the other way; scalars besides."""

    architecture: str
    names: Mapping[str, str]
    centred: bool = True
    linear: bool = True
    scalars: tuple[str, ...] = ()
    ignored: tuple[str, ...] = field(default=())


_LINEAR = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight"}
_PLAIN = {"W_enc": "W_enc", "b_enc": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
KINDS = {
    "AutoEncoder": Kind("standard", _LINEAR | {"b_dec": "bias"}),
    "AutoEncoderNew": Kind("standard", _LINEAR | {"b_dec": "decoder.bias"}, centred=False),
    "GatedAutoEncoder": Kind("gated", {
        "W_enc": "encoder.weight", "W_dec": "decoder.weight", "b_dec": "decoder_bias", "r_mag": "r_mag",
        "b_gate": "gate_bias", "b_mag": "mag_bias",
    }),
    "AutoEncoderTopK": Kind("topk", _LINEAR | {"b_dec": "b_dec"}, scalars=("k", "threshold")),
    "BatchTopKSAE": Kind("jumprelu", _LINEAR | {"b_dec": "b_dec"}, scalars=("k", "threshold")),
    "MatryoshkaBatchTopKSAE": Kind(
        "jumprelu", _PLAIN, linear=False, scalars=("k", "threshold"), ignored=("group_sizes",)
    ),
    "JumpReluAutoEncoder": Kind("jumprelu", _PLAIN | {"threshold": "threshold"}, centred=False, linear=False),
}
# What a training of ours that ends as a jumprelu is called there, and the other way round.
TRAINED_AS = {"BatchTopKSAE": "batchtopk", "MatryoshkaBatchTopKSAE": "matryoshka_batchtopk"}
_SITES = {"resid": "hook_resid_post", "mlp": "hook_mlp_out", "attn": "hook_attn_out", "attention": "hook_attn_out"}


class Trainer(Settings):
    """The part `trainer` of a configuration."""

    dict_class: str
    activation_dim: Width
    dict_size: Width
    k: int | None = Field(default=None, ge=1)
    lm_name: str | None = None
    layer: int | str | None = None
    submodule_name: str | None = None


class _File(Settings):
    trainer: Trainer


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that was read: `where` is what errors call it."""

    trainer: Trainer
    kind: Kind
    data: dict[str, Any]
    where: str

    @property
    def context_size(self) -> int | None:
        buffer = self.data.get("buffer")
        found = buffer.get("ctx_len") if isinstance(buffer, dict) else None
        return found if type(found) is int and 0 < found < 1 << 31 else None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was written here and has no place among the package's keys."""
        found = self.data.get(OURS)
        return found if isinstance(found, dict) else {}


def read_config(source: Source) -> Config:
    """``config.json`` in `source`. Raises `FormatError` naming the key that is wrong."""
    data, where = read_json(source, CONFIG_FILE), f"{source.label}/{CONFIG_FILE}"
    trainer = checked(_File, data, where).trainer
    if trainer.dict_class not in KINDS:
        raise FormatError(
            f"The class {trainer.dict_class[:40]!r} is not known.", where=f"{where}: trainer.dict_class",
            hint=f"Known: {', '.join(KINDS)}.",
        )
    kind = KINDS[trainer.dict_class]
    if kind.architecture == "topk" and trainer.k is None:
        raise FormatError("The value is missing.", where=f"{where}: trainer.k", hint="A top-k SAE needs k.")
    return Config(trainer, kind, data, where)


def description(format: str, config: Config, source: Source, file: str, files: tuple[str, ...]) -> Description:
    """What `config` says, and for `file` on this machine whether its tensors agree."""
    trainer, kind = config.trainer, config.kind
    settings: dict[str, Any] = {"apply_b_dec_to_input": kind.centred}
    if kind.architecture == "topk":
        settings["k"] = trainer.k
    dtype = None
    notes = []
    if isinstance(source, FolderSource):
        found = read_pickled(source, file)
        state = _state(found)
        header = state.header()
        _check(header, kind, trainer)
        dtype = str(_widest(header.tensors[name].torch_dtype for name in kind.names.values())).removeprefix("torch.")
        if state is not found:
            notes.append("This is the backup of a training that has not ended.")
    hook_name = _hook(trainer) or _text(config.metadata.get("hook_name"))
    if hook_name is None:
        notes.append("Where in the model the SAE reads is not clear from the configuration.")
    sizes = source.files()
    return Description(
        format=format, architecture=kind.architecture, d_in=trainer.activation_dim, d_sae=trainer.dict_size,
        d_out=trainer.activation_dim, dtype=dtype, files=files, size_bytes=sum(sizes.get(name, 0) for name in files),
        model=trainer.lm_name or _text(config.metadata.get("model_name")),
        hook_name=hook_name, settings=settings, config=config.data, notes=tuple(notes),
    )


def load_file(
    about: Description, config: Config, source: FolderSource, file: str, *, device: torch.device,
    dtype: torch.dtype | None,
) -> SAE:
    """The SAE in the state dict `file`, frozen; `about` is its `description`, which checked the shapes."""
    trainer, kind = config.trainer, config.kind
    found = read_pickled(source, file)
    state = _state(found)
    matrices = ("W_enc", "W_dec") if kind.linear else ()
    tensors = read(source, state.header(), file, kind.names, device=device, transposed=matrices)
    k = trainer.k
    if "k" in kind.scalars:
        k = _read_scalars(source, file, state, config, tensors)
    if state is not found:
        _finish_backup(found, tensors)
    notes = []
    if trainer.dict_class == "AutoEncoder":  # in float32, as the package does whatever is stored
        wide = {name: tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for name, tensor in tensors.items()}
        if fold_decoder_norm(wide, above=1e-5):
            tensors = wide
            notes.append("Decoder rows were scaled to norm one, and latents with them, as dictionary_learning does.")
        del wide
    widest = _widest(tensor.dtype for tensor in tensors.values())  # a bias beside shorter weights keeps its digits
    own = {key: value for key, value in config.metadata.items() if key not in ("model_name", "hook_name")}
    sae = build(about, tensors, where=state.where, device=device, dtype=dtype or widest, metadata=own)
    sae.metadata["dict_class"] = trainer.dict_class
    if (context := config.context_size) is not None:
        sae.metadata["context_size"] = context
    if trainer.dict_class in TRAINED_AS and own.get("training_architecture") not in TRAINED_AS.values():
        sae.metadata["training_architecture"] = TRAINED_AS[trainer.dict_class]
        sae.metadata["training_architecture_details"] = {"k": k}
    add_notes(sae, notes)
    return sae


def _widest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    """The number format that holds what all of `dtypes` hold."""
    return functools.reduce(torch.promote_types, dtypes)


def _state(found: Pickled) -> Pickled:
    """The state dict: the file itself, or the part ``ae`` of a backup."""
    return found.within("ae") if isinstance(found.value.get("ae"), dict) else found


def _check(header: Header, kind: Kind, trainer: Trainer) -> None:
    d_in, d_sae = trainer.activation_dim, trainer.dict_size
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    expected = {}
    for ours, theirs in kind.names.items():
        shape = shapes.get(ours, (d_sae,))
        expected[theirs] = shape[::-1] if kind.linear else shape
    tensors = {name: info for name, info in header.tensors.items() if name not in (*kind.scalars, *kind.ignored)}
    Header(header.where, tensors).require(expected, source=CONFIG_FILE)
    for name in kind.scalars:
        if name in header.tensors or (name == "threshold" and kind.architecture == "jumprelu"):
            header.shape(name, 0)  # early top-k files have neither


def _read_scalars(
    source: FolderSource, file: str, state: Pickled, config: Config, tensors: dict[str, Tensor]
) -> int | None:
    """k as both files have it; the one threshold of batch top-k goes into `tensors`."""
    names = [name for name in config.kind.scalars if name in state.value]
    found = read_tensors(source.path(file), state.header(), names)
    k = int(found["k"]) if "k" in found else config.trainer.k
    if config.trainer.k not in (None, k):
        raise FormatError(
            f"k is {k}, but {CONFIG_FILE} says {config.trainer.k}.", where=f"{state.where}: k",
            hint="Configuration and weights belong to different SAEs, or one of them was altered.",
        )
    if config.kind.architecture == "jumprelu":  # −1: a threshold that was never set, every positive latent passes
        threshold, bias = found["threshold"].clamp_min(0.0).to(tensors["b_enc"].device), tensors["b_enc"]
        short = threshold.to(bias.dtype)
        tensors["threshold"] = (short if short == threshold else threshold).expand(bias.shape).clone()
    return k


def _finish_backup(found: Pickled, tensors: dict[str, Tensor]) -> None:
    """What the end of a training does to an SAE that learned on activations divided by `norm_factor`."""
    factor = found.plain().get("norm_factor", 1.0)
    factor = 1.0 if factor is None else factor
    if type(factor) not in (int, float) or not 0 < factor < 1e9:
        raise FormatError(
            f"The factor is {str(factor)[:40]!r}, expected a positive number.", where=f"{found.where}: norm_factor"
        )
    for name in ("b_enc", "b_dec", "b_gate", "b_mag", "threshold"):
        if name in tensors:
            wide = torch.promote_types(tensors[name].dtype, torch.float32)
            tensors[name] = scaled(tensors[name].to(wide), float(factor))


def _hook(trainer: Trainer) -> str | None:
    """The hook name that `layer` and `submodule_name` stand for: ``resid_post_layer_8``, or a hook name itself."""
    layer = str(trainer.layer)
    name = trainer.submodule_name or "resid"
    if re.fullmatch(r"blocks\.\d{1,4}\.[\w.]{1,60}|hook_embed", name):
        return name
    site = re.match(r"(resid|mlp|attn|attention)(?:_post|_out)?(?:_layer_?\d+)?$", name)
    return f"blocks.{int(layer)}.{_SITES[site[1]]}" if layer.isdecimal() and len(layer) < 5 and site else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
