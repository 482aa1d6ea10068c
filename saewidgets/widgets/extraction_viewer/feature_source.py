"""What the extraction viewer asks of a workspace, in one place: `ws.extractions`, `ws.features`, `ws.saes`.

Methods may be called from any thread. Those that say so load the model the first time, which takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from saewidgets.errors import ConfigError, StateError
from saewidgets.feature_records import ExtractionRecord, FeatureRecord, LogitsRecord, RelatedRecord
from saewidgets.records import JobRecord
from saewidgets.widgets.messages.features import ExportKind, FeatureQuery

Indices = npt.NDArray[np.integer[Any]]


class FeatureWorkspace(Protocol):
    """What the viewer asks of a `Workspace`."""

    @property
    def label(self) -> str: ...
    @property
    def notice(self) -> str | None: ...
    @property
    def folder(self) -> Path: ...
    @property
    def is_default(self) -> bool: ...
    @property
    def saes(self) -> Any: ...
    @property
    def hub(self) -> Any: ...
    @property
    def extractions(self) -> Any: ...
    @property
    def features(self) -> Any: ...


class FeatureSource:
    """One workspace as the viewer sees it."""

    def __init__(self, workspace: FeatureWorkspace) -> None:
        self.workspace = workspace

    @property
    def _features(self) -> Any:
        return self.workspace.features

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call this when extractions, labels, stars or notes may be other ones; returns what ends it."""
        ends = (
            self.workspace.extractions.subscribe(lambda *_: changed()),
            self._features.subscribe(lambda *_: changed()),
        )

        def end() -> None:
            for each in ends:
                each()

        return end

    # --------------------------------------------------------------------------------------------- extractions

    def extractions(self) -> Sequence[ExtractionRecord]:
        """All of them, newest first."""
        found: Sequence[ExtractionRecord] = self.workspace.extractions.list()
        return found

    def record(self, extraction_id: str) -> ExtractionRecord:
        """Raises `NotFoundError`."""
        found: ExtractionRecord = self.workspace.extractions.get(extraction_id).record
        return found

    def readable(self, extraction_id: str) -> ExtractionRecord:
        """The record of an extraction that can be read. Raises `NotFoundError`, `StateError`."""
        record = self.record(extraction_id)
        if not record.has_data:
            if record.status.is_final:
                raise StateError(
                    f"The extraction of {record.name} is {record.status.value}: nothing was read.",
                    hint="Start it again.",
                )
            raise StateError(
                f"The extraction of {record.name} is {record.status.value}: there is nothing to read yet.",
                hint="Wait until it has completed.",
            )
        return record

    def store(self, record: ExtractionRecord) -> Any:
        """Its arrays, memory-mapped (`features/store/read.py`). Raises `NotFoundError`, `FormatError`."""
        return self.workspace.extractions.open(record.id)

    def logit_jobs(self) -> Mapping[str, JobRecord]:
        """The newest job that computes the logit effects of all features, by the extraction's id."""
        found: Mapping[str, JobRecord] = self.workspace.extractions.logit_jobs()
        return found

    def has_logits(self, record: ExtractionRecord) -> bool:
        """Whether the logit effects of all features of an extraction are stored here."""
        return bool(self.workspace.extractions.has_logits(record))

    def counts(self, record: ExtractionRecord) -> tuple[int, int]:
        """How many features of its SAE have a label, and how many a star."""
        labelled, starred = self._features.counts(record.id)
        return int(labelled), int(starred)

    def revision(self, record: ExtractionRecord) -> float:
        """Grows with every change of a label, star or note of its SAE, in whichever process."""
        return float(self._features.revision(record.id))

    def live_note(self, record: ExtractionRecord) -> str:
        """Why nothing can be read with the model here; "" if it can, as far as that shows without loading."""
        return str(self._features.can_read(record.id))

    # --------------------------------------------------------------------------------------------- the list

    def order(self, record: ExtractionRecord, query: FeatureQuery) -> Indices:
        """The features that match, in their order."""
        return np.asarray(self._features.indices(record.id, **_arguments(query)))

    def table(self, extraction_id: str, query: FeatureQuery) -> Any:
        """Records of all features that match, with ``.to_df()``."""
        return self._features.list(extraction_id=extraction_id, **_arguments(query))

    def rows(self, record: ExtractionRecord, indices: Iterable[int]) -> Sequence[FeatureRecord]:
        """Records of these features, in that order, without the history of their labels."""
        found: Sequence[FeatureRecord] = self._features.records(record.id, [int(index) for index in indices])
        return found

    # --------------------------------------------------------------------------------------------- one feature

    def feature(self, record: ExtractionRecord, index: int) -> FeatureRecord:
        """A feature with all its labels. Raises `ConfigError`: the SAE has no such feature."""
        check_index(record, index)
        found: FeatureRecord = self._features.feature(record.id, index)
        return found

    def data(self, record: ExtractionRecord, index: int) -> Any:
        """Its numbers, histogram and examples (`features/store/feature_data.py`: `FeatureData`)."""
        return self._features.data(record.id, index)

    def logits(self, record: ExtractionRecord, index: int) -> LogitsRecord:
        """The tokens that it makes likelier and less likely. Loads the model."""
        check_index(record, index)
        found: LogitsRecord = self._features.logits(record.id, index)
        return found

    def loss_effect(self, record: ExtractionRecord, index: int, **token: Any) -> tuple[float, float]:
        """What it adds to the loss on the token after one, and that loss, in nats. Loads the model."""
        check_index(record, index)
        found = self._features.loss_effect(record.id, index, **token)
        return float(found.effect), float(found.loss)

    def similar(self, record: ExtractionRecord, index: int) -> Sequence[RelatedRecord]:
        """Features with the nearest decoder directions. Loads the SAE."""
        found: Sequence[RelatedRecord] = self._features.similar(record.id, index)
        return found

    def coactive(self, record: ExtractionRecord, index: int) -> tuple[Sequence[RelatedRecord], int]:
        """Features that fire on the same tokens, and how many firings were looked at."""
        check_index(record, index)
        found, sampled = self._features.coactive(record.id, index)
        return found, int(sampled)

    def context(self, record: ExtractionRecord, index: int, position: int) -> Any:
        """A whole context: ``pieces activations peak complete note``. Loads the model if it is here."""
        check_index(record, index)
        return self._features.context(record.id, index, position)

    def on_text(self, record: ExtractionRecord, index: int, text: str) -> Any:
        """A feature on a text: ``pieces activations seconds note``. Loads the model."""
        check_index(record, index)
        return self._features.on_feature(record.id, index, text)

    def run_on(self, record: ExtractionRecord, text: str) -> Any:
        """All features on a text: ``pieces``, ``indices`` [m], ``activations`` [m, n], ``ranked``, ``note``."""
        return self._features.run_on(record.id, text)

    # --------------------------------------------------------------------------------------------- what people say

    def label(self, record: ExtractionRecord, index: int, text: str, description: str) -> None:
        """Give it a label of the user's own; an empty one removes it."""
        self._features.label(feature_id(record, index), text, description, extraction_id=record.id)

    def star(self, record: ExtractionRecord, index: int, starred: bool) -> None:
        self._features.star(feature_id(record, index), starred)

    def note(self, record: ExtractionRecord, index: int, text: str) -> None:
        self._features.notes(feature_id(record, index), text)

    def suggest(self, record: ExtractionRecord, index: int) -> Any:
        """A label that nobody saved: ``text description model``."""
        check_index(record, index)
        return self._features.suggest(record.id, index)

    def label_all(self, record: ExtractionRecord) -> tuple[int, int]:
        """Label what has no label by the offline heuristic; how many have one now, and for how many there is none."""
        run = self._features.auto_label(record.id)
        return len(run.labels), len(run.failures) + len(run.left)

    def import_labels(self, record: ExtractionRecord, path: str) -> tuple[int, int]:
        """Take in the labels of a file; how many, and how many lines were left out."""
        found = self._features.import_labels(record.id, path)
        return len(found.labels), len(found.problems)

    def export(self, record: ExtractionRecord, what: ExportKind, path: Path, indices: Sequence[int] | None) -> Path:
        """Write features or labels; indices None: of all. Returns the file or folder."""
        if what in ("labels_csv", "labels_jsonl"):
            suffix = f".{what.removeprefix('labels_')}"
            named = path if path.suffix == suffix else path.with_name(path.name + suffix)
            return Path(self._features.export_labels(record.id, named, indices=indices))
        if what == "interpretations":
            self._features.interpretations(record.id, path, indices=indices)
            return path
        names = {}
        if what == "neuronpedia":  # people who mean to upload it name it themselves: ws.features.export
            names = {"model_id": _slug(record.model), "sae_set": _slug(record.name)}
        return Path(self._features.export(record.id, what, path, indices=indices, **names))


def _slug(name: str) -> str:
    """The last part of a name as Neuronpedia's ids allow it."""
    text = re.sub(r"[^a-z0-9.-]+", "-", name.rstrip("/").split("/")[-1].lower()).strip("-.")
    return text[:100] or "unnamed"


def _arguments(query: FeatureQuery) -> dict[str, Any]:
    return {"search": query.search, "show": query.show, "sort": query.sort, "descending": query.descending}


def owner_of(record: ExtractionRecord) -> str:
    """The SAE, or the training that is not in the library."""
    return record.sae_id or record.training_id or ""


def feature_id(record: ExtractionRecord, index: int) -> str:
    """``feat_{sae or training}_{index}``."""
    return f"feat_{owner_of(record)}_{index}"


def check_index(record: ExtractionRecord, index: int) -> None:
    """Raise `ConfigError` where the SAE has no feature `index`."""
    if not 0 <= index < record.d_sae:
        raise ConfigError(
            f"There is no feature {index}: {record.name} has {record.d_sae:,}.", where="index",
            hint=f"Enter 0 to {record.d_sae - 1}.",
        )
