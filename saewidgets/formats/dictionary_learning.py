"""Defines the formats of dictionary_learning: ``config.json`` and the pickled state dict ``ae.pt``, and checkpoints.

`dict_class` in the configuration says which of seven autoencoders it is. With W the encoder's matrix, p = W x̃ + b:

| dict_class | x̃ | f |
|---|---|---|
| AutoEncoder | x − bias | relu(p), decoder columns scaled to norm one, as `load_dictionary` does |
| AutoEncoderNew | x | relu(p) |
| GatedAutoEncoder | x − decoder_bias | relu(exp(r_mag)·W x̃ + mag_bias) where W x̃ + gate_bias > 0 |
| AutoEncoderTopK | x − b_dec | the k largest of relu(p) |
| BatchTopKSAE, MatryoshkaBatchTopKSAE | x − b_dec | relu(p) where it exceeds one threshold for all |
| JumpReluAutoEncoder | x | p where it exceeds the latent's threshold |

While training goes on, ``ae.pt`` is another table with the state dict under ``ae`` and biases still scaled by
`norm_factor`; such a backup is read as what a finished training would have written.

Checkpoints ``checkpoints/ae_{step}.pt`` lie below a trainer's folder, whose ``config.json`` they share. Each is a state
dict like ``ae.pt``, with its biases already scaled for raw activations.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from saewidgets.config.names import text_or_none
from saewidgets.errors import FormatError
from saewidgets.formats import unused
from saewidgets.formats.archives import PickledDict, read_pickled
from saewidgets.formats.format import (
    LINEAR,
    MATRICES,
    SAME,
    FileSettings,
    Format,
    Part,
    ReadPlan,
    SAEExport,
    Width,
    config_of,
    has,
    named,
    only,
)
from saewidgets.formats.source import FolderSource, Source, encoded, plain
from saewidgets.sae import SAE
from saewidgets.sae.scaler import fold_decoder_norm, shift_input

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "ae.pt"
_OURS = "metadata"  # a key beside `trainer` and `buffer` that only what is written here has
_CHECKPOINT = re.compile(r"ae_([0-9]{1,9})\.pt")


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one `dict_class` is stored: our name → its name; whether b_dec is subtracted and matrices lie the other way;
    scalars besides."""

    architecture: str
    names: Mapping[str, str]
    centred: bool = True
    linear: bool = True
    scalars: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


_KINDS = {
    "AutoEncoder": _Kind("standard", LINEAR | {"b_dec": "bias"}),
    "AutoEncoderNew": _Kind("standard", LINEAR, centred=False),
    "GatedAutoEncoder": _Kind("gated", {
        "W_enc": "encoder.weight", "W_dec": "decoder.weight", "b_dec": "decoder_bias", "r_mag": "r_mag",
        "b_gate": "gate_bias", "b_mag": "mag_bias",
    }),
    "AutoEncoderTopK": _Kind("topk", LINEAR | {"b_dec": "b_dec"}, scalars=("k", "threshold")),
    "BatchTopKSAE": _Kind("jumprelu", LINEAR | {"b_dec": "b_dec"}, scalars=("k", "threshold")),
    "MatryoshkaBatchTopKSAE": _Kind(
        "jumprelu", SAME, linear=False, scalars=("k", "threshold"), ignored=("group_sizes",)
    ),
    "JumpReluAutoEncoder": _Kind("jumprelu", SAME | {"threshold": "threshold"}, centred=False, linear=False),
}
# What a training of ours that ends as a jumprelu is called there, and the other way round.
_TRAINED_AS = {"BatchTopKSAE": "batchtopk", "MatryoshkaBatchTopKSAE": "matryoshka_batchtopk"}
_SITES = {"resid": "hook_resid_post", "mlp": "hook_mlp_out", "attn": "hook_attn_out", "attention": "hook_attn_out"}


class _Trainer(FileSettings):
    ignored = unused.DICTIONARY_LEARNING
    dict_class: str
    activation_dim: Width
    dict_size: Width
    k: int | None = Field(default=None, ge=1)
    lm_name: str | None = None
    layer: int | str | None = None
    submodule_name: str | None = None


class _ConfigFile(FileSettings):
    ignored = frozenset({"buffer", _OURS})
    trainer: _Trainer


