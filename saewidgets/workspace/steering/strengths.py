"""Defines `Strengths`, the part of `ws.steering` that finds SAEs and suggests strengths: the largest activations,
and a strength to begin with.

The largest activation is what an extraction has measured, else an estimate on a little text. The first strength is one
at which steering shows and text is still text: what `add_max` adds at strength s is s · a_max · ‖d‖ long, with a_max
the feature's largest activation and d its decoder direction in the units of the hidden state h. Text changes visibly
from about a quarter of ‖h‖ on and usually breaks at about all of it, whatever the model. So the first strength is the
one at which that share is `MODERATE`:

    s = MODERATE · ‖h‖ / (a_max · ‖d‖)

‖h‖ is the median over the tokens that an extraction has counted; without one it is measured on a little text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from saewidgets.config import DemoCorpus, SteeringFeature, TextCorpus
from saewidgets.errors import SAEWidgetsError, StateError
from saewidgets.feature_records import ExtractionRecord, check_index
from saewidgets.records import SAERecord
from saewidgets.workspace.subjects import KnownSAE, files_of, find_subject
from saewidgets.workspace.user_models import canonical

if TYPE_CHECKING:
    from saewidgets.lm import LoadedModel
    from saewidgets.steering import SteeringSource
    from saewidgets.workspace.workspace import Workspace

T = TypeVar("T")
CONTEXTS, LENGTH, BATCH = 64, 128, 8
_DOCUMENT = 20_000  # characters of one document: text from many is better than much of one
MODERATE = 0.45
"""A share of ‖h‖: just below what the gauge calls strong."""
LARGEST = 4.0
"""Weak features are not blown up beyond what is usual."""
UNKNOWN = 1.0
"""The strength if ‖h‖ is unknown: the feature's largest activation."""


@dataclass(frozen=True, slots=True)
class LargestActivation:
    """The largest activation of a feature, in the SAE's units; 0 if it did not fire.

    `exact`: an extraction measured it; else it is a lower bound. `basis`: over which text, as the end of a sentence:
    ``"over 65,536 tokens (extraction)"``.
    """

    value: float
    exact: bool
    basis: str

    def needed(self, name: str, index: int) -> float:
        """Its value. Raises `StateError` if the feature never fired: then there is nothing to scale a strength by."""
        if self.value > 0:
            return self.value
        raise StateError(
            f"Feature {index} of {name} did not fire {self.basis}, so its largest activation is not known.",
            where="a_max", hint='Use mode "add", whose strength is an activation, or give a_max.',
        )


@dataclass(frozen=True, slots=True)
class StrengthSuggestion:
    """How strongly to begin with a feature."""

    strength: float  # in units of its largest activation (mode ``add_max``); 0 if it never fired
    ratio: float | None  # ‖Δ‖/‖h‖ at strength 1 on a typical token; None if it is not known
    maximum: LargestActivation


