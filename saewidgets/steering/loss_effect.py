"""What a feature does to the model's loss on the token that follows one token.

    loss effect = CE(next | the model as it is) − CE(next | the feature ablated at this token), in nats

with CE = −log p of the token that comes next. Ablated is h ← h − f · d at the one token whose effect it is: what the
SAE does not explain of h stays, and every other token keeps its own h at the hook. Negative: the feature helps to
predict what comes; positive: it hurts; 0 where it does not fire.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saewidgets.config import SteeringFeature
from saewidgets.errors import ConfigError
from saewidgets.evaluation.ce import CrossEntropy
from saewidgets.lm import LoadedModel, evaluating
from saewidgets.steering.features import SteeringSource, choose
from saewidgets.steering.steered import Steering


@dataclass(frozen=True, slots=True)
class LossEffect:
    """A feature at a token.

    Attributes:
        effect: nats that it adds to the loss on the next token; negative helps.
        loss: −log p of the next token in the model as it is, in nats.
    """

    effect: float
    loss: float


def loss_effect(
    lm: LoadedModel, source: SteeringSource, index: int, ids: Tensor, at: int, losses: CrossEntropy | None = None
) -> LossEffect:
    """The loss effect of a feature at a token: two forwards over the text up to it.

    Args:
        lm: the language model; left as it was.
        source: the SAE with its place in the model.
        index: number of the latent.
        ids: ``[n]`` token ids of the context, BOS included where the model reads one.
        at: which of them; another one has to follow.
        losses: of `lm`, where several are computed.

    Raises:
        ConfigError: nothing follows the token; there is no such latent; or the SAE is a temporal one, whose latents
            depend on all tokens before.
        HookError: the model has no such place.
    """
    if ids.dim() != 1 or not 0 <= at < len(ids) - 1:
        raise ConfigError(
            "No token follows this one, so there is no loss.", where="position", hint="Choose one before the last."
        )
    losses = losses or CrossEntropy(lm)
    part = ids[None, : at + 2]
    counted = torch.zeros_like(part, dtype=torch.bool)
    counted[0, at + 1] = True
    feature = SteeringFeature(index=index, strength=0.0, mode="ablate")
    with evaluating(lm.model), torch.no_grad():
        loss, _ = losses.sums(part, counted)
        steering = Steering(lm, choose([feature], source), positions=(at,), prompt_tokens=part.shape[1])
        with steering.attached():
            ablated, _ = losses.sums(part, counted)
        steering.check_used()
    return LossEffect(loss - ablated, loss)