def _look_at_checkpoint(source: Source) -> ReadPlan:
    """Its ``config.json`` is in the folder around ``checkpoints``, or in its own."""
    file, match = only(source, _CHECKPOINT, "ae_….pt")
    here = isinstance(source, FolderSource)
    folders = (source.folder, source.folder.parent) if isinstance(source, FolderSource) else ()
    homes = (home for home in (FolderSource(folder, 0) for folder in folders) if CONFIG_FILE in home.files())
    if (home := next(homes, None)) is None:
        missing = "missing" if here else "not fetched with it"
        raise FormatError(
            f"A checkpoint is described by {CONFIG_FILE} in the trainer's folder, which is {missing}.",
            where=source.label, hint=f"Put {CONFIG_FILE} into the folder around it." if here else
            "Take the trainer's ae.pt, or download its whole folder and load the checkpoint.",
        )
    found = _look(source, home, (file,))
    found.metadata |= {"training_step": int(match[1])} if match else {}
    return found


def _look(source: Source, home: Source | None = None, files: tuple[str, ...] = (CONFIG_FILE, WEIGHTS_FILE)) -> ReadPlan:
    """The look at the last of `files` by the configuration in `home`; on this machine its tensors must agree."""
    file, data, where = config_of(home or source, CONFIG_FILE, _ConfigFile)
    trainer, name = file.trainer, file.trainer.dict_class
    if name not in _KINDS:
        raise FormatError(
            f"The class {name[:40]!r} is not known.", where=f"{where}: trainer.dict_class",
            hint=f"Known: {', '.join(_KINDS)}.",
        )
    kind = _KINDS[name]
    if kind.architecture == "topk" and trainer.k is None:
        raise FormatError("The value is missing.", where=f"{where}: trainer.k", hint="A top-k SAE needs k.")
    ours = data.get(_OURS)
    own = ours if isinstance(ours, dict) else {}
    hook_name = _hook(trainer) or text_or_none(own.get("hook_name"))
    notes = [] if hook_name else ["Where in the model the SAE reads is not clear from the configuration."]
    metadata = {key: value for key, value in own.items() if key not in ("model_name", "hook_name")}
    metadata["dict_class"] = name
    buffer = data.get("buffer")
    context = buffer.get("ctx_len") if isinstance(buffer, dict) else None
    if type(context) is int and 0 < context < 1 << 31:
        metadata["context_size"] = context
    found = ReadPlan(
        files=files, header=None, names=kind.names, transposed=MATRICES if kind.linear else (),
        d_in=trainer.activation_dim, d_sae=trainer.dict_size, said_by=CONFIG_FILE,
        architecture=kind.architecture, hook_name=hook_name,
        model=trainer.lm_name or text_or_none(own.get("model_name")),
        settings={"apply_b_dec_to_input": kind.centred} | ({"k": trainer.k} if kind.architecture == "topk" else {}),
        config=data, notes=notes, metadata=metadata,
    )
    return _with_tensors(found, trainer, read_pickled(source, files[-1])) if isinstance(source, FolderSource) else found


