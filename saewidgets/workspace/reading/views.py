"""What ids of features, SAEs and extractions stand for, and the lists of features behind them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import Origin, split_feature_id
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.feature_records import ExtractionRecord, FeatureRecord, RelatedRecord
from saewidgets.records import Records
from saewidgets.workspace.listeners import Listeners
from saewidgets.workspace.live import Live
from saewidgets.workspace.subjects import Subject, find_subject

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from saewidgets.features.store.query import Noted, Notes
    from saewidgets.features.store.read import Store
    from saewidgets.workspace.workspace import Workspace

_REMEMBERED = 4  # orders of lists, and labels arranged for them


@dataclass(frozen=True, slots=True)
class View:
    """The features of one SAE: whose they are, and the extraction that numbers are taken from, if there is one."""

    origin: Origin
    d_sae: int
    extraction: ExtractionRecord | None
    store: Store | None


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said of the latents of an SAE up to a revision."""

    revision: float
    by_index: dict[int, Noted]
    notes: Notes


class FeatureViews:
    """What all parts of `ws.features` build on."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.rows = workspace.catalog.features
        self.live = Live(workspace)
        self.changes = Listeners()
        self._notes: OrderedDict[tuple[Origin, int], _Said] = OrderedDict()
        self._orders: OrderedDict[tuple[Any, ...], npt.NDArray[np.int64]] = OrderedDict()
        self._lock = threading.Lock()

    def view(self, wanted: str | None, *, open_store: bool = True) -> View:
        """What an id stands for: of an extraction, an SAE (also its name) or a training.

        Raises:
            NotFoundError: there is no such thing.
            ConfigError: nothing was named.
        """
        if not wanted:
            raise ConfigError("Whose features?", where="sae_id", hint="Give sae_id or extraction_id.")
        extractions = self._workspace.extractions
        if wanted.startswith("ext_"):
            record = extractions.get(wanted).record
            origin = Origin(record.sae_id, record.training_id)
            return View(origin, record.d_sae, record, extractions.open(record.id) if open_store else None)
        if not wanted.startswith(("sae_", "train_")):
            wanted = self._workspace.saes.find(wanted).id
        origin = self.rows.origin(wanted)
        latest = extractions.latest(wanted)
        store = None
        if latest is not None and open_store and Path(latest.folder).is_dir():
            store = extractions.open(latest.id)
        return View(origin, self._width(origin), latest, store)

    def subscribe(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """Be told whose labels, stars or notes this process has changed: the id of the SAE or training.

        What other processes change shows in `revision`. Returns the function that ends it.
        """
        return self.changes.add(callback)

    def _subject(self, view: View) -> Subject:
        """Where the files of the SAE are: in the library while it is there."""
        return find_subject(self._workspace, view.origin.id)

    def _place(self, feature_id: str, extraction_id: str | None) -> tuple[View, int]:
        owner, index = split_feature_id(feature_id)
        view = self.view(owner)
        if extraction_id is not None:
            view = self.view(extraction_id)
            if owner not in (view.origin.sae_id, view.origin.training_id):
                raise ConfigError(
                    f"{extraction_id} is an extraction of another SAE.", where="extraction_id",
                    hint=f"Choose one of ws.extractions.for_sae({owner!r}).",
                )
        if index >= view.d_sae:
            raise NotFoundError(
                f"There is no feature {index:,}: this SAE has {view.d_sae:,}.", where=feature_id,
                hint=f"Choose one from 0 to {view.d_sae - 1:,}.",
            )
        return view, index

    def _width(self, origin: Origin) -> int:
        if origin.sae_id is not None:
            return self._workspace.catalog.saes.get(origin.sae_id).d_sae
        return self._workspace.catalog.trainings.get(origin.training_id or "").d_sae

    def _arranged(self, view: View) -> tuple[float, Notes]:
        """What is said of the latents, arranged for lists; made anew when it has changed.

        Only what has changed is read: of a wide SAE everything takes seconds.
        """
        from saewidgets.features.store.query import Noted, Notes  # torch: seconds to import

        key = view.origin, view.d_sae
        with self._lock:
            kept = self._notes.get(key)
        before = kept.revision if kept is not None else 0.0
        if kept is not None and self.rows.revision(view.origin) == before:
            return before, kept.notes
        rows = self.rows.noted(view.origin, before)
        said = dict(kept.by_index) if kept is not None else {}
        said.update((index, Noted(label, score, starred)) for index, label, score, starred, _ in rows)
        revision = max((row[-1] for row in rows), default=before)
        notes = Notes(said, view.d_sae)
        with self._lock:
            self._notes[key] = _Said(revision, said, notes)
            self._notes.move_to_end(key)
            while len(self._notes) > _REMEMBERED:
                self._notes.popitem(last=False)
        return revision, notes

    def _find(self, view: View, search: str, show: str, sort: str, descending: bool) -> npt.NDArray[np.int64]:
        from saewidgets.workspace.reading.listing import find  # torch: seconds to import

        if not isinstance(search, str):
            raise ConfigError(f"This is text, not {search!r}.", where="search", hint="Write it in quotes.")
        revision, notes = self._arranged(view)
        name = view.extraction.id if view.extraction is not None else view.origin.id
        key = (name, view.store is None, revision, search, show, sort, bool(descending))
        with self._lock:
            if (known := self._orders.get(key)) is not None:
                self._orders.move_to_end(key)
                return known
        found = find(view.store, notes, search, show, sort, descending)
        with self._lock:
            self._orders[key] = found
            while len(self._orders) > _REMEMBERED:
                self._orders.popitem(last=False)
        return found

    def _records(self, view: View, indices: Sequence[int]) -> Sequence[FeatureRecord]:
        """These features, with what is known of them."""
        from saewidgets.workspace.reading.listing import with_numbers  # torch: seconds to import

        said = {row.index: row for row in self.rows.list(view.origin, indices)}
        blank = FeatureRecord("", 0, view.origin.sae_id, view.origin.training_id)
        rows = [said.get(i) or replace(blank, id=view.origin.feature_id(i), index=i) for i in indices]
        if view.store is None or view.extraction is None:
            return rows
        return with_numbers(view.store, view.extraction.id, rows)

    def whole(self, view: View, index: int) -> FeatureRecord:
        """One feature with all its labels."""
        (record,) = self._records(view, [index])
        return replace(record, labels=tuple(self.rows.labels(view.origin, [index])))

    def _related(self, view: View, found: Sequence[Any]) -> Records[RelatedRecord]:
        rows = self._records(view, [one.index for one in found])
        return Records([RelatedRecord(row, one.value) for row, one in zip(rows, found, strict=True)], RelatedRecord)

    def forget(self, wanted: str) -> None:
        """An SAE, training or extraction was deleted: nothing of it stays in memory."""
        self.live.forget(wanted)
        with self._lock:
            for gone in [key for key in self._notes if wanted in (key[0].sae_id, key[0].training_id)]:
                del self._notes[gone]
            for key in [key for key in self._orders if key[0] == wanted]:
                del self._orders[key]


def checked(view: View, index: int) -> int:
    """`index`, if the SAE has such a feature. Raises `ConfigError`."""
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < view.d_sae:
        raise ConfigError(
            f"There is no feature {index!r}: this SAE has {view.d_sae:,}.", where="index",
            hint=f"Choose one from 0 to {view.d_sae - 1:,}.",
        )
    return index


def place_in(store: Store, position: int) -> tuple[int, int]:
    """(context, offset in it) of a position of the text that an extraction has read. Raises `ConfigError`."""
    size = store.manifest.context_size
    end = store.manifest.n_contexts * size
    if not isinstance(position, int) or not 0 <= position < end:
        raise ConfigError(
            f"There is no position {position!r} in the text.", where="position", hint=f"Use 0 to {end - 1:,}."
        )
    return divmod(position, size)


def with_data(view: View) -> ExtractionRecord:
    """The extraction of a view. Raises `StateError` if there is none to read."""
    if view.extraction is None or view.store is None:
        raise StateError(
            "Its features were not extracted yet.", where=view.origin.id,
            hint="Start an extraction: ws.extractions.create(sae_id=…).",
        )
    return view.extraction
