"""Mixed precision: parameters stay float32, matrix products run in the chosen format.

float16 has little range, so its loss is scaled up before backward and the gradients are scaled down again
(Micikevicius et al. 2018); a step whose gradients overflowed is skipped and the scale halved. bfloat16 needs none of
that.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from saewidgets.errors import ConfigError

Name = Literal["float32", "bfloat16", "float16"]

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """The number format of one run on one device.

    Raises:
        ConfigError: this device (or this torch build) cannot compute in that format; `where` is ``"precision"``.
    """

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
        """Backward through the (scaled) loss."""
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
        """The scaler's state as plain numbers; empty for formats that need none."""
        return dict(self.scaler.state_dict())

    def load(self, state: dict[str, Any]) -> None:
        """Continue with the scaler's state of a checkpoint."""
        if self.scaler.is_enabled() and state:
            self.scaler.load_state_dict(state)


def require_float32(module: nn.Module) -> None:
    """Check that every parameter is float32 (a programming error otherwise: the SAE is built by us)."""
    odd = [name for name, parameter in module.named_parameters() if parameter.dtype != torch.float32]
    if odd:
        raise TypeError(f"Parameters must be float32 while training: {', '.join(odd)}")


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
