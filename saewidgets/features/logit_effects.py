"""Which next tokens a latent's decoder direction makes likelier and less likely (see `lm.unembedding`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.config.hook_names import without_head
from saewidgets.errors import ConfigError
from saewidgets.features.store.layout import LOGIT_ARRAYS, LOGIT_TOKENS
from saewidgets.lm.unembedding import Unembedding
from saewidgets.sae import SAE

BINS = 50

_NOT_ADDED = ("attn.hook_z", "ln2.hook_normalized", "mlp.hook_in")  # places that are not in the residual stream
_ELEMENTS = 1 << 23  # changes of logits at a time: 32 MiB in float32, of which there are up to three copies


@dataclass(frozen=True, slots=True, eq=False)
class LogitEffects:
    """Change of the logits per unit of activation.

    Attributes:
        raises, lowers: (token id, change), the strongest first.
        counts, edges: histogram over the vocabulary, ``[bins]`` and ``[bins + 1]``.
    """

    raises: list[tuple[int, float]]
    lowers: list[tuple[int, float]]
    counts: npt.NDArray[np.int64]
    edges: npt.NDArray[np.floating[Any]]


def decoder_directions(sae: SAE, indices: Tensor | list[int]) -> Tensor:
    """What one unit of each latent adds to the output, ``[n, d_out]`` float32.

    Raises:
        ConfigError: the output is not a vector of the residual stream (an SAE on attention heads' z, or on what enters
            an MLP).
    """
    place = str(sae.metadata.get("hook_name_out") or sae.metadata.get("hook_name") or "")
    if without_head(place).endswith(_NOT_ADDED):
        raise ConfigError(
            f"This SAE writes to {place[:80]}: its directions are not in the residual stream.", where="hook_name",
            hint="Logit effects are not defined for it.",
        )
    if sae.cfg.reshape_activations != "none":
        raise ConfigError(
            "This SAE reads the outputs of attention heads: its directions are not in the residual stream.",
            where="reshape_activations", hint="Logit effects are not defined for it.",
        )
    index = torch.as_tensor(indices, dtype=torch.long)
    return sae.W_dec.detach()[index.to(sae.W_dec.device)].float()


def logit_effects(sae: SAE, head: Unembedding, index: int, n: int = 10) -> LogitEffects:
    """The `n` tokens that latent `index` promotes and suppresses most, and the distribution over all.

    Raises:
        ConfigError: the SAE's output is no vector of this model's residual stream.
    """
    effects = _effects(sae, head, [index])[0]
    n = min(n, len(effects))
    up, down = effects.topk(n), (-effects).topk(n)
    counts, edges = np.histogram(effects.cpu().numpy(), bins=BINS)
    return LogitEffects(
        raises=list(zip(up.indices.tolist(), up.values.tolist(), strict=True)),
        lowers=list(zip(down.indices.tolist(), (-down.values).tolist(), strict=True)),
        counts=counts.astype(np.int64), edges=edges,
    )


def logit_tables(sae: SAE, head: Unembedding, begin: int = 0) -> Iterator[tuple[slice, dict[str, npt.NDArray[Any]]]]:
    """The tokens that every latent promotes and suppresses most, a few latents at a time.

    However many latents and tokens there are, memory holds the changes of about eight million logits.

    Args:
        sae: whose latents; those from `begin` on.
        head: of its model.
        begin: the first latent.

    Yields:
        Which latents (they come in order), and of those the arrays of `layout.LOGIT_ARRAYS`, ``[latents, 10]``.

    Raises:
        ConfigError: the SAE's output is no vector of this model's residual stream, or the effects of a latent are no
            finite numbers.
    """
    vocabulary = head.weight.shape[0]
    n = min(LOGIT_TOKENS, vocabulary)
    rows = max(1, _ELEMENTS // vocabulary)
    for first in range(begin, sae.d_sae, rows):
        part = slice(first, min(first + rows, sae.d_sae))
        effects = _effects(sae, head, list(range(part.start, part.stop)))
        finite = effects.isfinite().all(dim=1)
        if not bool(finite.all()):
            raise ConfigError(
                f"The logit effects of latent {part.start + int((~finite).nonzero()[0, 0]):,} are NaN or infinite.",
                where="model_dtype", hint="Use bfloat16 or float32 for the model, and look at the SAE's weights.",
            )
        found: dict[str, npt.NDArray[Any]] = {}
        for side, largest in (("top", True), ("bottom", False)):
            best = effects.topk(n, dim=1, largest=largest)
            for name, values, blank in ((f"{side}_tokens", best.indices, -1), (f"{side}_logits", best.values, 0)):
                array = np.full((part.stop - part.start, LOGIT_TOKENS), blank, dtype=LOGIT_ARRAYS[name].dtype)
                array[:, :n] = values.cpu().numpy()
                found[name] = array
        yield part, found


def _effects(sae: SAE, head: Unembedding, indices: list[int]) -> Tensor:
    """Changes of all logits per unit of these latents, ``[n, vocab]``. Raises `ConfigError`."""
    d = decoder_directions(sae, indices)
    if d.shape[1] != head.weight.shape[1]:
        raise ConfigError(
            f"The SAE writes vectors of {d.shape[1]:,}, the model's residual stream has {head.weight.shape[1]:,}.",
            where="d_out", hint="Choose the model that the SAE was trained on.",
        )
    return head.effects(d)