def _with_tensors(look: ReadPlan, trainer: _Trainer, found: PickledDict) -> ReadPlan:
    """`look`, checked against the state dict: the file itself, or the part ``ae`` of a training's backup."""
    kind, backup = _KINDS[trainer.dict_class], isinstance(found.value.get("ae"), dict)
    if backup:
        found.require_known(unused.BACKUP)
    header = (found.within("ae") if backup else found).header()
    scalars = [name for name in kind.scalars if name in header.tensors]  # early top-k files have neither
    if kind.architecture == "jumprelu" and "threshold" in kind.scalars and "threshold" not in scalars:
        header.shape("threshold", 0)
    tensors = {name: info for name, info in header.tensors.items() if name not in kind.ignored}
    factor = found.plain().get("norm_factor") if backup else None
    factor = 1.0 if factor is None else factor
    if type(factor) not in (int, float) or not 0 < factor < 1e9:
        what = f"The factor is {str(factor)[:40]!r}, expected a positive number."
        raise FormatError(what, where=f"{header.where}: norm_factor")

    def fold(tensors: dict[str, Tensor]) -> list[str]:
        k, threshold = (tensors.pop(f"the {name}", None) for name in ("k", "threshold"))
        if k is not None and trainer.k not in (None, int(k)):
            raise FormatError(
                f"k is {int(k)}, but {CONFIG_FILE} says {trainer.k}.", where=f"{header.where}: k",
                hint="Configuration and weights belong to different SAEs, or one of them was altered.",
            )
        if threshold is not None and kind.architecture == "jumprelu":
            threshold, bias = threshold.clamp_min(0.0), tensors["b_enc"]  # −1: never set, every positive latent passes
            short = threshold.to(bias.dtype)
            tensors["threshold"] = (short if short == threshold else threshold).expand(bias.shape).clone()
        if trainer.dict_class in _TRAINED_AS and look.metadata.get("training_architecture") not in _TRAINED_AS.values():
            details = {"k": trainer.k if k is None else int(k)}
            look.metadata["training_architecture"] = _TRAINED_AS[trainer.dict_class]
            look.metadata["training_architecture_details"] = details
        for name in ("b_enc", "b_dec", "b_gate", "b_mag", "threshold") if backup else ():
            if name in tensors:  # the training learned on activations divided by the factor
                tensors[name] = tensors[name].to(_widest([tensors[name].dtype, torch.float32])) * factor
        notes = []
        if trainer.dict_class == "AutoEncoder":  # in float32, as the package does whatever is stored
            long = {name: tensor.to(_widest([tensor.dtype, torch.float32])) for name, tensor in tensors.items()}
            if fold_decoder_norm(long, above=1e-5):
                tensors |= long
                notes.append(
                    "Decoder rows were scaled to norm one, and latents with them, as dictionary_learning does."
                )
        widest = _widest(tensor.dtype for tensor in tensors.values())  # a bias beside shorter weights keeps its digits
        tensors["W_dec"] = tensors["W_dec"].to(widest)
        return notes

    checked = replace(
        look, header=replace(header, tensors=tensors), scalars={f"the {name}": name for name in scalars}, fold=fold,
        notes=[*(["This is the backup of a training that has not ended."] if backup else []), *look.notes],
    )
    checked.dtype = str(_widest(tensors[name].torch_dtype for name in kind.names.values())).removeprefix("torch.")
    return checked


def _widest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    """The number format that holds what all of `dtypes` hold."""
    return functools.reduce(torch.promote_types, dtypes)


def _hook(trainer: _Trainer) -> str | None:
    """The hook name of `layer` and `submodule_name`: ``resid_post_layer_8``, or a hook name itself."""
    layer = str(trainer.layer)
    name = trainer.submodule_name or "resid"
    if re.fullmatch(r"blocks\.\d{1,4}\.[\w.]{1,60}|hook_embed", name):
        return name
    site = re.match(r"(resid|mlp|attn|attention)(?:_post|_out)?(?:_layer_?\d+)?$", name)
    return f"blocks.{int(layer)}.{_SITES[site[1]]}" if layer.isdecimal() and len(layer) < 5 and site else None


_WRITTEN = ("standard", "gated", "topk", "jumprelu")
_BATCH_TOPK = frozenset({*_TRAINED_AS.values(), "matryoshka"})
_WRITTEN_SITES = {"hook_resid_post": "resid_post", "hook_mlp_out": "mlp_out", "hook_attn_out": "attention_out"}


