"""Defines `Adam`, fused where possible, its state as named tensors, and `Precision`, its number format."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from saewidgets.config.training import OptimizerConfig
from saewidgets.errors import ConfigError, FormatError
from saewidgets.sae import SAE

_STATE = ("exp_avg", "exp_avg_sq", "step")


class Adam:
    """Adam, or AdamW when there is weight decay, over an SAE's parameter groups. `fused` says whether the fused kernel
    is in use: it rounds differently from the plain one, so resume must know."""

    def __init__(self, sae: SAE, config: OptimizerConfig) -> None:
        self._names = {id(parameter): name for name, parameter in sae.named_parameters()}
        self._clip, self._mesh = config.grad_clip, sae.mesh
        assert config.lr is not None  # the run says what an empty one means
        groups = [{"lr": config.lr, **group} for group in sae.param_groups(config.lr)]
        self.parameters: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        # torch's kernel copies what does not lie in order, so it gets such a matrix turned
        self._given = {p: p if p.is_contiguous() else nn.Parameter(p.detach().T) for p in self.parameters}
        groups = [{**group, "params": [self._given[p] for p in group["params"]]} for group in groups]
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

    def set_lr(self, factor: float) -> None:
        """Set every group to `factor` times its peak."""
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor

    def clip(self) -> Tensor:
        """Clip the gradients to the configured norm. Returns the norm before clipping (0-d, on the device)."""
        norm = self._mesh.norm({self._names[id(p)]: p.grad for p in self.parameters if p.grad is not None})
        if self._clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self._clip, norm)
        return norm

    def take_gradients(self) -> None:
        """After backward; where several workers train, gradients of the batch from those of everybody's share."""
        self._mesh.average_gradients({self._names[id(parameter)]: parameter for parameter in self.parameters})
        for parameter, given in self._given.items():
            if given is not parameter:
                given.grad = None if parameter.grad is None else parameter.grad.T

    def zero_grad(self) -> None:
        for each in (*self._given, *self._given.values()):
            each.grad = None

    def _state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Adam's tensors of a parameter, of its shape; empty before the first step."""
        given = self._given[parameter]
        found = {key: torch.as_tensor(tensor) for key, tensor in self.optimizer.state.get(given, {}).items()}
        return found if given is parameter else {key: t.T if t.dim() else t for key, t in found.items()}

    @torch.no_grad()
    def forget(self, entries: Mapping[str, Any]) -> None:
        """Zero the moments of some entries: parameter name → what indexes them. The count of steps goes on."""
        for parameter in self.parameters:
            state, index = self._state(parameter), entries.get(self._names[id(parameter)])
            for key in _STATE[:2] if state and index is not None else ():
                state[key][index] = 0.0

    def tensors(self) -> dict[str, Tensor]:
        """The state by name: ``"W_enc.exp_avg"``, ``"W_enc.exp_avg_sq"``, ``"W_enc.step"``, …"""
        return {
            f"{self._names[id(parameter)]}.{key}": tensor
            for parameter in self.parameters
            for key, tensor in self._state(parameter).items()
        }

    def load(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Continue with the state in `tensors`. Raises `FormatError`, which names the file `source`, where one is
        missing, belongs to no parameter, or has the wrong shape."""
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
                given = self._given[parameter]
                state[key] = torch.empty_like(given, requires_grad=False)
                state[key].copy_(loaded if given is parameter else loaded.T)
            device = parameter.device if self.fused else torch.device("cpu")  # where torch keeps the count
            state["step"] = tensors[f"{name}.step"].to(device, torch.float32, copy=True)
            self.optimizer.state[self._given[parameter]] = state


Name = Literal["float32", "bfloat16", "float16"]

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


# Mixed precision: parameters stay float32, matrix products run in the chosen format.
#
# float16 has little range, so its loss is scaled up before backward and the gradients are scaled down again
# (Micikevicius et al. 2018); a step whose gradients overflowed is skipped and the scale halved. bfloat16 needs none of
# that.
class Precision:
    """The number format of one run on one device. Raises `ConfigError` where this device (or this torch build) cannot
    compute in it."""

    def __init__(self, name: Name, device: torch.device | str) -> None:
        self.name = name
        self.device = torch.device(device)
        self.dtype = _DTYPES.get(name)
        if self.dtype is not None:
            _probe(self.dtype, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=name == "float16")

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for the forward pass. The setting is per thread: cells that run meanwhile do not see it."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients back to their true size, before they are measured, clipped or projected."""
        self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One optimiser step, skipped when float16 gradients overflowed."""
        self.scaler.step(optimizer)
        self.scaler.update()

    def overflows(self) -> bool:
        """Whether float16 gradients overflow however small their scale: nothing is learned. Waits for the device.

        Every skipped step halves the scale, which begins at 65,536; gradients of a healthy run fit long before 2^-10.
        """
        return self.scaler.is_enabled() and self.scaler.get_scale() < 2**-10

    def state(self) -> dict[str, Any]:
        return dict(self.scaler.state_dict())

    def load(self, state: dict[str, Any]) -> None:
        if self.scaler.is_enabled() and state:
            self.scaler.load_state_dict(state)


def _probe(dtype: torch.dtype, device: torch.device) -> None:
    """One tiny product: the only reliable way to learn whether a kernel for this format exists here."""
    short = str(dtype).removeprefix("torch.")
    try:
        if device.type == "cuda" and dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported():
            raise RuntimeError("no bfloat16 on this GPU")
        a = torch.ones(4, 4, device=device, requires_grad=True)
        with torch.autocast(device.type, dtype=dtype):
            total = (a @ a).float().sum()
        torch.autograd.grad(total, a)
    except (RuntimeError, NotImplementedError) as error:
        raise ConfigError(
            f"{short} cannot be computed on {device} here ({str(error).splitlines()[0]}).",
            where="precision",
            hint="Use float32.",
        ) from error
