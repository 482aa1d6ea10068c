"""The state dicts of miStudio's models, in which its two generations differ.

Matrices lie the other way than here. What the tensors are called tells the class and nearly always the generation:

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

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.header import Header

_ENCODER = {"W_enc": "encoder.weight", "b_enc": "encoder.bias"}


@dataclass(frozen=True, slots=True)
class State:
    """How the tensors of one checkpoint become ours.

    Attributes:
        kind: ``"standard"``, ``"topk"``, ``"transcoder"`` or ``"jumprelu"``.
        names: our name → the file's; names of ours beginning with ``+`` and ``-`` are added to the output, and
            subtracted from the input, besides.
        tied: the decoder is the encoder's transpose.
        centred: whether b_dec is subtracted from the input; None where the tensors do not tell.
    """

    kind: str
    names: Mapping[str, str]
    d_in: int
    d_sae: int
    d_out: int
    tied: bool = False
    centred: bool | None = None

    @property
    def transposed(self) -> tuple[str, ...]:
        return ("W_enc", "W_dec")


def read_state(header: Header, prefix: str = "") -> State:
    """What the tensors called `prefix`… are. Raises `FormatError` where they are none of the known classes'."""
    names = {name.removeprefix(prefix) for name in header.tensors if name.startswith(prefix)}
    if "W_enc" in names:
        state = _jumprelu(header, prefix, tied="W_dec" not in names)
    else:
        state = _linear(header, prefix, names)
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (state.d_sae, state.d_in), "b_enc": (state.d_sae,), "W_dec": (state.d_out, state.d_sae),
        "b_dec": (state.d_out,), "+b_dec": (state.d_out,), "-b_dec": (state.d_in,), "log_threshold": (state.d_sae,),
    }
    header.require(
        {theirs: shapes[ours] for ours, theirs in state.names.items()}, source="the other tensors", extra=True
    )
    extra = sorted(name for name in names if prefix + name not in set(state.names.values()))
    if extra:
        raise FormatError(
            f"There are unexpected tensors: {', '.join(extra)[:300]}.", where=header.where,
            hint="What they would do is not known here, so the SAE is not loaded without them.",
        )
    return state


def _jumprelu(header: Header, prefix: str, tied: bool) -> State:
    d_sae, d_in = _matrix(header, f"{prefix}W_enc")
    names = {"W_enc": "W_enc", "b_enc": "b_enc", "b_dec": "b_dec", "log_threshold": "activation.log_threshold"}
    names |= {} if tied else {"W_dec": "W_dec"}
    return State("jumprelu", _prefixed(names, prefix), d_in, d_sae, d_in, tied)


def _linear(header: Header, prefix: str, names: set[str]) -> State:
    d_sae, d_in = _matrix(header, f"{prefix}encoder.weight")
    tied = "decoder.weight" not in names
    d_out = d_in if tied else _matrix(header, f"{prefix}decoder.weight")[0]
    found = _ENCODER | ({} if tied else {"W_dec": "decoder.weight"})
    centred: bool | None
    if "b_pre" in names:
        kind, centred, found = "topk", True, found | {"b_dec": "b_pre"}
    elif "decoder_bias" not in names:
        kind, centred, found = "transcoder", False, found | {"b_dec": "decoder.bias"}
        if "b_enc_center" in names:
            found |= {"-b_dec": "b_enc_center"}
    else:
        kind, found = "standard", found | {"b_dec": "decoder_bias"}
        centred = None if tied else "decoder.bias" not in names
        if "decoder.bias" in names:
            found |= {"+b_dec": "decoder.bias"}
    return State(kind, _prefixed(found, prefix), d_in, d_sae, d_out, tied, centred)


def _matrix(header: Header, name: str) -> tuple[int, int]:
    rows, columns = header.shape(name, 2)
    return rows, columns


def _prefixed(names: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {ours: prefix + theirs for ours, theirs in names.items()}


def finish(state: State, tensors: dict[str, Tensor]) -> None:
    """Turn what was read by `state.names` into our tensors, in place."""
    if state.tied:
        tensors["W_dec"] = tensors["W_enc"].T.contiguous()
    if "+b_dec" in tensors:
        tensors["b_dec"] = tensors["b_dec"] + tensors.pop("+b_dec")
    if "-b_dec" in tensors:
        centre_encoder(tensors, tensors.pop("-b_dec"))
    if "log_threshold" in tensors:
        tensors["threshold"] = tensors.pop("log_threshold").float().exp()


def centre_encoder(tensors: dict[str, Tensor], centre: Tensor) -> None:
    """Let the encoder subtract `centre` [d_in] from its input by its bias: ``b_enc − centre @ W_enc``."""
    wide = torch.promote_types(tensors["b_enc"].dtype, torch.float32)
    moved = tensors["b_enc"].to(wide) - centre.to(wide) @ tensors["W_enc"].to(wide)
    tensors["b_enc"] = moved.to(tensors["b_enc"].dtype)


def add_identity(tensors: dict[str, Tensor]) -> None:
    """A linear path that adds the input to the output, as miStudio's skip autoencoders do."""
    b_dec = tensors["b_dec"]
    tensors["W_skip"] = torch.eye(b_dec.numel(), dtype=b_dec.dtype, device=b_dec.device)
