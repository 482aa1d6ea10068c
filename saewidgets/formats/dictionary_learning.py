"""dictionary_learning: ``config.json`` and the pickled state dict ``ae.pt``. It is read without unpickling.

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
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.dictionary_learning_files import (
    CONFIG_FILE,
    KINDS,
    OURS,
    TRAINED_AS,
    WEIGHTS_FILE,
    description,
    load_file,
    read_config,
)
from saewidgets.formats.jsonfile import encoded, plain
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.tensors import check_finite
from saewidgets.formats.whole import whole_folder
from saewidgets.sae import SAE

_WRITTEN = ("standard", "gated", "topk", "jumprelu")
_BATCH_TOPK = frozenset({*TRAINED_AS.values(), "matryoshka"})
_BLOCK = 1 << 21  # weights handled at once in float64: 16 MiB
_SITES = {"hook_resid_post": "resid_post", "hook_mlp_out": "mlp_out", "hook_attn_out": "attention_out"}


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
def save(sae: SAE, folder: Path) -> Path:
    """Write ``config.json`` and ``ae.pt``, which the package's `load_dictionary` opens.

    Raises:
        FormatError: the package has no class that computes what `sae` does.
        StorageError: the folder holds something else, or cannot be written.
    """
    k = _trained_k(sae)
    frozen = sae.to_inference()
    _check(frozen, folder)
    tensors = {name: tensor.detach().cpu() for name, tensor in frozen.inference_tensors().items()}
    check_finite(str(folder), tensors)
    name = _class(frozen, tensors, k)
    state = _state(name, tensors, centred=bool(frozen.cfg.apply_b_dec_to_input))
    if name in TRAINED_AS or name == "AutoEncoderTopK":
        k = k if name in TRAINED_AS else getattr(frozen.cfg, "k", None)
        threshold = tensors["threshold"][0].clone() if name in TRAINED_AS else torch.tensor(-1.0)  # −1: never set
        state |= {"k": torch.tensor(k, dtype=torch.int32), "threshold": threshold}
    config = encoded(_config(frozen, name, k), indent=4)
    with whole_folder(folder, replaceable=(CONFIG_FILE, WEIGHTS_FILE)) as draft:
        with (draft / WEIGHTS_FILE).open("wb") as file:  # a path instead hides why it failed
            torch.save(state, file)
        (draft / CONFIG_FILE).write_bytes(config)
    return folder


def _check(sae: SAE, folder: Path) -> None:
    cfg, reason = sae.cfg, None
    if cfg.architecture not in _WRITTEN:
        reason = f"its architecture is {cfg.architecture}, and only {', '.join(_WRITTEN)} are known there"
    elif cfg.normalize_activations != "none" or cfg.reshape_activations != "none":
        reason = "it normalises or reshapes activations"
    if reason:
        raise FormatError(
            f"dictionary_learning cannot express this SAE: {reason}.", where=str(folder), hint='Save it as "saelens".'
        )


def _trained_k(sae: SAE) -> int | None:
    """k of the batch top-k training that `sae` is in, or came from."""
    if sae.cfg.architecture in _BATCH_TOPK:
        found = getattr(sae.cfg, "k", None)
    else:
        details = sae.metadata.get("training_architecture_details")
        known = sae.metadata.get("training_architecture") in _BATCH_TOPK and isinstance(details, Mapping)
        found = details.get("k") if known and isinstance(details, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 1 <= found < 1 << 31:
        return None
    return int(found) if found == int(found) else None


def _class(sae: SAE, tensors: Mapping[str, Tensor], k: int | None) -> str:
    centred = bool(sae.cfg.apply_b_dec_to_input)
    if sae.cfg.architecture == "standard":
        norms = tensors["W_dec"].float().norm(dim=1)
        return "AutoEncoder" if centred and torch.allclose(norms, torch.ones_like(norms)) else "AutoEncoderNew"
    if sae.cfg.architecture == "jumprelu":
        threshold = tensors["threshold"]
        one_for_all = bool((threshold == threshold[0]).all()) and float(threshold[0]) >= 0
        return "BatchTopKSAE" if centred and one_for_all and k is not None else "JumpReluAutoEncoder"
    return {"gated": "GatedAutoEncoder", "topk": "AutoEncoderTopK"}[sae.cfg.architecture]


def _state(name: str, tensors: Mapping[str, Tensor], *, centred: bool) -> dict[str, Tensor]:
    """The package's tensors of the class `name`, each with a storage of its own: a view is saved whole."""
    kind = KINDS[name]
    tensors = dict(tensors)
    if centred != kind.centred:
        _move_bias(tensors, 1 if kind.centred else -1)
    state = {}
    for ours, theirs in kind.names.items():
        tensor = tensors[ours].T if kind.linear and tensors[ours].dim() == 2 else tensors[ours]
        state[theirs] = tensor.clone(memory_format=torch.contiguous_format)
    return state