# Writing dictionary_learning's ``config.json`` and ``ae.pt``, a table of plain tensors that `torch.save` pickles.
#
# The package's classes differ in whether they subtract b_dec. Where ours does the other thing, the encoder's bias
# takes b_dec · W_enc in, which is the same function; weights in a format shorter than float32 are then all written in
# float32, since the sum is not a number of theirs:
#
# | ours | dict_class | |
# |---|---|---|
# | standard | AutoEncoder | centred, decoder rows of norm one (`load_dictionary` would scale latents otherwise) |
# | standard | AutoEncoderNew | all others |
# | gated | GatedAutoEncoder | |
# | topk | AutoEncoderTopK | |
# | jumprelu | BatchTopKSAE | one threshold for all, from a batch top-k training with known k |
# | jumprelu | JumpReluAutoEncoder | all others |
def _save(saved: SAEExport) -> dict[str, Part]:
    """``config.json`` and ``ae.pt``, which the package's `load_dictionary` opens."""
    sae, cfg, k = saved.frozen, saved.frozen.cfg, _trained_k(saved.sae)
    known = f"and only {', '.join(_WRITTEN)} are known there"
    saved.refuse((cfg.architecture not in _WRITTEN, f"its architecture is {cfg.architecture}, {known}"))
    saved.refuse_changed_activations()
    tensors, centred = saved.tensors(), bool(cfg.apply_b_dec_to_input)
    name = {"gated": "GatedAutoEncoder", "topk": "AutoEncoderTopK"}.get(cfg.architecture, "")
    if cfg.architecture == "standard":
        norms = tensors["W_dec"].float().norm(dim=1)
        name = "AutoEncoder" if centred and torch.allclose(norms, torch.ones_like(norms)) else "AutoEncoderNew"
    elif cfg.architecture == "jumprelu":
        first = tensors["threshold"][0]
        one_for_all = bool((tensors["threshold"] == first).all()) and float(first) >= 0
        name = "BatchTopKSAE" if centred and one_for_all and k is not None else "JumpReluAutoEncoder"
    kind, scalars = _KINDS[name], dict[str, Tensor]()
    k = k if name in _TRAINED_AS else getattr(cfg, "k", None)
    if "k" in kind.scalars:
        threshold = tensors["threshold"][0].clone() if name in _TRAINED_AS else torch.tensor(-1.0)  # −1: never set
        scalars = {"k": torch.tensor(k, dtype=torch.int32), "threshold": threshold}
    if centred != kind.centred:
        # A format shorter than float32 would round the sum, and one dtype is what every reader can take.
        wide = torch.promote_types(tensors["W_enc"].dtype, torch.float32)
        tensors = {name: tensor.to(wide, copy=tensor.dim() == 1) for name, tensor in tensors.items()}
        shift_input(tensors, tensors["b_dec"] if kind.centred else -tensors["b_dec"])
    turned = MATRICES if kind.linear else ()
    # Each with a storage of its own: a view is saved whole.
    state = {
        theirs: (tensors[ours].T if ours in turned else tensors[ours]).clone(memory_format=torch.contiguous_format)
        for ours, theirs in kind.names.items()
    }
    return {WEIGHTS_FILE: state | scalars, CONFIG_FILE: encoded(_config(sae, name, k), indent=4)}


def _trained_k(sae: SAE) -> int | None:
    """k of the batch top-k training that `sae` is in, or came from."""
    details = sae.metadata.get("training_architecture_details")
    found = None
    if sae.cfg.architecture in _BATCH_TOPK:
        found = getattr(sae.cfg, "k", None)
    elif sae.metadata.get("training_architecture") in _BATCH_TOPK and isinstance(details, Mapping):
        found = details.get("k")
    if isinstance(found, bool) or not isinstance(found, int | float) or not 1 <= found < 1 << 31:
        return None
    return int(found) if found == int(found) else None


def _config(sae: SAE, name: str, k: int | None) -> dict[str, Any]:
    """Keys as the package's trainers write them, as far as they are known; `ctx_len` is what sae-lens asks for.

    The package keeps to those it knows, so `_OURS` has what they have no place for.
    """
    hook = sae.metadata.get("hook_name")
    place = re.fullmatch(r"blocks\.([0-9]{1,4})\.([\w.]+)", hook) if isinstance(hook, str) else None
    site = place and _WRITTEN_SITES.get(place[2])
    trainer: dict[str, Any] = {
        "trainer_class": None, "dict_class": name, "activation_dim": sae.d_in, "dict_size": sae.d_sae,
        "layer": int(place[1]) if place else None, "lm_name": text_or_none(sae.metadata.get("model_name")) or "",
        "submodule_name": f"{site}_layer_{place[1]}" if place and site else text_or_none(hook), "device": "cpu",
    }
    trainer |= {"k": k} if "k" in _KINDS[name].scalars else {}
    context = sae.metadata.get("context_size")
    return {
        "trainer": trainer,
        "buffer": {"d_submodule": sae.d_in, "io": "out", "ctx_len": context if type(context) is int else None},
        **({_OURS: plain(sae.metadata)} if sae.metadata else {}),
    }


DICTIONARY_LEARNING = Format(
    "dictionary_learning", has(CONFIG_FILE, WEIGHTS_FILE), _look, save=_save, config_file=CONFIG_FILE
)
DICTIONARY_LEARNING_CHECKPOINT = Format(
    "dictionary_learning_checkpoint", named(_CHECKPOINT), _look_at_checkpoint, single_file=True
)
