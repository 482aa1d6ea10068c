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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saewidgets.config import DemoCorpus, SteeringFeature, TextCorpus
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.records import SAERecord
from saewidgets.workspace.capture.using import as_text

if TYPE_CHECKING:
    from saewidgets.lm import LoadedModel
    from saewidgets.steering import SteeringSource
    from saewidgets.workspace.workspace import Workspace


# The largest activation of features: what an extraction measured, else an estimate on a little text.

CONTEXTS, LENGTH, BATCH = 64, 128, 8
_DOCUMENT = 20_000  # characters of one document: text from many is better than much of one

Between = Callable[["LoadedModel", Callable[[], Any]], Any]
"""Runs a short piece of work between the batches of a job on a model's device, and returns its value."""


@dataclass(frozen=True, slots=True)
class Maximum:
    """The largest activation of a feature.

    Attributes:
        value: in the SAE's units; 0 if it did not fire.
        exact: an extraction measured it; else it is a lower bound.
        basis: over which text, as the end of a sentence: ``"over 65,536 tokens (extraction)"``.
    """

    value: float
    exact: bool
    basis: str


class Maxima:
    """Largest activations by SAE and feature; estimates are kept in memory."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._known: dict[tuple[str, float, int], Maximum] = {}

    def measured(self, record: SAERecord, indices: Sequence[int]) -> dict[int, Maximum]:
        """What the newest extraction of the SAE says; empty if there is none, or it is of other weights.

        Raises:
            FormatError: its files are damaged.
        """
        latest = self._workspace.extractions.latest(record.id)
        if latest is None or not latest.has_data or latest.other_weights:
            return {}
        store = self._workspace.extractions.open(latest.id)
        basis = f"over {store.manifest.n_tokens:,} tokens (extraction)"
        return {index: Maximum(float(store.max[index]), True, basis) for index in indices}

    def known(self, record: SAERecord, indices: Sequence[int]) -> dict[int, Maximum]:
        """What is known without any work: measured, or estimated before."""
        found = self.measured(record, indices)
        with self._lock:
            for index in indices:
                if index not in found and (old := self._known.get((record.id, record.updated_at, index))) is not None:
                    found[index] = old
        return found

    def typical_norm(self, record: SAERecord) -> float | None:
        """The median length of what the SAE reads, as the newest extraction found it; None if that is not known.

        Raises:
            FormatError: its files are damaged.
        """
        latest = self._workspace.extractions.latest(record.id)
        if latest is None or not latest.has_data or latest.other_weights:
            return None
        limit = self._workspace.extractions.open(latest.id).manifest.norm_limit
        ratio = latest.config.get("max_norm_ratio")
        return float(limit) / float(ratio) if limit and ratio else None  # the limit is so many times the median

    def find(
        self, record: SAERecord, indices: Sequence[int], source: SteeringSource, model: Callable[[], LoadedModel],
        between: Between,
    ) -> Mapping[int, Maximum]:
        """All of them; what is not known is estimated on 8,192 tokens of the text it was trained on, else the demo's.

        Args:
            model: the language model, asked for only where something has to be estimated.
            between: how to run one forward of it.
        """
        found = self.known(record, indices)
        left = [index for index in dict.fromkeys(indices) if index not in found]
        if not left:
            return found
        from saewidgets.steering import estimate_max  # torch: seconds to import

        lm = model()
        contexts, label = self.contexts(record, lm)
        largest = dict.fromkeys(left, 0.0)
        for part in contexts.split(BATCH):
            def one(part: Any = part) -> dict[int, float]:
                return estimate_max(source, lm, part, left, batch_size=BATCH)

            for index, value in between(lm, one).items():
                largest[index] = max(largest[index], value)
        basis = f"over {contexts.numel():,} tokens of {label} (an estimate)"
        new = {index: Maximum(value, False, basis) for index, value in largest.items()}
        with self._lock:
            self._known.update({(record.id, record.updated_at, index): each for index, each in new.items()})
        return found | new

    def contexts(self, record: SAERecord, lm: LoadedModel) -> tuple[Any, str]:
        """Token ids ``[n, length]`` to measure on and what to call the text: what it was trained on, else the demo's.

        Raises:
            StateError: that text is too short.
        """
        import torch  # seconds to import, and so are these

        from saewidgets.activations import open_corpus
        from saewidgets.lm import special_tokens
        from saewidgets.steering.steer import prompt_ids

        corpus, label = self._corpus(record)
        bos = special_tokens(lm.tokenizer).bos
        length = min(LENGTH, lm.context or LENGTH)
        rows: list[list[int]] = []
        head = [] if bos is None else [bos]
        for document in open_corpus(corpus).documents():
            if not (text := document.text[:_DOCUMENT]).strip():
                continue
            ids = prompt_ids(lm, text, prepend_bos=False)
            step = length - len(head)
            rows += [head + ids[at : at + step] for at in range(0, len(ids) - step + 1, step)][: CONTEXTS // 4]
            if len(rows) >= CONTEXTS:
                break
        if not rows:
            raise StateError(
                f"{label} has no text of {length} tokens, so largest activations cannot be estimated.", where=record.id,
                hint='Give a_max, use mode "add", or extract the features of this SAE.',
            )
        return torch.tensor(rows[:CONTEXTS]), label

    def _corpus(self, record: SAERecord) -> tuple[DemoCorpus | TextCorpus, str]:
        """What it was trained on where that is text on this machine, else the demo corpus."""
        try:
            run = self._workspace.trainings.get(record.training_id) if record.training_id else None
            data = run.record.config.get("corpus") if run is not None else record.metadata["config"]["corpus"]
            data = as_text(self._workspace, data)
            if isinstance(data, dict) and data.get("kind") == "text" and data.get("files"):
                corpus = TextCorpus.from_data(data)
                return corpus, f"the corpus {corpus.label}"
        except (NotFoundError, ConfigError, KeyError, TypeError):
            pass  # deleted, or from elsewhere: any English text gives a bound
        return DemoCorpus(), "the demo corpus"


def needed(maximum: Maximum, name: str, index: int) -> float:
    """Its value. Raises `StateError` if the feature never fired: then there is nothing to scale a strength by."""
    if maximum.value > 0:
        return maximum.value
    raise StateError(
        f"Feature {index} of {name} did not fire {maximum.basis}, so its largest activation is not known.",
        where="a_max", hint='Use mode "add", whose strength is an activation, or give a_max.',
    )


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
