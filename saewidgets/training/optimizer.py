"""Adam as training uses it: fused where possible, learning rate set at every step, state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from saewidgets.config.optimizer import OptimizerConfig
from saewidgets.errors import FormatError

_STATE = ("exp_avg", "exp_avg_sq", "step")


class Trainable(Protocol):
    """What the optimiser needs of an SAE."""

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Parameter groups for torch.optim, each with its own peak `lr`."""

    def named_parameters(self) -> Any:
        """As in `torch.nn.Module`."""


class Adam:
    """Adam, or AdamW when there is weight decay, over an SAE's parameter groups.

    Attributes:
        optimizer: the torch optimiser.
        fused: whether the fused kernel is in use; it rounds differently from the plain one, so resume must know.
    """

    def __init__(self, sae: Trainable, config: OptimizerConfig) -> None:
        self._names = {id(parameter): name for name, parameter in sae.named_parameters()}
        self._clip = config.grad_clip
        groups = [{"lr": config.lr, **group} for group in sae.param_groups(config.lr)]
        kind = torch.optim.AdamW if config.weight_decay > 0 else torch.optim.Adam
        settings: dict[str, Any] = {
            "betas": (config.beta1, config.beta2), "eps": config.eps, "weight_decay": config.weight_decay
        }
        try:
            self.optimizer: torch.optim.Optimizer = kind(groups, fused=True, **settings)
            self.fused = True
        except RuntimeError:  # how torch says that it has no fused kernel for this device
            self.optimizer = kind(groups, **settings)
            self.fused = False
        self._peaks = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.parameters: list[nn.Parameter] = [p for g in self.optimizer.param_groups for p in g["params"]]

    def set_lr(self, factor: float) -> float:
        """Set every group to `factor` times its peak; returns the first group's learning rate."""
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        return float(self.optimizer.param_groups[0]["lr"])

    def clip(self) -> Tensor:
        """Clip the gradients to the configured norm. Returns the norm before clipping (0-d, on the device)."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        if self._clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self._clip, norm)
        return norm

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def forget(self, entries: Mapping[str, Any]) -> None:
        """Zero the moments of some entries: parameter name → what indexes them. The count of steps goes on."""
        for parameter in self.parameters:
            state = self.optimizer.state.get(parameter)
            index = entries.get(self._names[id(parameter)])
            if state and index is not None:
                for key in _STATE[:2]:
                    state[key][index] = 0.0

    def tensors(self) -> dict[str, Tensor]:
        """The state by name: ``"W_enc.exp_avg"``, ``"W_enc.exp_avg_sq"``, ``"W_enc.step"``, …"""
        return {
            f"{self._names[id(parameter)]}.{key}": torch.as_tensor(self.optimizer.state[parameter][key])
            for parameter in self.parameters
            if parameter in self.optimizer.state
            for key in _STATE
        }

    def load(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Continue with the state in `tensors`; `source` names the file in errors.

        Raises:
            FormatError: a tensor is missing, belongs to no parameter, or has the wrong shape.
        """
        expected = {f"{self._names[id(p)]}.{key}" for p in self.parameters for key in _STATE}
        if tensors and (difference := expected.symmetric_difference(tensors)):
            raise FormatError(f"The optimiser state does not fit: {', '.join(sorted(difference))}.", where=source)
        for parameter in self.parameters if tensors else ():
            name = self._names[id(parameter)]
            state: dict[str, Tensor] = {}
            for key in _STATE[:2]:
                loaded = tensors[f"{name}.{key}"]
                if loaded.shape != parameter.shape:
                    raise FormatError(
                        f"{name}.{key} is {list(loaded.shape)}, expected {list(parameter.shape)}.", where=source
                    )
                # same strides as the parameter: the fused kernel walks both by position
                state[key] = torch.empty_like(parameter, requires_grad=False).copy_(loaded)
            device = parameter.device if self.fused else torch.device("cpu")  # where torch keeps the count
            state["step"] = tensors[f"{name}.step"].to(device, torch.float32, copy=True)
            self.optimizer.state[parameter] = state
