"""Defines `View` (what an id of an SAE or extraction stands for) and `FeatureViews`, the base of `ws.features`."""

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
from saewidgets.jobs import Listeners
from saewidgets.records import Records
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


class FeatureViews:
    """What all parts of `ws.features` build on."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.rows = workspace.catalog.features
        self.live = Live(workspace)
        self.changes = Listeners()
        # What was said of the latents of an SAE up to a revision: that, by latent, and arranged for lists.
        self._notes: OrderedDict[tuple[Origin, int], tuple[float, dict[int, Noted], Notes]] = OrderedDict()
        self._orders: OrderedDict[tuple[Any, ...], npt.NDArray[np.int64]] = OrderedDict()
        self._lock = threading.Lock()

    def view(self, wanted: str | None, *, open_store: bool = True) -> View:
        """What an id stands for: of an extraction, an SAE (also its name) or a training.

        Raises:
            NotFoundError: there is no such thing.
            ConfigError: nothing was named.
        """
        if not wanted:
            raise ConfigError("No SAE is named.", where="sae_id", hint="Give sae_id or extraction_id.")
        extractions = self._workspace.extractions
        if wanted.startswith("ext_"):
            record = self._workspace.catalog.extractions.get(wanted)
            origin = Origin(record.sae_id, record.training_id)
            return View(origin, record.d_sae, record, extractions.open(record.id) if open_store else None)
        if not wanted.startswith(("sae_", "train_")):
            wanted = self._workspace.saes.find(wanted).id
        origin = self.rows.origin(wanted)
        latest = extractions.latest(wanted)
        here = latest is not None and open_store and Path(latest.folder).is_dir()
        return View(origin, self._width(origin), latest, extractions.open(latest.id) if latest and here else None)

    def subscribe(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """Be told whose labels, stars or notes this process has changed: the id of the SAE or training.

        What other processes change shows in `revision`. Returns the function that ends it.
        """
        return self.changes.add(callback)

    def whole(self, view: View, index: int) -> FeatureRecord:
        (record,) = self._records(view, [index])
        return replace(record, labels=tuple(self.rows.labels(view.origin, [index])))

    def forget(self, wanted: str) -> None:
        """An SAE, training or extraction was deleted: nothing of it stays in memory."""
        self.live.forget(wanted)
        with self._lock:
            for gone in [key for key in self._notes if wanted in (key[0].sae_id, key[0].training_id)]:
                del self._notes[gone]
            for key in [key for key in self._orders if key[0] == wanted]:
                del self._orders[key]

    def _subject(self, view: View) -> Subject:
        """Where the files of the SAE are: in the library while it is there."""
        return find_subject(self._workspace, view.origin.id)

    def _place(self, feature_id: str, extraction_id: str | None) -> tuple[View, int]:
        owner, index = split_feature_id(feature_id)
        view = self.view(owner if extraction_id is None else extraction_id)
        if extraction_id is not None and owner not in (view.origin.sae_id, view.origin.training_id):
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
        from saewidgets.features.store.query import Noted, Notes  # numpy: not for opening a workspace

        key = view.origin, view.d_sae
        with self._lock:
            before, by_index, notes = self._notes.get(key) or (0.0, {}, None)
        if notes is not None and self.rows.revision(view.origin) == before:
            return before, notes
        rows = self.rows.noted(view.origin, before)
        said = by_index | {index: Noted(label, score, starred) for index, label, score, starred, _ in rows}
        revision = max((row[-1] for row in rows), default=before)
        notes = Notes(said, view.d_sae)
        with self._lock:
            _remember(self._notes, key, (revision, said, notes))
        return revision, notes

    def _find(self, view: View, search: str, show: Any, sort: Any, descending: bool) -> npt.NDArray[np.int64]:
        from saewidgets.features.store.query import find  # numpy: not for opening a workspace

        revision, notes = self._arranged(view)
        name = view.extraction.id if view.extraction is not None else view.origin.id
        key = (name, view.store is None, revision, search, show, sort, bool(descending))
        with self._lock:
            found = self._orders.get(key)
        if found is None:
            found = find(view.store, notes, search=search, show=show, sort=sort, descending=descending)
        with self._lock:
            _remember(self._orders, key, found)
        return found

    def _records(self, view: View, indices: Sequence[int]) -> Sequence[FeatureRecord]:
        said = {row.index: row for row in self.rows.list(view.origin, indices)}
        blank = FeatureRecord("", 0, view.origin.sae_id, view.origin.training_id)
        rows = [said.get(i) or replace(blank, id=view.origin.feature_id(i), index=i) for i in indices]
        store = view.store
        if store is None or view.extraction is None:
            return rows
        at = list(indices)
        columns = [column[at].tolist() for column in (store.density, store.fired, store.max, store.mean)]
        try:
            tokens = store.peak_tokens[at].tolist()
        except NotFoundError:  # the text is gone; the numbers are still here
            tokens = [[] for _ in rows]
        return [
            replace(
                row, extraction_id=view.extraction.id, density=density, fired=fired, max=largest, mean=mean,
                top_tokens=tuple(store.text_of(token) for token in peaks if token >= 0),
            )
            for row, density, fired, largest, mean, peaks in zip(rows, *columns, tokens, strict=True)
        ]  # fmt: skip

    def _related(self, view: View, found: Sequence[Any]) -> Records[RelatedRecord]:
        rows = self._records(view, [one.index for one in found])
        return Records([RelatedRecord(row, one.value) for row, one in zip(rows, found, strict=True)], RelatedRecord)


def _remember(memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def store_of(view: View) -> Store:
    """The extraction of a view. Raises `StateError` if there is none to read."""
    if view.extraction is None or view.store is None:
        raise StateError(
            "Its features were not extracted yet.", where=view.origin.id,
            hint="Start an extraction: ws.extractions.create(sae_id=…).",
        )
    return view.store
