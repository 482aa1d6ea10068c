"""What architectures that are loaded and used, but not trained here, have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Never

import torch
from torch import Tensor

from saewidgets.errors import ConfigError
from saewidgets.sae.base import SAE, Loss, LossState


class LoadedSAE(SAE):
    """An SAE that somebody else trained. `inference_sae` makes it; it has no weights of its own to start from."""

    def inference_tensors(self) -> Mapping[str, Tensor]:
        """Everything the SAE consists of by SAELens' names, detached; `inference_sae` makes the SAE of them again."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        self._refuse("can be loaded and used, not trained")

    def loss(self, x: Tensor, target: Tensor | None = None, *, step: LossState | None = None) -> Loss:
        """Always raises `ConfigError`: this architecture is not trained here."""
        self._refuse("can be loaded and used, not trained")

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        self._refuse("can be loaded and used, not trained")

    def _refuse(self, why: str) -> Never:
        raise ConfigError(f"SAEs of the architecture {self.cfg.architecture!r} {why}.", where="architecture")
