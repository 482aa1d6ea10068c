"""Effects of a latent's decoder direction on the next token's logits (see `lm.unembedding`), and similar directions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.config.hook_names import without_head
from saewidgets.errors import ConfigError
from saewidgets.features.store.layout import LOGIT_ARRAYS, LOGIT_TOKENS
from saewidgets.features.store.read import FeatureStore
from saewidgets.lm import TokenText
from saewidgets.lm.unembedding import Unembedding
from saewidgets.sae import SAE

BINS = 50

_NOT_ADDED = ("attn.hook_z", "ln2.hook_normalized", "mlp.hook_in")  # places that are not in the residual stream
_ELEMENTS = 1 << 23  # changes of logits at a time: 32 MiB in float32, of which there are up to three copies
_ROWS = 1 << 16  # rows of W_dec at a time


@dataclass(frozen=True, slots=True)
class TokenEffect:
    """A token, its text, and the change of its logit per unit of activation."""

    token: int
    text: str
    value: float


@dataclass(frozen=True, slots=True)
class Effects:
    """What a feature does to the next token.

    Attributes:
        raises, lowers: the strongest first.
        counts, edges: histogram over the vocabulary; empty where it was not computed.
        on: the changes of the logits of any tokens; None where only the strongest are known.
    """

    raises: Sequence[TokenEffect]
    lowers: Sequence[TokenEffect]
    counts: Sequence[int] = ()
    edges: Sequence[float] = ()
    on: Callable[[Sequence[int]], list[float]] | None = None


EffectsOf = Callable[[int], Effects]
"""The effects of a feature."""


def computed_effects(sae: SAE, head: Unembedding, text: TokenText, n: int = 10) -> EffectsOf:
    """Effects, computed on demand, the `n` strongest on either side: one product with the unembedding.

    Raises `ConfigError` then, if the SAE's output is not a vector of the model's residual stream.
    """

    def effects(index: int) -> Effects:
        changes = _effects(sae, head, [index])[0]
        best = (changes.topk(min(n, len(changes)), largest=largest) for largest in (True, False))
        raises, lowers = (
            _listed(side.indices.tolist(), side.values.tolist(), lambda token: text.text([token])) for side in best
        )
        counts, edges = np.histogram(changes.cpu().numpy(), bins=BINS)
        return Effects(raises, lowers, counts.tolist(), edges.tolist(), lambda tokens: changes[list(tokens)].tolist())

    return effects


def stored_effects(store: FeatureStore) -> EffectsOf | None:
    """Effects from an extraction for which they were computed for all features; None where they were not."""
    arrays = store.logits
    if arrays is None:
        return None

    def effects(index: int) -> Effects:
        sides = ((arrays[f"{side}_tokens"][index], arrays[f"{side}_logits"][index]) for side in ("top", "bottom"))
        raises, lowers = (_listed(tokens.tolist(), values.tolist(), store.logit_text) for tokens, values in sides)
        return Effects(raises, lowers)

    return effects


def _listed(tokens: list[int], values: list[float], text: Callable[[int], str]) -> list[TokenEffect]:
    """Effects of tokens; −1 is none."""
    return [TokenEffect(token, text(token), value) for token, value in zip(tokens, values, strict=True) if token >= 0]


def logit_tables(sae: SAE, head: Unembedding, begin: int = 0) -> Iterator[tuple[slice, dict[str, npt.NDArray[Any]]]]:
    """The tokens that every latent from `begin` on promotes and suppresses most, a few latents at a time.

    Yields which latents (they come in order), and of those the arrays of `layout.LOGIT_ARRAYS`, ``[latents, 10]``.
    However many latents and tokens there are, memory holds the changes of about eight million logits.
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
    """Changes of all logits per unit of these latents, ``[n, vocab]``."""
    check_directions(sae)
    d = sae.W_dec.detach()[torch.as_tensor(indices, device=sae.W_dec.device)].float()
    if d.shape[1] != head.weight.shape[1]:
        raise ConfigError(
            f"The SAE writes vectors of {d.shape[1]:,}, the model's residual stream has {head.weight.shape[1]:,}.",
            where="d_out", hint="Choose the model that the SAE was trained on.",
        )
    return head.effects(d)


def check_directions(sae: SAE) -> None:
    """Raise `ConfigError` where the output is not a vector of the residual stream: attention heads' z, MLP inputs."""
    place = str(sae.metadata.get("hook_name_out") or sae.metadata.get("hook_name") or "")
    hint = "Logit effects are not defined for it."
    if without_head(place).endswith(_NOT_ADDED):
        what = f"This SAE writes to {place[:80]}: its directions are not in the residual stream."
        raise ConfigError(what, where="hook_name", hint=hint)
    if sae.cfg.reshape_activations != "none":
        what = "This SAE reads the outputs of attention heads: its directions are not in the residual stream."
        raise ConfigError(what, where="reshape_activations", hint=hint)


@torch.no_grad()
def similar(sae: SAE, index: int, n: int = 10) -> list[tuple[int, float]]:
    """The `n` latents whose decoder directions have the largest cosine with that of `index`, and the cosines."""
    W = sae.W_dec.detach()
    own = torch.nn.functional.normalize(W[index].float(), dim=0)
    cosines = torch.cat(
        [(part @ own) / part.norm(dim=1).clamp_min(1e-12) for part in (p.float() for p in W.split(_ROWS))]
    )
    cosines[index] = -torch.inf
    best = cosines.topk(min(n, len(cosines) - 1))
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
