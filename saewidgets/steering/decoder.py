"""Running a language model token by token with its cache, one sequence at a time."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from saewidgets.lm import LoadedModel, input_device
from saewidgets.steering.errors import SteeringError

_KEEP = ("logits_to_keep", "num_logits_to_keep")


class Decoder:
    """One sequence in one model. Gradients and autocast are off; the model's mode is the caller's business.

    Args:
        lm: the language model.
    """

    def __init__(self, lm: LoadedModel) -> None:
        self._model = lm.model
        self._device = input_device(lm.model)
        parameters = inspect.signature(lm.model.forward).parameters
        self._keep = next((name for name in _KEEP if name in parameters), None)
        self._cache: Any = None
        self._ids: list[int] = []

    def __call__(self, tokens: Sequence[int], keep: int = 1) -> Tensor:
        """Append `tokens`; the logits ``[keep, vocabulary]`` of what follows the last `keep` of them."""
        self._ids.extend(tokens)
        # A model that keeps no cache reads everything again.
        given = list(tokens) if self._cache is not None else self._ids
        kwargs: dict[str, Any] = {"input_ids": torch.tensor([given], device=self._device), "use_cache": True}
        if self._cache is not None:
            kwargs["past_key_values"] = self._cache
        if self._keep is not None:
            kwargs[self._keep] = keep
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            out = self._model(**kwargs)
        self._cache = getattr(out, "past_key_values", None)
        logits: Tensor = out.logits[0, -keep:]
        if not bool(torch.isfinite(logits).any(-1).all()) or bool(torch.isnan(logits).any()):
            raise SteeringError(
                "The model's output is not a number.", where="model",
                hint="Use smaller strengths, or load the model in float32 or bfloat16.",
            )
        return logits