def _move_bias(tensors: dict[str, Tensor], sign: int) -> None:
    """Add ``sign · b_dec · W_enc`` to the biases that follow the encoder's matrix, in float64. All tensors are of at
    least float32 afterwards: a shorter format would round the sum, and one dtype is what every reader can take."""
    encoder, bias = tensors["W_enc"], sign * tensors["b_dec"].double()
    step = max(1, _BLOCK // encoder.shape[0])
    shift = torch.cat([bias @ encoder[:, at : at + step].double() for at in range(0, encoder.shape[1], step)])
    wide = torch.promote_types(encoder.dtype, torch.float32)
    moved: dict[str, Tensor] = {}
    for name in ("b_enc", "b_gate"):
        if name in tensors:
            moved[name] = tensors[name].double() + shift
    if "b_mag" in tensors:
        moved["b_mag"] = tensors["b_mag"].double() + tensors["r_mag"].double().exp() * shift
    tensors |= {name: tensor.to(wide) for name, tensor in {**tensors, **moved}.items()}


def _config(sae: SAE, name: str, k: int | None) -> dict[str, Any]:
    """Keys as the package's trainers write them, as far as they are known; `ctx_len` is what sae-lens asks for.

    The package keeps to those it knows, so `OURS` has what they have no place for.
    """
    hook = sae.metadata.get("hook_name")
    place = re.fullmatch(r"blocks\.([0-9]{1,4})\.([\w.]+)", hook) if isinstance(hook, str) else None
    site = place and _SITES.get(place[2])
    trainer: dict[str, Any] = {
        "trainer_class": None, "dict_class": name, "activation_dim": sae.d_in, "dict_size": sae.d_sae,
        "layer": int(place[1]) if place else None, "lm_name": _text(sae.metadata.get("model_name")) or "",
        "submodule_name": f"{site}_layer_{place[1]}" if place and site else _text(hook), "device": "cpu",
    }
    if k is not None and (name in TRAINED_AS or name == "AutoEncoderTopK"):
        trainer["k"] = k
    context = sae.metadata.get("context_size")
    return {
        "trainer": trainer,
        "buffer": {"d_submodule": sae.d_in, "io": "out", "ctx_len": context if type(context) is int else None},
        **({OURS: plain(sae.metadata)} if sae.metadata else {}),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


FILES = (CONFIG_FILE, WEIGHTS_FILE)


def matches(source: Source) -> bool:
    """By the names of both files."""
    return all(name in source.files() for name in FILES)


def describe(source: Source) -> Description:
    """What the configuration says, and for files on this machine whether the tensors agree."""
    return description(FORMAT.name, read_config(source), source, WEIGHTS_FILE, FILES)


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `folder`, frozen."""
    source = FolderSource(folder)
    return load_file(describe(source), read_config(source), source, WEIGHTS_FILE, device=device, dtype=dtype)


FORMAT = Format("dictionary_learning", "dictionary_learning", matches, describe, load, save, config_file=CONFIG_FILE)
