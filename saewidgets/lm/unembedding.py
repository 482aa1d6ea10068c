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

from saewidgets.lm.forward import forward, input_device
from saewidgets.lm.model_config import encodes
from saewidgets.lm.norms import gain_and_bias
from saewidgets.lm.sites import HookError

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
    norm, projection = _before_head(model, head)
    if projection is not None:  # of a stream wider than the embeddings (opt-350m)
        weight = weight.detach() @ projection
    if norm is None:
        return Unembedding(weight, None, centred=False)
    try:
        gain, _, centred = gain_and_bias(norm, weight.shape[1], weight.device, weight.dtype)
    except ValueError as error:
        raise HookError(
            f"The final norm, {type(norm).__name__}, is neither a LayerNorm nor an RMSNorm.", where="model",
            hint="Logit effects are not known for this model.",
        ) from error
    return Unembedding(weight, gain, centred)


def _before_head(model: nn.Module, head: nn.Module) -> tuple[nn.Module | None, Tensor | None]:
    """(final norm, ``[d_embed, d_model]`` projection of its output to the width of the embeddings); None where the
    model has neither: its head reads the last block."""
    owner = threading.get_ident()  # another thread may use the model meanwhile
    outputs: list[tuple[nn.Module, Tensor, Tensor]] = []  # module, what it read, what it returned
    read: list[Tensor] = []

    def on_output(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        x = args[0] if args else None
        if isinstance(output, Tensor) and isinstance(x, Tensor) and threading.get_ident() == owner:
            outputs.append((module, x, output))

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
    target, projection = read[-1], None
    while True:
        # In order of completion: the innermost module that made the tensor comes first.
        made = [
            (module, x) for module, x, y in outputs if y.data_ptr() == target.data_ptr() and y.shape == target.shape
        ]
        if not made:
            return None, projection
        module, x = made[0]
        if all(parameter.dim() == 1 for parameter in module.parameters()):
            return (module if _changes(x, target) else None), projection
        if not isinstance(module, nn.Linear):
            return None, projection
        matrix = module.weight.detach()
        target, projection = x, matrix if projection is None else projection @ matrix


def _changes(x: Tensor, y: Tensor) -> bool:
    """Whether a module without matrices computes something (dropout does not)."""
    return x.data_ptr() != y.data_ptr() and not torch.equal(x, y)
