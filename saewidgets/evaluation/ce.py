"""Cross-entropy of the language model with something else at a hook point.

``ce_loss_score = (CE_zero - CE_sae) / (CE_zero - CE_clean)``: the share of the cross-entropy that is lost when the
activation is set to zero and that the SAE's reconstruction wins back. 1: as good as the model itself; 0: as bad as
zeros. CE is the mean, in nats, over the predicted tokens.

Where special tokens are excluded, their positions keep their own activation in every case, and a prediction counts only
if the token to be predicted is not special.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from saewidgets.lm import LoadedModel, before_head, forward, input_device
from saewidgets.lm.shape import text_config

LOGIT_BYTES = 1 << 28  # most memory for logits at once


class CrossEntropy:
    """Computes next-token losses without ever holding the logits of a whole batch.

    The hidden states in front of the vocabulary are caught, and the output layer is applied to a few positions at a
    time. Whether that gives the model's own logits (some models do more after the output layer) is tried once on a few
    tokens; if not, the model is run in small batches.

    Args:
        lm: the language model.
    """

    def __init__(self, lm: LoadedModel) -> None:
        self._model: nn.Module = lm.model
        self._device = input_device(lm.model)
        self._vocabulary = lm.vocab_size
        get: Any = getattr(self._model, "get_output_embeddings", None)
        head = get() if get is not None else None
        self._head: nn.Module | None = head if isinstance(head, nn.Module) else None
        config: Any = text_config(lm.model)
        self._softcap: float | None = getattr(config, "final_logit_softcapping", None)
        self._factor = float(getattr(config, "logit_scale", None) or 1.0) / float(
            getattr(config, "logits_scaling", None) or 1.0
        )
        if self._head is not None and not self._is_exact():
            self._head = None

    def batch_limit(self, context: int) -> int:
        """Most contexts to give `sums` at once, so that every forward sees the batch that the caller sees."""
        return 1 << 30 if self._head is not None else max(1, LOGIT_BYTES // (4 * self._vocabulary * context))

    def sums(self, input_ids: Tensor, counted: Tensor) -> tuple[float, int]:
        """Sum of the losses of the counted predictions, and their number.

        Args:
            input_ids: ``[batch, context]``.
            counted: bool ``[batch, context]``; entry t says whether predicting token t counts. Entry 0 never does.
        """
        ids = input_ids.to(self._device)
        counted = counted.to(self._device)
        if self._head is None:
            return self._whole(ids, counted)
        hidden = before_head(self._model, self._head, ids)
        wanted = counted[:, 1:].to(hidden.device)
        rows, targets = hidden[:, :-1][wanted], ids[:, 1:].to(hidden.device)[wanted]
        step = max(1, LOGIT_BYTES // (4 * self._vocabulary))
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for at in range(0, len(rows), step):
            total += _loss(self._logits(rows[at : at + step]), targets[at : at + step])
        return float(total), len(rows)

    def _whole(self, ids: Tensor, counted: Tensor) -> tuple[float, int]:
        total, number = 0.0, 0
        rows = self.batch_limit(ids.shape[1])
        for part, wanted in zip(ids.split(rows), counted[:, 1:].split(rows), strict=True):
            logits = forward(self._model, part).logits[:, :-1]
            wanted = wanted.to(logits.device)
            total += float(_loss(logits[wanted].float(), part[:, 1:].to(logits.device)[wanted]))
            number += int(wanted.sum())
        return total, number

    @torch.no_grad()
    def _logits(self, rows: Tensor) -> Tensor:
        assert self._head is not None
        logits: Tensor = self._head(rows).float() * self._factor
        if self._softcap is not None:
            logits = torch.tanh(logits / self._softcap) * self._softcap
        return logits

    def _is_exact(self) -> bool:
        """Whether the output layer by itself gives the model's logits, up to rounding."""
        assert self._head is not None
        ids = torch.arange(min(8, self._vocabulary), device=self._device)[None]
        own = forward(self._model, ids).logits.float()
        ours = self._logits(before_head(self._model, self._head, ids))
        return own.shape == ours.shape and bool((own - ours).abs().max() <= 1e-2 * own.abs().max())


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of −log p(target) in float64: logits ``[n, vocabulary]`` float32, targets ``[n]``."""
    return functional.cross_entropy(logits, targets, reduction="none").double().sum()


def ce_loss_score(clean: float, sae: float, zero: float) -> float:
    """Share of the cross-entropy recovered; nan where zeros cost nothing."""
    return (zero - sae) / (zero - clean) if zero != clean else float("nan")
