"""Cross-entropy and KL divergence of the language model with the activations at a hook point replaced.

``ce_loss_score = (CE_zero - CE_sae) / (CE_zero - CE_clean)``: the share of the cross-entropy that is lost when the
activation is set to zero and that the SAE's reconstruction wins back. 1: as good as the model itself; 0: as bad as
zeros. CE is the mean, in nats, over the predicted tokens.

``kl_div_score = (KL_zero - KL_sae) / KL_zero``: the same of KL(clean ‖ other), the divergence of the model's
probabilities of the next token from what they are without a change: the mean, in nats, over the evaluated positions.

Where special tokens are excluded, their positions keep their own activation in every case, and a prediction counts only
if the token to be predicted is not special; a divergence, if the token at its position is not. Of a slice of positions
the predictions made there count.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from saewidgets.lm import LoadedModel, before_head, forward, input_device
from saewidgets.lm.model_config import text_config
from saewidgets.products import fast_layers

LOGIT_BYTES = 1 << 28  # most memory for logits at once
_CPU_BYTES = 1 << 24  # on a CPU fewer: what is larger comes from the system anew each time, page by page


class CrossEntropy:
    """Computes next-token losses and divergences without ever holding the logits of a whole batch.

    The hidden states in front of the vocabulary are caught, and the output layer is applied to a few positions at a
    time. Whether that gives the model's own logits is tried once on a few tokens; if not, the model is run in small
    batches. Raises `ConfigError` where it does not predict the next token."""

    def __init__(self, lm: LoadedModel) -> None:
        lm.check_causal("Cross-entropy")
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
        """Most contexts to give `outputs` at once; `sums` with no more sees the batch that the caller sees."""
        return 1 << 30 if self._head is not None else max(1, LOGIT_BYTES // (4 * self._vocabulary * context))

    def sums(self, input_ids: Tensor, counted: Tensor) -> tuple[float, int]:
        """Sum of the losses of the counted predictions, and their number. Entry t of `counted` says whether predicting
        token t of `input_ids` ``[batch, context]`` counts; entry 0 never does."""
        rows = min(self.batch_limit(input_ids.shape[1]), len(input_ids)) or 1
        total, number = 0.0, 0
        for ids, wanted in zip(input_ids.split(rows), counted.split(rows), strict=True):
            lost, found = self.loss(self.outputs(ids), ids, wanted)
            total += lost
            number += found
        return total, number

    def outputs(self, input_ids: Tensor) -> Tensor:
        """One forward of ``[batch, context]`` token ids, for `loss` and `divergence`: ``[batch, context, …]``."""
        ids = input_ids.to(self._device)
        if self._head is None:
            logits: Tensor = forward(self._model, ids).logits
            return logits
        return before_head(self._model, self._head, ids)

    def loss(self, outputs: Tensor, input_ids: Tensor, counted: Tensor) -> tuple[float, int]:
        """Sum of the losses of the counted predictions, and their number; arguments as in `sums`."""
        wanted = counted[:, 1:].to(outputs.device)
        rows, targets = outputs[:, :-1][wanted], input_ids[:, 1:].to(outputs.device)[wanted]
        total = torch.zeros((), dtype=torch.float64, device=outputs.device)
        for part, target in zip(self._parts(rows), self._parts(targets), strict=True):
            total += _loss(self._logits(part), target)
        return float(total), len(rows)

    def divergence(self, clean: Tensor, other: Tensor, kept: Tensor) -> float:
        """Sum of KL(clean ‖ other) over the `kept` positions, in nats, of what `outputs` returned of the same token
        ids."""
        mask = kept.to(clean.device)
        total = torch.zeros((), dtype=torch.float64, device=clean.device)
        for part, changed in zip(self._parts(clean[mask]), self._parts(other[mask]), strict=True):
            p, q = (functional.log_softmax(self._logits(rows), dim=-1) for rows in (part, changed))
            total += (p.exp() * (p - q)).sum(-1).double().sum()
        return float(total)

    def _parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        most = min(LOGIT_BYTES, _CPU_BYTES) if rows.device.type == "cpu" else LOGIT_BYTES
        return rows.split(max(1, most // (4 * self._vocabulary))) if len(rows) else ()

    @torch.no_grad()
    def _logits(self, rows: Tensor) -> Tensor:
        if self._head is None:  # they are the model's own
            return rows.float()
        with fast_layers():
            logits: Tensor = self._head(rows).float()
        if self._factor != 1.0:
            logits = logits * self._factor
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


def kl_div_score(sae: float, zero: float) -> float:
    """Share of the divergence recovered; nan where zeros change nothing."""
    return (zero - sae) / zero if zero else float("nan")
