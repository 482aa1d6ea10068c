"""Defines `unembedding`: how a direction in the residual stream changes the logits of the next token.

Between the last block and the logits there are a norm and the unembedding. The norm divides by the size of the
residual stream, which is the same for all tokens of the vocabulary; what remains is linear:

    logits(h) = W_U · (γ ⊙ (h − mean(h))) / σ(h) + …        LayerNorm
    logits(h) = W_U · (γ ⊙ h) / σ(h) + …                    RMSNorm

so that a direction `d` changes them, for a given σ, in proportion to ``W_U · (γ ⊙ (d − mean(d)))``. As usual in the
field ("logit lens") that is reported without the division by σ, and centred: a change of all logits changes nothing.

Which module the norm is and what it multiplies by is measured rather than looked up by name: the module whose output
is the unembedding's input is the norm, and its γ follows from what it does to a known vector.
"""

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saewidgets.lm.hookpoints import HookError
from saewidgets.lm.hooks import forward, input_device
from saewidgets.lm.model_config import encodes

_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Unembedding:
    """The linear map from the residual stream to logits: W_U ``[vocab, d_model]``, γ of the final norm (None: there is
    no norm), and whether it subtracts the mean (LayerNorm)."""

    weight: Tensor
    gain: Tensor | None
    centred: bool

    @torch.no_grad()
    def effects(self, directions: Tensor) -> Tensor:
        """Change of every logit per unit along `directions`, ``[n, d_model]`` → ``[n, vocab]`` float32, mean zero."""
        d = directions.float()
        if self.centred:
            d = d - d.mean(-1, keepdim=True)
        if self.gain is not None:
            d = d * self.gain.to(d.device)
        found = (d.to(self.weight.device, self.weight.dtype) @ self.weight.T).float()
        return found - found.mean(-1, keepdim=True)


@torch.no_grad()
def unembedding(model: nn.Module) -> Unembedding:
    """Find the final norm and the unembedding of a transformers language model. Raises `HookError` where it is an
    encoder, has no output embeddings, or what precedes them is not a LayerNorm or RMSNorm."""
    head: Any = getattr(model, "get_output_embeddings", lambda: None)()
    weight: Any = getattr(head, "weight", None)
    known = isinstance(head, nn.Module) and isinstance(weight, Tensor) and weight.ndim == 2
    if encodes(model) or not known:
        why = "is an encoder and predicts no next token" if encodes(model) else "has no output embeddings"
        raise HookError(
            f"{type(model).__name__} {why}: logit effects are not defined.", where="model",
            hint="Use a causal language model.",
        )
    norm = _final_norm(model, head)
    if norm is None:
        return Unembedding(weight, None, centred=False)
    gain, centred = _measured(norm, weight)
    return Unembedding(weight, gain, centred)


def _final_norm(model: nn.Module, head: nn.Module) -> nn.Module | None:
    """The module whose output the head reads, if its parameters are vectors only; None if the head reads something
    else (the last block itself)."""
    owner = threading.get_ident()  # another thread may use the model meanwhile
    outputs: list[tuple[nn.Module, Tensor]] = []
    read: list[Tensor] = []

    def on_output(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and threading.get_ident() == owner:
            outputs.append((module, output))

    def on_head(_: nn.Module, args: tuple[object, ...]) -> None:
        if args and isinstance(args[0], Tensor) and threading.get_ident() == owner:
            read.append(args[0])

    with ExitStack() as stack:
        for module in model.modules():
            if module is not head:
                stack.enter_context(module.register_forward_hook(on_output))
        stack.enter_context(head.register_forward_pre_hook(on_head))
        forward(model, torch.zeros(1, 1, dtype=torch.long, device=input_device(model)))
    if not read:
        raise HookError(
            f"{type(model).__name__} does not use its output embeddings as a module.", where="model",
            hint="Logit effects are not known for this model.",
        )
    for module, output in outputs:  # in order of completion: the innermost module that made the tensor is first
        if output.data_ptr() == read[-1].data_ptr() and output.numel() == read[-1].numel():
            parameters = list(module.parameters(recurse=True))
            if parameters and all(p.ndim == 1 for p in parameters):
                return module
            return None
    return None


def _measured(norm: nn.Module, weight: Tensor) -> tuple[Tensor, bool]:
    """(γ, whether the mean is subtracted) of a norm, from its answers to x and −x (their difference has no bias)."""
    parameter = next(norm.parameters())
    d = weight.shape[1]
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(2, d, generator=generator) + 0.5 * torch.randn(2, 1, generator=generator)).to(parameter.device)
    y = ((norm(x.to(parameter.dtype)) - norm(-x.to(parameter.dtype))) / 2).float()
    x = x.to(parameter.dtype).float()
    for centred in (True, False):
        base = x - x.mean(-1, keepdim=True) if centred else x
        unit = base / base.pow(2).mean(-1, keepdim=True).sqrt()
        gain = (y[0] * unit[0] + y[1] * unit[1]) / (unit[0] ** 2 + unit[1] ** 2)
        off = (y - gain * unit).norm() / y.norm().clamp_min(1e-12)
        if float(off) < (_TOLERANCE if parameter.dtype == torch.float32 else 0.02):
            return gain, centred
    raise HookError(
        f"The final norm, {type(norm).__name__}, is neither a LayerNorm nor an RMSNorm.", where="model",
        hint="Logit effects are not known for this model.",
    )
