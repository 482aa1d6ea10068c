"""Defines `StoreExamples`: examples of an extraction, in the form that `features/labels` takes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from saewidgets.feature_records import ExampleRecord
from saewidgets.features.labels import Example, FeatureEvidence, LabelOptions, shown_examples
from saewidgets.features.logit_effects import Effects, stored_effects
from saewidgets.features.store.feature_data import StoredExample, example_at, feature_data
from saewidgets.features.store.layout import WINDOW
from saewidgets.features.store.read import FeatureStore

KEPT = 3  # examples kept with a label
SURE = 0.75  # how likely a window of a sampled text has to be silent to count as that
_AROUND = 8  # tokens of them on either side of the peak
_TRIED = 8  # places that are looked at first for one where the latent is silent
_BACK = 64  # contexts that a document is followed back through

Positions = npt.NDArray[np.int64]


class StoreExamples:
    """The evidence of an extraction, with so many `negatives`: windows in which the latent is silent, for judging.

    They are from the extraction's sample of tokens: no sampled token in one fires. Where less than every token was
    sampled (`coactivation_rate` in the manifest), a firing between them is not seen; a latent that fires so often that
    a window would be silent with a chance below `SURE` has none, and `no_negatives` says so. With `options`, `kept` has
    the part of the evidence that goes with a label: the first examples that are shown.
    """

    def __init__(self, store: FeatureStore, negatives: int = 0, options: LabelOptions | None = None) -> None:
        self._store, self._negatives, self._options = store, negatives, options
        self.kept: dict[int, tuple[ExampleRecord, ...]] = {}
        self._sampled: Positions = np.asarray(store["sample_positions"], dtype=np.int64)
        self._separators: dict[int, npt.NDArray[np.int64]] = {}

    def of(self, index: int) -> FeatureEvidence:
        """The evidence of latent `index`; raises `ConfigError` if there is no such latent."""
        data = feature_data(self._store, index)
        top = [self._example(one) for one in data.top]
        known = {one.position for one in data.top}
        intervals = [
            self._example(one)
            for group in data.groups[1:] for one in group.examples if one.position not in known
        ]
        negatives, why_none = self._silent(index, [one.position for g in data.groups for one in g.examples])
        effects_of = stored_effects(self._store)
        effects = effects_of(index) if effects_of is not None else Effects((), ())
        found = FeatureEvidence(
            index=index, top=tuple(top), intervals=tuple(intervals), max_activation=data.max, density=data.density,
            firing_count=data.fired, mean_activation=data.mean,
            negatives=tuple(negatives), no_negatives=why_none,
            raises=tuple((one.text, one.value) for one in effects.raises),
            lowers=tuple((one.text, one.value) for one in effects.lowers),
        )
        if (options := self._options) is not None:
            self.kept[index] = kept_examples(shown_examples(found, options.n_examples, options.sampling))
        return found

    def _example(self, one: StoredExample) -> Example:
        document = self._document(one.context, one.offset)
        return Example(tuple(one.pieces), tuple(one.activations.tolist()), one.peak, document)

    def _document(self, context: int, offset: int) -> str:
        """A name for the document at a place of the packed text: where its first separator is."""
        if not self._store.packed.facts.joined:
            return f"{context}:"
        for back in range(_BACK):
            before = self._at(context)
            before = before[before <= offset] if back == 0 else before
            if len(before):
                return f"{context}:{before[-1]}"
            if context == 0:
                break
            context -= 1
        return f"{context}:"

    def _at(self, context: int) -> npt.NDArray[np.int64]:
        """Offsets of the separators in a context, its BOS not among them."""
        if context not in self._separators:
            facts = self._store.packed.facts
            found = np.flatnonzero(self._store.packed.context(context) == facts.separator)
            self._separators[context] = found[found > 0] if facts.prepend_bos else found
        return self._separators[context]

    def _silent(self, index: int, known: Sequence[int]) -> tuple[list[Example], str]:
        """Windows in which the latent is silent, and why there are none where there are none."""
        store = self._store
        positions = self._sampled
        if not self._negatives or not len(positions):
            return [], "" if not self._negatives else "No token of the text was sampled."
        density, rate = float(store.density[index]), store.manifest.coactivation_rate
        if self._chance_of_silence(index) < SURE:
            return [], (
                f"It fires on {density:.1%} of the tokens, and one token in {1 / rate:,.0f} was sampled: no window is "
                "known to be without it."
            )
        at = np.flatnonzero(store["sample_latents"] == index)
        tokens = np.searchsorted(store["sample_offsets"], at, side="right") - 1
        fires = np.union1d(positions[tokens], np.asarray(known, dtype=np.int64))
        order = np.random.default_rng(index).permutation(positions)
        first = _TRIED * self._negatives  # enough for almost all latents
        quiet = self._without(fires, order[:first])
        if len(quiet) < self._negatives:
            quiet = np.concatenate([quiet, self._without(fires, order[first:])])
        silence = np.zeros(2 * WINDOW + 1, dtype=np.float32)
        places = quiet[: self._negatives].tolist()
        found = [self._example(example_at(store, position, 0.0, silence)) for position in places]
        why = "" if found else f"It fires on {density:.1%} of the tokens, and in every window that was looked at."
        return found, why

    def _without(self, fires: Positions, positions: Positions) -> Positions:
        """The `positions` without any of `fires` (ascending) around them."""
        size = self._store.manifest.context_size
        offsets = positions % size
        begins = positions - np.minimum(offsets, WINDOW)
        ends = positions + np.minimum(size - offsets, WINDOW + 1)
        quiet: Positions = positions[np.searchsorted(fires, begins) == np.searchsorted(fires, ends)]
        return quiet

    def _chance_of_silence(self, index: int) -> float:
        """How likely a window is silent of whose tokens none that was sampled fires: at least this, as firings cluster.
        """
        manifest = self._store.manifest
        unseen = 2 * WINDOW * (1 - manifest.coactivation_rate)
        elsewhere = 1 - int(self._store["context_counts"][index]) / max(1, manifest.n_contexts)
        return float(max((1 - float(self._store.density[index])) ** unseen, elsewhere))


def kept_examples(examples: Sequence[Example]) -> tuple[ExampleRecord, ...]:
    """The few that are kept with a label, cut to what is near their peaks."""
    found = []
    for example in examples[:KEPT]:
        near = example.around(_AROUND, _AROUND)
        rounded = tuple(float(f"{value:.4g}") for value in near.activations)
        found.append(ExampleRecord(near.tokens, rounded, near.peak, near.value, kind="evidence"))
    return tuple(found)
