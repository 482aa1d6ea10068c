"""A strength to begin with: one at which steering shows and text is still text.

The rule: what `add_max` adds at strength s is s · a_max · ‖d‖ long, with a_max the feature's largest activation
and d its decoder direction in the units of the hidden state h. Text changes visibly from about a quarter of ‖h‖ on
and usually breaks at about all of it, whatever the model. So the first strength is the one at which that share is
`MODERATE`:

    s = MODERATE · ‖h‖ / (a_max · ‖d‖)

‖h‖ is the median over the tokens that an extraction has counted; without one it is measured on a little text.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saewidgets.config import SteeringFeature
from saewidgets.errors import SAEWidgetsError
from saewidgets.records import SAERecord
from saewidgets.workspace.steering.maxima import Between, Maxima, Maximum

if TYPE_CHECKING:
    from saewidgets.lm import LoadedModel
    from saewidgets.steering import SteeringSource

MODERATE = 0.45
"""Of ‖h‖: just below what the gauge calls strong."""
LARGEST = 4.0
"""Weak features are not blown up beyond what is usual."""
UNKNOWN = 1.0
"""Where nothing is known of ‖h‖: the feature as it is where it fires most."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """How strongly to begin with a feature.

    Attributes:
        strength: in units of its largest activation (mode ``add_max``), with one or two digits; 0 if it never fired.
        ratio: ‖Δ‖/‖h‖ at strength 1 on a typical token; None if it is not known.
        maximum: the largest activation.
    """

    strength: float
    ratio: float | None
    maximum: Maximum


def strength_for(ratio: float | None) -> float:
    """The strength to begin with for a feature that changes h by `ratio` · ‖h‖ at strength 1: see the rule above."""
    if ratio is None or not math.isfinite(ratio) or ratio <= 0:
        return UNKNOWN
    wanted = min(LARGEST, MODERATE / ratio)
    return round(wanted, 1) if wanted >= 0.1 else float(f"{wanted:.1g}")


class Strengths:
    """Strengths to begin with; what is measured for them is kept in memory."""

    def __init__(self, maxima: Maxima) -> None:
        self._maxima = maxima
        self._lock = threading.Lock()
        self._norms: dict[tuple[str, float], float] = {}

    def suggest(
        self, record: SAERecord, index: int, maximum: Maximum, source: Callable[[], SteeringSource],
        model: Callable[[], LoadedModel], between: Between,
    ) -> Suggestion:
        """The strength to begin with, and what it follows from.

        Args:
            record, index, maximum: of the feature.
            source: the SAE, loaded.
            model: its language model, asked for only where no extraction says how long hidden states are.
            between: how to run one forward of it.

        Raises:
            NotFoundError, FormatError: the SAE cannot be loaded.
        """
        if maximum.value <= 0:
            return Suggestion(0.0, None, maximum)
        place = source()
        try:
            norm = self._norm(record, place, model, between)
        except SAEWidgetsError:  # neither an extraction nor the model is here: that is said when it is generated
            norm = None
        ratio = None if norm is None else ratio_at_one(place, index, maximum.value, norm)
        return Suggestion(strength_for(ratio), ratio, maximum)

    def _norm(
        self, record: SAERecord, source: SteeringSource, model: Callable[[], LoadedModel], between: Between
    ) -> float | None:
        """The typical length of what is steered; None where that is nothing."""
        if not source.sae.is_transcoder and (known := self._maxima.typical_norm(record)) is not None:
            return known
        key = record.id, record.updated_at
        with self._lock:
            if key in self._norms:
                return self._norms[key] or None
        from saewidgets.steering.change import typical_norm  # torch: seconds to import

        lm = model()
        contexts, _ = self._maxima.contexts(record, lm)
        found: float = between(lm, lambda: typical_norm(source, lm, contexts[:8]))
        with self._lock:
            self._norms[key] = found
        return found or None


def ratio_at_one(source: SteeringSource, index: int, a_max: float, norm: float) -> float:
    """‖Δ‖/‖h‖ at strength 1 on a token of this norm: also for SAEs whose directions are as long as the token is."""
    # Torch: seconds to import.
    import torch

    from saewidgets.steering.change import LatentChange

    sae: Any = source.sae
    change = LatentChange(sae, [SteeringFeature(index=index, strength=1.0, a_max=a_max)])
    signs = 1.0 - 2.0 * (torch.arange(sae.d_in, device=sae.W_dec.device) % 2)  # its mean is 0, as layer norms have it
    typical = signs * (norm / math.sqrt(sae.d_in))
    with torch.no_grad():
        return float(change(typical[None].to(sae.W_dec.dtype)).float().norm()) / norm
