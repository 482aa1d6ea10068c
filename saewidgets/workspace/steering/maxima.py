"""The largest activation of features: what an extraction measured, else an estimate on a little text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saewidgets.config import DemoCorpus, TextCorpus
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.records import SAERecord
from saewidgets.workspace.capture.using import as_text

if TYPE_CHECKING:
    from saewidgets.lm import LoadedModel
    from saewidgets.steering import SteeringSource
    from saewidgets.workspace.workspace import Workspace

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