class Strengths:
    """The part of `ws.steering` that finds SAEs and measures how strong their features are; results stay in memory."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._live = workspace, workspace.features.live
        self._estimated: dict[tuple[str, float], dict[int, LargestActivation]] = {}  # see `_key`
        self._norms: dict[tuple[str, float], float] = {}

    def subject(self, wanted: str) -> KnownSAE:
        """The SAE of an id, a beginning of one or a name; of a training the one that was imported from it, else the one
        that it has left. Raises `NotFoundError` if there is none."""
        ws = self._workspace
        found = ws.trainings.get(wanted) if wanted.startswith("train_") else ws.saes.find(wanted)
        return find_subject(ws, ws.catalog.features.origin(found.id).id)

    def record(self, wanted: str) -> SAERecord:
        """As `subject`, of the library. Raises `StateError` for a training whose SAE is not there."""
        subject = self.subject(wanted)
        if subject.of_training:
            raise StateError(
                f"The SAE of {subject.name} is not in the library.", where=subject.id,
                hint="Press Import to SAEs on its card, or call run.import_to_saes().",
            )
        return self._workspace.saes.get(subject.id)

    def maximum(self, sae_id: str, index: int) -> LargestActivation:
        """The largest activation of a feature, from the newest extraction of its SAE, else estimated (seconds).

        Args:
            sae_id: the SAE, or a training ("train_…"): see `subject`.
            index: the number of the feature.

        Raises:
            ConfigError: the SAE has no such feature.
            NotFoundError, StateError: there is no such SAE, or its model cannot be loaded.
        """
        subject = self.subject(sae_id)
        check_index(index, subject.d_sae, owner=subject.name)
        return self._maxima(subject, [index], lambda: self._live.open(subject).model.lm)[index]

    def suggest(self, sae_id: str, index: int) -> StrengthSuggestion:
        """A strength to begin with for mode ``add_max``: the change is a moderate part of the hidden state, so that
        text changes and stays text. The rule is in `docs/steering.md`.

        From the newest extraction of the SAE where there is one (which loads the SAE and not its model), else measured
        on a little text (seconds). Arguments are those of `maximum`.

        Raises:
            ConfigError: the SAE has no such feature.
            NotFoundError, StateError, FormatError: there is no such SAE, or it cannot be loaded.
        """
        subject = self.subject(sae_id)
        maximum = self.maximum(subject.id, index)
        if maximum.value <= 0:
            return StrengthSuggestion(0.0, None, maximum)
        source = self._source(subject)
        try:
            norm = self._norm(subject, source)
        except SAEWidgetsError:  # neither an extraction nor the model is here: the error comes up when it is generated
            norm = None
        ratio = _ratio_at_one(source, index, maximum.value, norm) if norm else None
        if ratio is None or not math.isfinite(ratio) or ratio <= 0:
            return StrengthSuggestion(UNKNOWN, ratio, maximum)
        wanted = min(LARGEST, MODERATE / ratio)
        return StrengthSuggestion(round(wanted, 1) if wanted >= 0.1 else float(f"{wanted:.1g}"), ratio, maximum)

    # ------------------------------------------------------------------------------------------------ inside

    def _key(self, subject: KnownSAE) -> tuple[str, float]:
        """Differs where its files do."""
        return subject.id, files_of(self._workspace, subject).stat().st_mtime

    def _source(self, subject: KnownSAE, device: str | None = None) -> SteeringSource:
        """An SAE with its place in the model, on any device if None."""
        from saewidgets.steering import SteeringSource  # torch: seconds to import

        sae = self._live.sae(subject, device)
        out = subject.hook_name_out or sae.metadata.get("hook_name_out")
        return SteeringSource(sae, subject.hook_name, out, name=subject.name)

    def _between(self, lm: LoadedModel, fn: Callable[[], T]) -> T:
        lane = self._workspace.manager.lane(canonical(str(lm.device)))
        return self._workspace.manager.run_between(lane, fn).result()

    def _maxima(
        self, subject: KnownSAE, indices: Sequence[int], model: Callable[[], LoadedModel]
    ) -> Mapping[int, LargestActivation]:
        """From the newest extraction of the SAE; where there is none, or it is of other weights, estimated on 8,192
        tokens of the text that it was trained on, else the demo's: with `model`, which is only then asked for."""
        if (latest := self._latest(subject)) is not None:
            store = self._workspace.extractions.open(latest.id)
            basis = f"over {store.manifest.n_tokens:,} tokens (extraction)"
            return {index: LargestActivation(float(store.max[index]), True, basis) for index in indices}
        estimated = self._estimated.setdefault(self._key(subject), {})
        if left := [index for index in dict.fromkeys(indices) if index not in estimated]:
            from saewidgets.steering import estimate_max  # torch: seconds to import

            lm = model()
            source = self._source(subject, str(lm.device))
            contexts, label = self._contexts(subject, lm)
            largest = dict.fromkeys(left, 0.0)
            for part in contexts.split(BATCH):
                one = partial(estimate_max, source, lm, part, left, batch_size=BATCH)
                for index, value in self._between(lm, one).items():
                    largest[index] = max(largest[index], value)
            basis = f"over {contexts.numel():,} tokens of {label} (an estimate)"
            estimated |= {index: LargestActivation(value, False, basis) for index, value in largest.items()}
        return estimated

    def _latest(self, subject: KnownSAE) -> ExtractionRecord | None:
        latest = self._workspace.extractions.latest(subject.id)
        return latest if latest is not None and latest.has_data and not latest.other_weights else None

    def _norm(self, subject: KnownSAE, source: SteeringSource) -> float:
        """The typical length of what is steered; 0 where that is nothing."""
        if not source.sae.is_transcoder and (latest := self._latest(subject)) is not None:
            limit = self._workspace.extractions.open(latest.id).manifest.norm_limit
            ratio = latest.config.get("max_norm_ratio")
            if limit and ratio:
                return float(limit) / float(ratio)  # the limit is so many times the median
        from saewidgets.steering.change import typical_norm  # torch: seconds to import

        if (key := self._key(subject)) not in self._norms:
            lm = self._live.open(subject).model.lm
            contexts, _ = self._contexts(subject, lm)
            self._norms[key] = self._between(lm, lambda: typical_norm(source, lm, contexts[:8]))
        return self._norms[key]

    def _contexts(self, subject: KnownSAE, lm: LoadedModel) -> tuple[Any, str]:
        """Token ids ``[n, length]`` to measure on and what to call the text: that of its training, else the demo's."""
        import torch  # seconds to import, and so are these

        from saewidgets.activations import open_corpus
        from saewidgets.lm import special_tokens
        from saewidgets.steering.steer import prompt_ids

        data = subject.corpus
        corpus: DemoCorpus | TextCorpus = DemoCorpus()
        label = "the demo corpus"  # any English text gives a bound
        if isinstance(data, Mapping) and data.get("kind") == "text" and data.get("files"):
            corpus = TextCorpus.from_data(data)
            label = f"the corpus {corpus.label}"
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
                f"{label} has no text of {length} tokens, so largest activations cannot be estimated.",
                where=subject.id, hint='Give a_max, use mode "add", or extract the features of this SAE.',
            )
        return torch.tensor(rows[:CONTEXTS]), label


def _ratio_at_one(source: SteeringSource, index: int, a_max: float, norm: float) -> float:
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
